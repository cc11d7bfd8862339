import { assertThrows } from "@std/assert";
import {
  convTranspose2d,
  type ConvTranspose2dOptions,
} from "../../lib/tensor/ops/conv_transpose2d.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp, type Reference } from "./check.ts";

/** The definition: every input pixel stamps the kernel, times its value, onto the output. */
function stamp(
  x: Reference,
  weight: Reference,
  bias: Reference | undefined,
  { stride = 1, padding = 0 }: ConvTranspose2dOptions,
): Reference {
  const [batch, h, w, inp] = x.shape;
  const [, out, kh, kw] = weight.shape;
  const outH = (h - 1) * stride - 2 * padding + kh;
  const outW = (w - 1) * stride - 2 * padding + kw;
  const data = Float64Array.from(
    { length: batch * outH * outW * out },
    (_, i) => bias?.data[i % out] ?? 0,
  );
  for (let b = 0; b < batch; b++) {
    for (let y = 0; y < h; y++) {
      for (let px = 0; px < w; px++) {
        for (let i = 0; i < inp; i++) {
          const value = x.data[((b * h + y) * w + px) * inp + i];
          for (let o = 0; o < out; o++) {
            for (let ky = 0; ky < kh; ky++) {
              const oy = y * stride + ky - padding;
              if (oy < 0 || oy >= outH) continue;
              for (let kx = 0; kx < kw; kx++) {
                const ox = px * stride + kx - padding;
                if (ox < 0 || ox >= outW) continue;
                data[((b * outH + oy) * outW + ox) * out + o] += value *
                  weight.data[((i * out + o) * kh + ky) * kw + kx];
              }
            }
          }
        }
      }
    }
  }
  return { shape: [batch, outH, outW, out], data };
}

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
        reference: (x, weight, bias) => stamp(x, weight, bias, options),
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
      reference: (x, weight, bias) => stamp(x, weight, bias, options),
    });
  }
});

Deno.test("convTranspose2d refuses shapes that do not fit, naming them", () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, new Float32Array(12), [1, 2, 2, 3]);
  const weight = Tensor.from(gpu, new Float32Array(16), [2, 2, 2, 2]);
  assertThrows(() => convTranspose2d(x, weight), Error, "x [1, 2, 2, 3], weight [2, 2, 2, 2]");
});
