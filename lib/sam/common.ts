import type { Gpu } from "../gpu/gpu.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { geluPerceptron } from "../nn/perceptron.ts";
import { add } from "../tensor/ops/arithmetic.ts";
import { relu } from "../tensor/ops/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** The two-layer perceptron of SAM's blocks, with ReLU in the decoder and GELU in the ViT. */
export class MLPBlock extends Module {
  /** embeddingDim -> mlpDim */
  readonly lin1: Linear;
  /** mlpDim -> embeddingDim */
  readonly lin2: Linear;
  readonly #activation: "relu" | "gelu";

  /** Makes an empty block; its activation is ReLU by default. */
  constructor(
    gpu: Gpu,
    options: { embeddingDim: number; mlpDim: number; activation?: "relu" | "gelu" },
  ) {
    super(gpu);
    const { embeddingDim, mlpDim, activation = "relu" } = options;
    this.#activation = activation;
    this.lin1 = new Linear(gpu, { inFeatures: embeddingDim, outFeatures: mlpDim });
    this.lin2 = new Linear(gpu, { inFeatures: mlpDim, outFeatures: embeddingDim });
  }

  /** [..., embeddingDim] -> [..., embeddingDim], added to the residual if there is one. */
  forward(x: Tensor, { residual = null }: { residual?: Tensor | null } = {}): Tensor {
    if (this.#activation === "gelu") {
      return geluPerceptron(x, [this.lin1, this.lin2], { residual });
    }
    const y = this.lin2.forward(relu(this.lin1.forward(x)));
    return residual ? add(residual, y) : y;
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
