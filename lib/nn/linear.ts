import type { Gpu } from "../gpu/gpu.ts";
import { linear } from "../tensor/ops/matmul.ts";
import { Tensor } from "../tensor/tensor.ts";
import { Module } from "./module.ts";

/** y = x Wᵀ + b, as torch.nn.Linear. */
export class Linear extends Module {
  /** [outFeatures, inFeatures] */
  readonly weight: Tensor;
  /** [outFeatures], or none. */
  readonly bias: Tensor | null;
  /** Size of the last axis of the input. */
  readonly inFeatures: number;
  /** Size of the last axis of the output. */
  readonly outFeatures: number;

  /** Makes an empty layer, or one that takes over existing weights. */
  constructor(
    gpu: Gpu,
    options: { inFeatures: number; outFeatures: number; bias?: boolean } | Linear,
  ) {
    super(gpu);
    this.inFeatures = options.inFeatures;
    this.outFeatures = options.outFeatures;
    if (options instanceof Linear) {
      this.weight = options.weight;
      this.bias = options.bias;
    } else {
      const { inFeatures, outFeatures } = options;
      this.weight = Tensor.empty(gpu, [outFeatures, inFeatures]).keep();
      this.bias = options.bias === false ? null : Tensor.empty(gpu, [outFeatures]).keep();
    }
  }

  /** True if it computes x Wᵀ + b and nothing else, so that fused ops may read its weights. */
  get plain(): boolean {
    return true;
  }

  /** [..., inFeatures] -> [..., outFeatures] */
  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias);
  }
}
