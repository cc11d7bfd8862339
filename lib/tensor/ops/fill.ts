import { fillKernel } from "../../../kernels/elementwise/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import type { Shape } from "../shape.ts";
import { Tensor } from "../tensor.ts";

/** A tensor with every element equal to `value`. */
export function fill(gpu: Gpu, shape: Shape, value: number): Tensor {
  const x = Tensor.empty(gpu, shape);
  const count4 = Math.ceil(x.size / 4);
  gpu.run(fillKernel, {
    buffers: { x: x.buffer },
    params: { count4, value },
    workgroups: Gpu.grid(Math.ceil(count4 / 64)),
  });
  return x;
}

/** A tensor of zeros. */
export function zeros(gpu: Gpu, shape: Shape): Tensor {
  return fill(gpu, shape, 0);
}
