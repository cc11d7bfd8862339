import type { Gpu } from "../gpu/gpu.ts";
import { ConvTranspose2d } from "../nn/conv2d.ts";
import { Embedding } from "../nn/embedding.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Module } from "../nn/module.ts";
import { add } from "../tensor/ops/arithmetic.ts";
import { matmul } from "../tensor/ops/matmul.ts";
import { concat, expand, repeatBatch, reshape, slice } from "../tensor/ops/movement.ts";
import { gelu } from "../tensor/ops/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { MLP } from "./common.ts";
import { TwoWayTransformer } from "./transformer.ts";

/** Inputs of the mask decoder. */
export interface MaskDecoderInput {
  /** [images, g, g, dim]: B images, or fewer with B / images rounds of prompts, each for all images. */
  readonly imageEmbeddings: Tensor;
  /** [g², dim] */
  readonly imagePe: Tensor;
  /** [B, tokens, dim] */
  readonly sparse: Tensor;
  /** [B, g, g, dim], or [1, 1, 1, dim]. */
  readonly dense: Tensor;
  /** The three masks for ambiguous prompts, or the single mask. */
  readonly multimaskOutput: boolean;
}

/**
 * SAM's mask decoder: embeddings of image and prompts to masks and their estimated IoU.
 *
 * Source: Kirillov et al. 2023, "Segment Anything", appendix A.
 */
export class MaskDecoder extends Module {
  /** Lets tokens and image attend to each other. */
  readonly transformer: TwoWayTransformer;
  /** [1, dim]: the token that becomes the estimated IoU. */
  readonly iouToken: Embedding;
  /** [masks, dim]: the tokens that become masks, the single mask's first. */
  readonly maskTokens: Embedding;
  /** The image to four times its side and an eighth of its channels; `null` stands for GELU. */
  readonly outputUpscaling: [ConvTranspose2d, LayerNorm, null, ConvTranspose2d, null];
  /** For each mask token the perceptron dim -> dim / 8 that gives the mask's weights. */
  readonly outputHypernetworksMlps: MLP[];
  /** dim -> masks: the estimated IoU of each. */
  readonly iouPredictionHead: MLP;

  /** Makes an empty decoder. */
  constructor(gpu: Gpu, options: { transformerDim?: number; numMultimaskOutputs?: number } = {}) {
    super(gpu);
    const { transformerDim: dim = 256, numMultimaskOutputs = 3 } = options;
    const count = numMultimaskOutputs + 1;
    this.transformer = new TwoWayTransformer(gpu, {
      depth: 2,
      embeddingDim: dim,
      numHeads: 8,
      mlpDim: 2048,
    });
    this.iouToken = new Embedding(gpu, { count: 1, dim });
    this.maskTokens = new Embedding(gpu, { count, dim });
    this.outputUpscaling = [
      new ConvTranspose2d(gpu, { inChannels: dim, outChannels: dim / 4, kernelSize: 2 }),
      new LayerNorm(gpu, { dim: dim / 4, eps: 1e-6 }),
      null,
      new ConvTranspose2d(gpu, { inChannels: dim / 4, outChannels: dim / 8, kernelSize: 2 }),
      null,
    ];
    const head = { inputDim: dim, hiddenDim: dim, numLayers: 3 };
    this.outputHypernetworksMlps = Array.from(
      { length: count },
      () => new MLP(gpu, { ...head, outputDim: dim / 8 }),
    );
    this.iouPredictionHead = new MLP(gpu, { ...head, outputDim: count });
  }

  /**
   * Masks for B prompts.
   *
   * @returns mask logits [B, masks, 4g, 4g] and estimated IoU [B, masks].
   */
  forward(input: MaskDecoderInput): { masks: Tensor; iouPredictions: Tensor } {
    const { imageEmbeddings, imagePe, sparse, dense, multimaskOutput } = input;
    const [batch, , dim] = sparse.shape;
    const grid = imageEmbeddings.shape[1];
    const count = this.maskTokens.weight.shape[0];

    const own = concat([this.iouToken.weight, this.maskTokens.weight], 0); // [1 + count, dim]
    const tokens = concat([expand(own, [batch, count + 1, dim]), sparse], 1);
    const images = Math.max(imageEmbeddings.shape[0], dense.shape[0]);
    const copies = images / imageEmbeddings.shape[0];
    const image = add(repeatBatch(imageEmbeddings, copies), dense); // [images or B, g, g, dim]
    const [queries, keys] = this.transformer.forward(
      reshape(image, [images, grid * grid, dim]),
      imagePe,
      tokens,
    );

    const [up1, norm, , up2] = this.outputUpscaling;
    let upscaled = up1.forward(reshape(keys, [batch, grid, grid, dim])); // [B, 2g, 2g, dim / 4]
    upscaled = gelu(norm.forward(upscaled));
    upscaled = gelu(up2.forward(upscaled)); // [B, 4g, 4g, dim / 8]

    // Each mask is the product of its token's hypernetwork with the upscaled image; only the masks
    // that are wanted are computed.
    const [first, last] = multimaskOutput ? [1, count] : [0, 1];
    const weights = [];
    for (let i = first; i < last; i++) {
      const token = slice(queries, { axis: 1, start: 1 + i, end: 2 + i }); // [B, 1, dim]
      weights.push(this.outputHypernetworksMlps[i].forward(token)); // [B, 1, dim / 8]
    }
    const side = 4 * grid;
    const pixels = reshape(upscaled, [batch, side * side, dim / 8]);
    const masks = matmul(concat(weights, 1), pixels, { transposeB: true });
    const iouToken = reshape(slice(queries, { axis: 1, start: 0, end: 1 }), [batch, dim]);
    const iou = this.iouPredictionHead.forward(iouToken);
    return {
      masks: reshape(masks, [batch, last - first, side, side]),
      iouPredictions: slice(iou, { axis: 1, start: first, end: last }),
    };
  }
}
