import type { Reference } from "../check.ts";

/** erf by its Maclaurin series for small arguments and by the continued fraction of erfc beyond. */
function erf64(x: number): number {
  const a = Math.abs(x);
  if (a < 2.5) {
    let term = a;
    let total = a;
    for (let n = 1; n < 60; n++) {
      term *= -a * a / n;
      total += term / (2 * n + 1);
    }
    return Math.sign(x) * 2 / Math.sqrt(Math.PI) * total;
  }
  let fraction = 0;
  for (let n = 60; n > 0; n--) fraction = n / 2 / (a + fraction);
  return Math.sign(x) * (1 - Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction));
}

/** A function of one number, over a tensor. */
export function map(f: (x: number) => number) {
  return ({ shape, data }: Reference): Reference => ({ shape, data: data.map(f) });
}

/** NumPy broadcasting, spelled out. */
export function broadcast(f: (a: number, b: number) => number) {
  return (a: Reference, b: Reference): Reference => {
    const rank = Math.max(a.shape.length, b.shape.length);
    const pad = (shape: readonly number[]) => [...Array(rank - shape.length).fill(1), ...shape];
    const [sa, sb] = [pad(a.shape), pad(b.shape)];
    const shape = sa.map((size, axis) => Math.max(size, sb[axis]));
    const size = shape.reduce((x, y) => x * y, 1);
    const at = (own: number[], index: number[]) =>
      index.reduce((flat, i, axis) => flat * own[axis] + (own[axis] === 1 ? 0 : i), 0);
    const data = Float64Array.from({ length: size }, (_, flat) => {
      const index = Array<number>(rank);
      for (let axis = rank - 1; axis >= 0; axis--) {
        index[axis] = flat % shape[axis];
        flat = Math.floor(flat / shape[axis]);
      }
      return f(a.data[at(sa, index)], b.data[at(sb, index)]);
    });
    return { shape, data };
  };
}

/** Each unary op's function of one number; scale's is 3 x. */
export const unary64 = {
  scale: (x: number): number => 3 * x,
  relu: (x: number): number => Math.max(x, 0),
  gelu: (x: number): number => x / 2 * (1 + erf64(x / Math.SQRT2)),
  sigmoid: (x: number): number => 1 / (1 + Math.exp(-x)),
  sqrt: Math.sqrt,
} as const;
