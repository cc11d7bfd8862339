import { assertThrows } from "@std/assert";
import { resizeBilinear } from "../../lib/tensor/ops/resize.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp, type Reference } from "./check.ts";

/** The definition: pixel centres lie at halves, and a source before the first centre is on it. */
function interpolate(x: Reference, [height, width]: readonly [number, number]): Reference {
  const [batch, h, w, channels] = x.shape;
  const neighbours = (o: number, size: number, out: number) => {
    const source = Math.max((o + 0.5) * size / out - 0.5, 0);
    const first = Math.floor(source);
    return { first, second: Math.min(first + 1, size - 1), fraction: source - first };
  };
  const data = new Float64Array(batch * height * width * channels);
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let oy = 0; oy < height; oy++) {
      const y = neighbours(oy, h, height);
      for (let ox = 0; ox < width; ox++) {
        const px = neighbours(ox, w, width);
        for (let c = 0; c < channels; c++) {
          const value = (row: number, column: number) =>
            x.data[((b * h + row) * w + column) * channels + c];
          const along = (row: number) =>
            (1 - px.fraction) * value(row, px.first) + px.fraction * value(row, px.second);
          data[at++] = (1 - y.fraction) * along(y.first) + y.fraction * along(y.second);
        }
      }
    }
  }
  return { shape: [batch, height, width, channels], data };
}

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
      reference: (x) => interpolate(x, to),
    });
  });
}

Deno.test("resizeBilinear refuses sizes that are none", () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, new Float32Array(4), [1, 2, 2, 1]);
  for (const size of [0, 2.5]) assertThrows(() => resizeBilinear(x, [2, size]), Error, `${size}`);
});
