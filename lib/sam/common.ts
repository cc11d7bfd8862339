import type { Gpu } from "../gpu/gpu.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { relu } from "../tensor/ops/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The two-layer perceptron of SAM's decoder blocks, with ReLU. */
export class MLPBlock extends Module {
  /** embeddingDim -> mlpDim */
  readonly lin1: Linear;
  /** mlpDim -> embeddingDim */
  readonly lin2: Linear;

  /** Makes an empty block. */
  constructor(gpu: Gpu, options: { embeddingDim: number; mlpDim: number }) {
    super(gpu);
    const { embeddingDim, mlpDim } = options;
    this.lin1 = new Linear(gpu, { inFeatures: embeddingDim, outFeatures: mlpDim });
    this.lin2 = new Linear(gpu, { inFeatures: mlpDim, outFeatures: embeddingDim });
  }

  /** [..., embeddingDim] -> [..., embeddingDim] */
  forward(x: Tensor): Tensor {
    return this.lin2.forward(relu(this.lin1.forward(x)));
  }
}

/** SAM's perceptron for heads: linear layers with ReLU between them. */
export class MLP extends Module {
  /** inputDim -> hiddenDim -> ... -> outputDim */
  readonly layers: Linear[];

  /** Makes an empty perceptron. */
  constructor(
    gpu: Gpu,
    options: { inputDim: number; hiddenDim: number; outputDim: number; numLayers: number },
  ) {
    super(gpu);
    const { inputDim, hiddenDim, outputDim, numLayers } = options;
    this.layers = Array.from({ length: numLayers }, (_, i) =>
      new Linear(gpu, {
        inFeatures: i === 0 ? inputDim : hiddenDim,
        outFeatures: i === numLayers - 1 ? outputDim : hiddenDim,
      }));
  }

  /** [..., inputDim] -> [..., outputDim] */
  forward(x: Tensor): Tensor {
    this.layers.forEach((layer, i) => {
      x = layer.forward(x);
      if (i < this.layers.length - 1) x = relu(x);
    });
    return x;
  }
}
