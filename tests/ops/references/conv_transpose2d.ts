import type { ConvTranspose2dOptions } from "../../../lib/tensor/ops/conv_transpose2d.ts";
import type { Reference } from "../check.ts";

/** The definition: every input pixel stamps the kernel, times its value, onto the output. */
export function convTranspose2d64(
  [x, weight, bias]: readonly [x: Reference, weight: Reference, bias?: Reference],
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
