import { assertThrows } from "@std/assert";
import { crop2d, windowTokens } from "../../lib/tensor/ops/window.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp } from "./check.ts";
import { frame, windowTokens64 } from "./references/window.ts";

const images = [[2, 6, 9, 4], [1, 5, 4, 3], [1, 1, 7, 1], [2, 4, 1, 8]];

for (const shape of images) {
  Deno.test(`cropping [${shape}] is exact, with gradients`, async () => {
    const [, h, w] = shape;
    for (const [height, width] of [[h, w], [1, w], [h, 1], [Math.ceil(h / 2), Math.ceil(w / 2)]]) {
      await checkOp("crop2d", {
        inputs: [shape],
        op: (x) => crop2d(x, { height, width }),
        reference: (x) => frame(x, [height, width]),
      });
    }
  });

  Deno.test(`tokens of [${shape}] for windows are exact, with gradients`, async () => {
    for (const size of [1, 3, 4, 7]) {
      await checkOp("windowTokens", {
        inputs: [shape],
        op: (x) => windowTokens(x, size),
        reference: (x) => windowTokens64(x, size),
      });
    }
  });
}

Deno.test("what does not fit is refused, naming shapes and sizes", () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, new Float32Array(12), [1, 2, 2, 3]);
  assertThrows(() => crop2d(x, { height: 3, width: 1 }), Error, "3 x 1 pixels are not within");
  assertThrows(() => windowTokens(x, 0), Error, "0 tokens wide");
  assertThrows(
    () => crop2d(x.view([4, 3]), { height: 1, width: 1 }),
    Error,
    "[4, 3] is not [B, H, W, C]",
  );
});
