/**
 * The probability that a standard normal variable exceeds z ≥ 0, to about 1e-15 relative: the series of
 * erf near zero, Laplace's continued fraction of erfc further out.
 *
 * Source: Abramowitz and Stegun 1964, formulae 7.1.6 and 7.1.14.
 */
export function normalTail(z: number): number {
  const x = z / Math.SQRT2;
  if (x < 2) {
    let term = x;
    let sum = x;
    for (let n = 1; term > sum * 1e-17; n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return (1 - (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum) / 2;
  }
  let fraction = x;
  for (let n = 200; n >= 1; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / Math.sqrt(Math.PI) / fraction / 2;
}
