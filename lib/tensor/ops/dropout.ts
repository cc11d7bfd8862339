import { dropoutKernel } from "../../../kernels/elementwise/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { Tensor } from "../tensor.ts";

/**
 * Sets each element to 0 with probability p and divides the others by 1 - p (inverted dropout, as in
 * training; do not call it in evaluation; Srivastava et al. 2014). The mask depends on the seed and the
 * index of the element alone. Gradient: dy through the same mask, which is computed again.
 *
 * @param options `p` in [0, 1); `seed` an integer of 32 bits, a new one for each use.
 * @throws {Error} if p is out of range.
 */
export function dropout(x: Tensor, options: { p: number; seed: number }): Tensor {
  const { p, seed } = options;
  if (!(p >= 0 && p < 1)) throw new Error(`dropout: p is ${p}, not in [0, 1)`);
  if (p === 0) return x;
  const drop = (x: Tensor) => {
    const out = Tensor.empty(x.gpu, x.shape);
    const count4 = Math.ceil(x.size / 4);
    x.gpu.run(dropoutKernel, {
      buffers: { x: x.buffer, out: out.buffer },
      params: { count4, seed: seed >>> 0, threshold: Math.floor(p * 2 ** 32), factor: 1 / (1 - p) },
      workgroups: Gpu.grid(Math.ceil(count4 / 64)),
    });
    return out;
  };
  return record({
    op: "dropout",
    inputs: [x],
    output: drop(x),
    saved: [],
    backward: (dy) => [drop(dy)],
  });
}
