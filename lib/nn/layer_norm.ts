import type { Gpu } from "../gpu/gpu.ts";
import { layerNorm } from "../tensor/ops/layer_norm.ts";
import { Tensor } from "../tensor/tensor.ts";
import { Module } from "./module.ts";

/**
 * Normalises over the last axis, as torch.nn.LayerNorm. Since images are channels-last here, SAM's
 * LayerNorm2d is this with eps 1e-6.
 */
export class LayerNorm extends Module {
  /** [dim] */
  readonly weight: Tensor;
  /** [dim] */
  readonly bias: Tensor;
  /** Added to the variance. */
  readonly eps: number;

  /** Makes an empty layer. */
  constructor(gpu: Gpu, options: { dim: number; eps?: number }) {
    super(gpu);
    this.weight = Tensor.empty(gpu, [options.dim]).keep();
    this.bias = Tensor.empty(gpu, [options.dim]).keep();
    this.eps = options.eps ?? 1e-5;
  }

  /** [..., dim] -> [..., dim] */
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, { eps: this.eps });
  }
}
