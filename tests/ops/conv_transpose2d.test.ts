import { assertThrows } from "@std/assert";
import { convTranspose2d } from "../../lib/tensor/ops/conv_transpose2d.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp } from "./check.ts";
import { convTranspose2d64 } from "./references/conv_transpose2d.ts";

const cases = {
  "2 x 2 at stride 2": { x: [2, 3, 4, 8], weight: [8, 4, 2, 2], stride: 2, padding: 0 },
  "2 x 2 at stride 2, odd channels": { x: [1, 3, 2, 3], weight: [3, 5, 2, 2], stride: 2 },
  "one pixel": { x: [1, 1, 1, 4], weight: [4, 4, 2, 2], stride: 2 },
  "one row": { x: [2, 1, 5, 1], weight: [1, 1, 2, 2], stride: 2 },
  "3 x 3 overlapping, at stride 2, cropped": {
    x: [1, 4, 3, 4],
    weight: [4, 4, 3, 3],
    stride: 2,
    padding: 1,
  },
  "2 x 2 with gaps": { x: [1, 3, 3, 2], weight: [2, 3, 2, 2], stride: 3 },
};

for (const [name, { x, weight, ...options }] of Object.entries(cases)) {
  Deno.test(`a transposed convolution, ${name}, matches float64 with its gradients`, async () => {
    for (const inputs of [[x, weight], [x, weight, [weight[1]]]]) {
      await checkOp(name, {
        inputs,
        op: (x, weight, bias) => convTranspose2d(x, weight, bias, options),
        reference: (x, weight, bias) => convTranspose2d64([x, weight, bias], options),
      });
    }
  });
}

Deno.test("any part of a transposed convolution may be frozen", async () => {
  const { x, weight, ...options } = cases["2 x 2 at stride 2"];
  for (const constant of [[0], [1], [2], [0, 1], [0, 2], [1, 2]]) {
    await checkOp(`inputs ${constant} frozen`, {
      inputs: [x, weight, [weight[1]]],
      constant,
      op: (x, weight, bias) => convTranspose2d(x, weight, bias, options),
      reference: (x, weight, bias) => convTranspose2d64([x, weight, bias], options),
    });
  }
});

Deno.test("convTranspose2d refuses shapes that do not fit, naming them", () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, new Float32Array(12), [1, 2, 2, 3]);
  const weight = Tensor.from(gpu, new Float32Array(16), [2, 2, 2, 2]);
  assertThrows(() => convTranspose2d(x, weight), Error, "x [1, 2, 2, 3] and weight [2, 2, 2, 2]");
});
