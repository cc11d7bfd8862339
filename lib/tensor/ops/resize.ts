import { inElements } from "../../../kernels/element.ts";
import {
  resizeBilinearBackwardKernels,
  resizeBilinearKernels,
} from "../../../kernels/movement/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";

/**
 * Resizes images x [B, H, W, C] to [B, height, width, C], as torch.nn.functional.interpolate with
 * mode="bilinear", align_corners=False, antialias=False. Gradient: each input pixel gathers the
 * output pixels that it contributes to.
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
  const { gpu, shape } = x;
  const [batch, h, w, channels] = shape;
  const { kernel, elements } = inElements(resizeBilinearKernels, channels);
  const params = {
    h,
    w,
    out_h: height,
    out_w: width,
    channels: elements,
    scale_y: h / height,
    scale_x: w / width,
  };
  const output = Tensor.empty(gpu, [batch, height, width, channels]);
  const count = batch * height * width * elements;
  gpu.run(kernel, {
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
      const { kernel } = inElements(resizeBilinearBackwardKernels, channels);
      const dx = Tensor.empty(gpu, shape);
      const count = batch * h * w * elements;
      gpu.run(kernel, {
        buffers: { dy: dy.buffer, dx: dx.buffer },
        params: { count, ...params },
        workgroups: Gpu.grid(Math.ceil(count / 64)),
      });
      return [dx];
    },
  });
}
