import { assertThrows } from "@std/assert";
import { resizeBilinear } from "../../lib/tensor/ops/resize.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp } from "./check.ts";
import { resizeBilinear64 } from "./references/resize.ts";

const cases = [
  { from: [1, 1, 1, 4], to: [4, 5] },
  { from: [2, 7, 5, 3], to: [3, 9] },
  { from: [2, 3, 4, 1], to: [12, 16] },
  { from: [1, 4, 4, 8], to: [8, 8] },
  { from: [1, 8, 6, 4], to: [2, 3] },
  { from: [1, 9, 5, 1], to: [1, 1] },
  { from: [2, 1, 6, 4], to: [1, 13] },
  { from: [1, 5, 4, 4], to: [5, 4] },
] as const;

for (const { from, to } of cases) {
  Deno.test(`resizing [${from}] to [${to}] matches float64 with its gradient`, async () => {
    await checkOp("resizeBilinear", {
      inputs: [from],
      op: (x) => resizeBilinear(x, to),
      reference: (x) => resizeBilinear64(x, to),
    });
  });
}

Deno.test("resizeBilinear refuses sizes that are none", () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, new Float32Array(4), [1, 2, 2, 1]);
  for (const size of [0, 2.5]) assertThrows(() => resizeBilinear(x, [2, size]), Error, `${size}`);
});
