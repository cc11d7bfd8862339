import type { Gpu } from "../gpu/gpu.ts";
import { conv2d, type Conv2dOptions } from "../tensor/ops/conv2d.ts";
import { convTranspose2d } from "../tensor/ops/conv_transpose2d.ts";
import { Tensor } from "../tensor/tensor.ts";
import { Module } from "./module.ts";

/** Sizes of a convolution, named as torch.nn.Conv2d's. */
export interface Conv2dLayerOptions {
  /** Channels of the input. */
  readonly inChannels: number;
  /** Channels of the output. */
  readonly outChannels: number;
  /** Side of the kernel. */
  readonly kernelSize: number;
  /** Pixels from one window to the next. Default 1. */
  readonly stride?: number;
  /** Zeros around the image. Default 0. */
  readonly padding?: number;
  /** 1 (default), or `inChannels` for a depthwise convolution. */
  readonly groups?: number;
  /** Add a bias. Default true. */
  readonly bias?: boolean;
}

/** A convolution over channels-last images, with weights in torch.nn.Conv2d's layout. */
export class Conv2d extends Module {
  /** [outChannels, inChannels / groups, kernelSize, kernelSize] */
  readonly weight: Tensor;
  /** [outChannels], or none. */
  readonly bias: Tensor | null;
  readonly #options: { stride: number; padding: number; groups: number };

  /** Makes an empty layer. */
  constructor(gpu: Gpu, options: Conv2dLayerOptions) {
    super(gpu);
    const { inChannels, outChannels, kernelSize: k, stride = 1, padding = 0, groups = 1 } = options;
    this.weight = Tensor.empty(gpu, [outChannels, inChannels / groups, k, k]).keep();
    this.bias = options.bias === false ? null : Tensor.empty(gpu, [outChannels]).keep();
    this.#options = { stride, padding, groups };
  }

  /** [B, H, W, inChannels] -> [B, H', W', outChannels], with GELU and a residual before it if asked for. */
  forward(x: Tensor, then: Pick<Conv2dOptions, "residual" | "activation"> = {}): Tensor {
    return conv2d(x, this.weight, this.bias, { ...this.#options, ...then });
  }
}

/** A transposed convolution whose stride is its kernel size, over channels-last images. */
export class ConvTranspose2d extends Module {
  /** [inChannels, outChannels, kernelSize, kernelSize] */
  readonly weight: Tensor;
  /** [outChannels] */
  readonly bias: Tensor;
  readonly #stride: number;

  /** Makes an empty layer. */
  constructor(
    gpu: Gpu,
    options: { inChannels: number; outChannels: number; kernelSize: number },
  ) {
    super(gpu);
    const { inChannels, outChannels, kernelSize: k } = options;
    this.weight = Tensor.empty(gpu, [inChannels, outChannels, k, k]).keep();
    this.bias = Tensor.empty(gpu, [outChannels]).keep();
    this.#stride = k;
  }

  /** [B, H, W, inChannels] -> [B, kH, kW, outChannels] */
  forward(x: Tensor): Tensor {
    return convTranspose2d(x, this.weight, this.bias, { stride: this.#stride });
  }
}
