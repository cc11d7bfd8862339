import type { Gpu } from "../gpu/gpu.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { add } from "../tensor/ops/arithmetic.ts";
import { attention } from "../tensor/ops/attention.ts";
import { repeatBatch } from "../tensor/ops/movement.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { MLPBlock } from "./common.ts";

/** Multi-head attention whose inner width, dim / downsampleRate, may be smaller than the embedding's. */
export class Attention extends Module {
  /** dim -> inner: the queries. */
  readonly qProj: Linear;
  /** dim -> inner: the keys. */
  readonly kProj: Linear;
  /** dim -> inner: the values. */
  readonly vProj: Linear;
  /** inner -> dim: mixes the heads. */
  readonly outProj: Linear;
  readonly #heads: number;

  /** Makes an empty layer. */
  constructor(
    gpu: Gpu,
    options: { embeddingDim: number; numHeads: number; downsampleRate?: number },
  ) {
    super(gpu);
    const { embeddingDim, numHeads, downsampleRate = 1 } = options;
    const inner = { inFeatures: embeddingDim, outFeatures: embeddingDim / downsampleRate };
    this.qProj = new Linear(gpu, inner);
    this.kProj = new Linear(gpu, inner);
    this.vProj = new Linear(gpu, inner);
    this.outProj = new Linear(gpu, {
      inFeatures: inner.outFeatures,
      outFeatures: embeddingDim,
    });
    this.#heads = numHeads;
  }

  /**
   * q [B, Nq, dim], k and v [B, Nk, dim] -> [B, Nq, dim]. A smaller batch on one side stands for copies of
   * itself, which are projected once.
   */
  forward(q: Tensor, k: Tensor, v: Tensor): Tensor {
    const batch = Math.max(q.shape[0], k.shape[0]);
    const [queries, keys, values] = [
      this.qProj.forward(q),
      this.kProj.forward(k),
      this.vProj.forward(v),
    ].map((x) => repeatBatch(x, batch / x.shape[0]));
    return this.outProj.forward(attention(queries, keys, values, { heads: this.#heads }));
  }
}

/** Tokens attend to tokens, tokens to the image, and the image to tokens. */
export class TwoWayAttentionBlock extends Module {
  /** Tokens to tokens. */
  readonly selfAttn: Attention;
  /** Of the tokens, after their self-attention. */
  readonly norm1: LayerNorm;
  /** Tokens to the image. */
  readonly crossAttnTokenToImage: Attention;
  /** Of the tokens, after they read the image. */
  readonly norm2: LayerNorm;
  /** On each token. */
  readonly mlp: MLPBlock;
  /** Of the tokens, after the perceptron. */
  readonly norm3: LayerNorm;
  /** Of the image, after it read the tokens. */
  readonly norm4: LayerNorm;
  /** The image to tokens. */
  readonly crossAttnImageToToken: Attention;
  readonly #skipFirstLayerPe: boolean;

  /**
   * Makes an empty block.
   *
   * @param options.skipFirstLayerPe Let the self-attention see the tokens alone, without their position
   * embedding and without a residual: so the first block starts.
   */
  constructor(
    gpu: Gpu,
    options: {
      embeddingDim: number;
      numHeads: number;
      mlpDim: number;
      skipFirstLayerPe: boolean;
    },
  ) {
    super(gpu);
    const { embeddingDim: dim, numHeads, mlpDim } = options;
    const cross = { embeddingDim: dim, numHeads, downsampleRate: 2 };
    this.selfAttn = new Attention(gpu, { embeddingDim: dim, numHeads });
    this.norm1 = new LayerNorm(gpu, { dim });
    this.crossAttnTokenToImage = new Attention(gpu, cross);
    this.norm2 = new LayerNorm(gpu, { dim });
    this.mlp = new MLPBlock(gpu, { embeddingDim: dim, mlpDim });
    this.norm3 = new LayerNorm(gpu, { dim });
    this.norm4 = new LayerNorm(gpu, { dim });
    this.crossAttnImageToToken = new Attention(gpu, cross);
    this.#skipFirstLayerPe = options.skipFirstLayerPe;
  }

  /**
   * Lets tokens and image read each other once.
   *
   * @param queries [B, tokens, dim]
   * @param keys [B, g², dim], or a smaller batch that stands for copies of itself.
   * @param queryPe [B, tokens, dim]
   * @param keyPe [g², dim]
   * @returns queries and keys, [B, tokens, dim] and [B, g², dim].
   */
  forward(queries: Tensor, keys: Tensor, queryPe: Tensor, keyPe: Tensor): [Tensor, Tensor] {
    if (this.#skipFirstLayerPe) {
      queries = this.selfAttn.forward(queries, queries, queries);
    } else {
      const q = add(queries, queryPe);
      queries = add(queries, this.selfAttn.forward(q, q, queries));
    }
    queries = this.norm1.forward(queries);

    let q = add(queries, queryPe);
    let k = add(keys, keyPe);
    queries = add(queries, this.crossAttnTokenToImage.forward(q, k, keys));
    queries = this.norm2.forward(queries);

    queries = this.norm3.forward(add(queries, this.mlp.forward(queries)));

    q = add(queries, queryPe);
    k = add(keys, keyPe);
    const read = this.crossAttnImageToToken.forward(k, q, queries);
    keys = add(repeatBatch(keys, read.shape[0] / keys.shape[0]), read);
    return [queries, this.norm4.forward(keys)];
  }
}

/**
 * The decoder's transformer: tokens and image attend to each other, both ways.
 *
 * Source: Kirillov et al. 2023, "Segment Anything", appendix A.
 */
export class TwoWayTransformer extends Module {
  /** The blocks, one after another. */
  readonly layers: TwoWayAttentionBlock[];
  /** The tokens read the image a last time. */
  readonly finalAttnTokenToImage: Attention;
  /** Of the tokens, after that. */
  readonly normFinalAttn: LayerNorm;

  /** Makes an empty transformer. */
  constructor(
    gpu: Gpu,
    options: { depth: number; embeddingDim: number; numHeads: number; mlpDim: number },
  ) {
    super(gpu);
    const { depth, embeddingDim, numHeads } = options;
    this.layers = Array.from(
      { length: depth },
      (_, i) => new TwoWayAttentionBlock(gpu, { ...options, skipFirstLayerPe: i === 0 }),
    );
    this.finalAttnTokenToImage = new Attention(gpu, { embeddingDim, numHeads, downsampleRate: 2 });
    this.normFinalAttn = new LayerNorm(gpu, { dim: embeddingDim });
  }

  /**
   * Lets tokens and image read each other.
   *
   * @param image [B, g², dim], or a smaller batch that stands for copies of itself.
   * @param imagePe [g², dim]
   * @param tokens [B, tokens, dim]
   * @returns the tokens and the image, [B, tokens, dim] and [B, g², dim].
   */
  forward(image: Tensor, imagePe: Tensor, tokens: Tensor): [tokens: Tensor, image: Tensor] {
    let queries = tokens;
    let keys = image;
    for (const layer of this.layers) {
      [queries, keys] = layer.forward(queries, keys, tokens, imagePe);
    }
    const q = add(queries, tokens);
    const k = add(keys, imagePe);
    queries = add(queries, this.finalAttnTokenToImage.forward(q, k, keys));
    return [this.normFinalAttn.forward(queries), keys];
  }
}
