import { add, div, mul, sub } from "../../lib/tensor/ops/arithmetic.ts";
import { affine, cos, exp, gelu, relu, sigmoid, sin, sqrt } from "../../lib/tensor/ops/unary.ts";
import { checkOp, type Reference } from "./check.ts";

/** erf by its Maclaurin series for small arguments and by the continued fraction of erfc beyond. */
export function erf64(x: number): number {
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

function map(f: (x: number) => number) {
  return ({ shape, data }: Reference): Reference => ({ shape, data: data.map(f) });
}

/** NumPy broadcasting, spelled out. */
function broadcast(f: (a: number, b: number) => number) {
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

const pairs = [
  [[3, 5], [3, 5]],
  [[2, 3, 8], [8]],
  [[2, 3, 5], [5]],
  [[2, 3, 4], [1, 3, 4]],
  [[2, 3, 4], [1, 1, 4]],
  [[4, 1, 3], [2, 1]],
  [[], [7]],
  [[1], [1]],
  [[2, 3, 4, 5], [1, 3, 1, 5]],
];

for (const shapes of pairs) {
  const label = shapes.map((shape) => `[${shape}]`).join(" and ");
  Deno.test(`arithmetic broadcasts ${label}, with gradients`, async () => {
    await checkOp("add", { inputs: shapes, op: add, reference: broadcast((a, b) => a + b) });
    await checkOp("sub", { inputs: shapes, op: sub, reference: broadcast((a, b) => a - b) });
    await checkOp("mul", { inputs: shapes, op: mul, reference: broadcast((a, b) => a * b) });
    await checkOp("div", {
      inputs: shapes,
      sample: (random, input) => input === 0 ? random.normal() : random.uniformIn(0.5, 2),
      op: div,
      reference: broadcast((a, b) => a / b),
    });
  });
}

const functions = {
  affine: [(x: number) => 3 * x - 2, affine],
  relu: [(x: number) => Math.max(x, 0), relu],
  gelu: [(x: number) => x / 2 * (1 + erf64(x / Math.SQRT2)), gelu],
  sigmoid: [(x: number) => 1 / (1 + Math.exp(-x)), sigmoid],
  exp: [Math.exp, exp],
  sin: [Math.sin, sin],
  cos: [Math.cos, cos],
  sqrt: [Math.sqrt, sqrt],
} as const;

for (const [name, [reference, op]] of Object.entries(functions)) {
  Deno.test(`${name} and its gradient match float64`, async () => {
    for (const shape of [[1], [67], [4, 130]]) {
      await checkOp(name, {
        inputs: [shape],
        sample: (random) => name === "sqrt" ? random.uniformIn(0.5, 4) : 2 * random.normal(),
        op: (x) => name === "affine" ? affine(x, { p: 3, q: -2 }) : (op as typeof relu)(x),
        reference: map(reference),
      });
    }
  });
}
