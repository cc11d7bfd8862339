import { inElements } from "../../../kernels/element.ts";
import {
  resizeBilinearBackwardKernels,
  resizeBilinearKernels,
} from "../../../kernels/movement/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { shapeText, sizeOf } from "../shape.ts";
import { Tensor } from "../tensor.ts";

/**
 * Resizes images x [B, H, W, C] to [B, height, width, C], as torch.nn.functional.interpolate with
 * mode="bilinear", align_corners=False, antialias=False: columns first, then rows. Gradient: each
 * input pixel gathers the output pixels that it contributes to.
 *
 * @throws {Error} if x has not four axes or a size is not a positive whole number.
 */
export function resizeBilinear(
  x: Tensor,
  [height, width]: readonly [height: number, width: number],
): Tensor {
  if (x.shape.length !== 4 || ![height, width].every((n) => Number.isInteger(n) && n > 0)) {
    throw new Error(
      `resizeBilinear: cannot resize ${shapeText(x.shape)} to ${shapeText([height, width])}`,
    );
  }
  return resizeAxis(resizeAxis(x, 2, width), 1, height);
}

/** Interpolates along an axis of x, which becomes as long as `m`. */
function resizeAxis(x: Tensor, axis: number, m: number): Tensor {
  const { gpu, shape } = x;
  const n = shape[axis];
  if (n === m) return x;
  const outer = sizeOf(shape.slice(0, axis));
  const inner = sizeOf(shape.slice(axis + 1));
  const forward = inElements(resizeBilinearKernels, inner);
  const params = { n, m, inner: forward.elements, scale: n / m };
  const output = Tensor.empty(gpu, shape.with(axis, m));
  const count = outer * m * params.inner;
  gpu.run(forward.kernel, {
    buffers: { x: x.buffer, out: output.buffer },
    params: { count, ...params },
    workgroups: Gpu.grid(Math.ceil(count / 64)),
  });
  return record({
    op: "resizeBilinear",
    inputs: [x],
    output,
    saved: [],
    backward: (dy) => {
      const { kernel } = inElements(resizeBilinearBackwardKernels, inner);
      const dx = Tensor.empty(gpu, shape);
      const count = outer * n * params.inner;
      gpu.run(kernel, {
        buffers: { dy: dy.buffer, dx: dx.buffer },
        params: { count, ...params },
        workgroups: Gpu.grid(Math.ceil(count / 64)),
      });
      return [dx];
    },
  });
}
