import numpy as np
from math import erf, erfc, log, sqrt, pi
from numpy.polynomial import chebyshev as C, polynomial as P
def fit(f,lo,hi,n,w=None):
    k=np.cos(np.pi*(np.arange(400)+.5)/400); x=(hi-lo)/2*k+(hi+lo)/2
    c=C.chebfit(k,f(x),n); p=C.cheb2poly(c)
    # substitute k=(x-m)/s
    m=(hi+lo)/2;s=(hi-lo)/2
    r=np.zeros(1)
    base=np.array([-m/s,1/s]);pw=np.array([1.0])
    for a in p:
        r=P.polyadd(r,a*pw); pw=P.polymul(pw,base)
    return r
v=np.vectorize
small=fit(lambda t:v(lambda t:erf(sqrt(t))/sqrt(t) if t>0 else 2/sqrt(pi))(t),1e-9,1.0,6)
big=fit(lambda a:v(lambda a:log(erfc(a))+a*a)(a),1.0,4.0,7)
print("P", [float(np.float32(z)) for z in small])
print("Q", [float(np.float32(z)) for z in big])
xs=np.linspace(0,4.5,200001).astype(np.float32)
def h(p,x):
    r=np.float32(0)
    for a in p[::-1]: r=np.float32(r*x+np.float32(a))
    return r
def e32(x):
    a=np.abs(x)
    s=x*h(small.astype(np.float32),x*x)
    b=1-np.exp(h(big.astype(np.float32),np.minimum(a,4))-np.minimum(a,4)**2).astype(np.float32)
    return np.where(a<1,s,b)
ex=np.array([erf(float(z)) for z in xs]); print(np.abs(e32(xs)-ex).max())
