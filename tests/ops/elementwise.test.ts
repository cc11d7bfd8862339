import { add, div, mul, sub } from "../../lib/tensor/ops/arithmetic.ts";
import { gelu, relu, scale, sigmoid, sqrt } from "../../lib/tensor/ops/unary.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { checkOp } from "./check.ts";
import { broadcast, map, unary64 } from "./references/elementwise.ts";

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

const functions = { scale: (x: Tensor) => scale(x, 3), relu, gelu, sigmoid, sqrt };

for (const [name, op] of Object.entries(functions)) {
  Deno.test(`${name} and its gradient match float64`, async () => {
    for (const shape of [[1], [67], [4, 130]]) {
      await checkOp(name, {
        inputs: [shape],
        sample: (random) => name === "sqrt" ? random.uniformIn(0.5, 4) : 2 * random.normal(),
        op,
        reference: map(unary64[name as keyof typeof unary64]),
      });
    }
  });
}
