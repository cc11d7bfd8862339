import type { Conv2dOptions } from "../../../lib/tensor/ops/conv2d.ts";
import type { Reference } from "../check.ts";

/** The definition: every output pixel is a sum over taps and the input channels of its group. */
export function conv2d64(
  [x, weight, bias]: readonly [x: Reference, weight: Reference, bias?: Reference],
  options: Conv2dOptions = {},
): Reference {
  const { stride = 1, padding = 0, groups = 1 } = options;
  const [batch, h, w, channels] = x.shape;
  const [out, inp, kh, kw] = weight.shape;
  const outH = Math.floor((h + 2 * padding - kh) / stride) + 1;
  const outW = Math.floor((w + 2 * padding - kw) / stride) + 1;
  const shape = [batch, outH, outW, out];
  const data = new Float64Array(batch * outH * outW * out);
  let at = 0;
  for (let b = 0; b < batch; b++) {
    for (let oy = 0; oy < outH; oy++) {
      for (let ox = 0; ox < outW; ox++) {
        for (let o = 0; o < out; o++, at++) {
          data[at] = bias?.data[o] ?? 0;
          const group = Math.floor(o / (out / groups));
          for (let ky = 0; ky < kh; ky++) {
            const y = oy * stride + ky - padding;
            if (y < 0 || y >= h) continue;
            for (let kx = 0; kx < kw; kx++) {
              const px = ox * stride + kx - padding;
              if (px < 0 || px >= w) continue;
              for (let i = 0; i < inp; i++) {
                data[at] += x.data[((b * h + y) * w + px) * channels + group * inp + i] *
                  weight.data[((o * inp + i) * kh + ky) * kw + kx];
              }
            }
          }
        }
      }
    }
  }
  return { shape, data };
}
