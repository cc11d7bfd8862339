// Before every kernel: index arithmetic and the scalar functions that several kernels share.

// Flat index of an invocation in a grid of workgroups of 64 that was folded into two dimensions, because one
// dimension is limited to 65,535 workgroups: row y of the grid goes on at the end of row y - 1.
fn flat_index(id: vec3<u32>, groups: vec3<u32>) -> u32 {
  return id.y * groups.x * 64 + id.x;
}

// erf, largest error 1.3e-7: x P(x^2) up to 1, then 1 - exp(Q(|x|) - x^2), then 1 from 4 on.
// P and Q are Chebyshev fits made for this file (tests/reference/fit_erf.py).
fn erf(x: f32) -> f32 {
  let a = min(abs(x), 4.0);
  let t = a * a;
  let p = ((((((7.882497448008507e-5 * t - 0.0008018855005502701) * t + 0.005189312156289816) * t
    - 0.02685432881116867) * t + 0.11283597350120544) * t - 0.3761262595653534) * t + 1.1283791065216064) * a;
  let q = ((((((-1.3309389942151029e-5 * a + 0.0003175720339640975) * a - 0.0034368676133453846) * a
    + 0.022621985524892807) * a - 0.10331898182630539) * a + 0.3609066903591156) * a - 1.125925898551941) * a
    - 0.0007569686276838183;
  return sign(x) * select(1.0 - exp(q - t), p, a < 1.0);
}

// GELU by the error function, as torch.nn.GELU() computes it.
fn gelu(x: f32) -> f32 {
  return 0.5 * x * (1.0 + erf(x * 0.7071067811865476));
}

// d gelu / dx = Phi(x) + x phi(x).
fn gelu_derivative(x: f32) -> f32 {
  return 0.5 * (1.0 + erf(x * 0.7071067811865476)) + x * 0.3989422804014327 * exp(-0.5 * x * x);
}

// A logistic function that overflows on neither side.
fn sigmoid(x: f32) -> f32 {
  let e = exp(-abs(x));
  return select(e, 1.0, x >= 0.0) / (1.0 + e);
}
