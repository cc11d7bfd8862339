import { InputError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { add } from "../tensor/ops/arithmetic.ts";
import { decomposedAttention } from "../tensor/ops/decomposed_attention.ts";
import { reshape } from "../tensor/ops/movement.ts";
import { resizeBilinear } from "../tensor/ops/resize.ts";
import { windowTokens } from "../tensor/ops/window.ts";
import { Tensor } from "../tensor/tensor.ts";
import { MLPBlock } from "./common.ts";
import { createNeck, type EncoderStage, ImageEncoder, type Neck } from "./image_encoder.ts";

/** Sizes of an {@linkcode ImageEncoderViT}; the defaults are SAM ViT-B's. */
export interface ImageEncoderViTOptions {
  /** Side S of the input, in pixels. Default 1024. */
  readonly imageSize?: number;
  /** Side of a patch, in pixels. Default 16. */
  readonly patchSize?: number;
  /** Channels of a token. Default 768. */
  readonly embedDim?: number;
  /** Number of blocks. Default 12. */
  readonly depth?: number;
  /** Attention heads of a block. Default 12. */
  readonly numHeads?: number;
  /** Hidden over outer channels of the perceptrons. Default 4. */
  readonly mlpRatio?: number;
  /** Channels of the embedding. Default 256. */
  readonly outChans?: number;
  /** Side of the attention windows, in tokens. Default 14. */
  readonly windowSize?: number;
  /** Blocks that attend to the whole image, counted from 0. Default 2, 5, 8 and 11. */
  readonly globalAttnIndexes?: readonly number[];
}

/** Cuts an image into patches and projects each: [B, S, S, 3] -> [B, g, g, embedDim]. */
export class ViTPatchEmbed extends Module {
  /** A convolution whose stride is its kernel size. */
  readonly proj: Conv2d;

  /** Makes an empty embedding. */
  constructor(gpu: Gpu, { patchSize, embedDim }: { patchSize: number; embedDim: number }) {
    super(gpu);
    this.proj = new Conv2d(gpu, {
      inChannels: 3,
      outChannels: embedDim,
      kernelSize: patchSize,
      stride: patchSize,
    });
  }

  /** [B, S, S, 3] -> [B, g, g, embedDim] */
  forward(x: Tensor): Tensor {
    return this.proj.forward(x);
  }
}

/**
 * The relative positions of tokens along an axis of `size` tokens: a table of another length is resized
 * linearly, as SAM's `get_rel_pos` does.
 *
 * @param table [L, d]
 * @returns [2 size - 1, d]
 */
export function getRelPos(table: Tensor, size: number): Tensor {
  const [length, depth] = table.shape;
  const wanted = 2 * size - 1;
  if (length === wanted) return table;
  const column = reshape(table, [1, length, 1, depth]);
  return reshape(resizeBilinear(column, [wanted, 1]), [wanted, depth]);
}

/** Multi-head attention with decomposed relative positions, within windows or over the whole image. */
export class ViTAttention extends Module {
  /** dim -> 3 dim: the queries of all heads, then the keys, then the values. */
  readonly qkv: Linear;
  /** dim -> dim: mixes the heads. */
  readonly proj: Linear;
  /** [2 inputSize - 1, dim / heads]: what a query and a key some rows apart have in common. */
  readonly relPosH: Tensor;
  /** [2 inputSize - 1, dim / heads]: the same for columns. */
  readonly relPosW: Tensor;
  readonly #heads: number;
  readonly #windowSize: number;

  /**
   * Makes an empty layer.
   *
   * @param options.windowSize Side of the windows, in tokens; 0 for the whole image.
   * @param options.inputSize Side of what is attended to, in tokens: sets the length of the tables.
   */
  constructor(
    gpu: Gpu,
    options: { dim: number; numHeads: number; windowSize: number; inputSize: number },
  ) {
    super(gpu);
    const { dim, numHeads, windowSize, inputSize } = options;
    this.qkv = new Linear(gpu, { inFeatures: dim, outFeatures: 3 * dim });
    this.proj = new Linear(gpu, { inFeatures: dim, outFeatures: dim });
    const shape = [2 * inputSize - 1, dim / numHeads];
    this.relPosH = Tensor.empty(gpu, shape).keep();
    this.relPosW = Tensor.empty(gpu, shape).keep();
    this.#heads = numHeads;
    this.#windowSize = windowSize;
  }

  /** [B, h, w, dim] -> [B, h, w, dim] */
  forward(x: Tensor): Tensor {
    const [batch, height, width, dim] = x.shape;
    const heads = this.#heads;
    const size = this.#windowSize;
    const grid = size === 0 ? [height, width] as const : [size, size] as const;
    const tables = {
      relPosH: getRelPos(this.relPosH, grid[0]),
      relPosW: getRelPos(this.relPosW, grid[1]),
    };
    let attended: Tensor;
    if (size === 0) {
      const qkv = this.qkv.forward(reshape(x, [batch, height * width, dim]));
      attended = reshape(decomposedAttention(qkv, tables, { heads, grid }), x.shape);
    } else {
      // SAM pads the normalised tokens with zeros, and padded tokens take part in the attention. One
      // stands for all, so that the image's tokens alone are projected.
      const windows = { size, images: [batch, height, width] } as const;
      const qkv = this.qkv.forward(windowTokens(x, size)); // [B h w (+ 1), 3 dim]
      attended = decomposedAttention(qkv, tables, { heads, grid, windows });
    }
    return this.proj.forward(attended);
  }
}

/** A transformer block: attention and a perceptron, each after a LayerNorm and added to its input. */
export class ViTBlock extends Module {
  /** Before the attention. */
  readonly norm1: LayerNorm;
  /** Within windows, or over the whole image. */
  readonly attn: ViTAttention;
  /** Before the perceptron. */
  readonly norm2: LayerNorm;
  /** On each token. */
  readonly mlp: MLPBlock;

  /**
   * Makes an empty block.
   *
   * @param options.windowSize Side of the windows, in tokens; 0 for the whole image.
   * @param options.inputSize Side of the image, in tokens.
   */
  constructor(
    gpu: Gpu,
    options: {
      dim: number;
      numHeads: number;
      mlpRatio: number;
      windowSize: number;
      inputSize: number;
    },
  ) {
    super(gpu);
    const { dim, numHeads, mlpRatio, windowSize, inputSize } = options;
    this.norm1 = new LayerNorm(gpu, { dim, eps: 1e-6 });
    this.attn = new ViTAttention(gpu, {
      dim,
      numHeads,
      windowSize,
      inputSize: windowSize === 0 ? inputSize : windowSize,
    });
    this.norm2 = new LayerNorm(gpu, { dim, eps: 1e-6 });
    this.mlp = new MLPBlock(gpu, {
      embeddingDim: dim,
      mlpDim: dim * mlpRatio,
      activation: "gelu",
    });
  }

  /** [B, h, w, dim] -> [B, h, w, dim] */
  forward(x: Tensor): Tensor {
    x = add(x, this.attn.forward(this.norm1.forward(x)));
    return this.mlp.forward(this.norm2.forward(x), { residual: x });
  }
}

/**
 * SAM's image encoder: a plain ViT whose blocks attend within windows, but for a few that attend to the
 * whole image, and a convolutional neck.
 *
 * Source: Kirillov et al. 2023, "Segment Anything", appendix A; Li et al. 2022, "Exploring Plain Vision
 * Transformer Backbones for Object Detection".
 */
export class ImageEncoderViT extends ImageEncoder {
  /** Pixels of a patch's side. */
  readonly stride: number;
  /** [B, S, S, 3] -> [B, g, g, embedDim] */
  readonly patchEmbed: ViTPatchEmbed;
  /** [1, g, g, embedDim]: added to the patches. */
  readonly posEmbed: Tensor;
  /** In order. */
  readonly blocks: ViTBlock[];
  /** 1x1 and 3x3 convolutions to the embedding's channels, each with a LayerNorm. */
  readonly neck: Neck;
  /** Side S of the input, in pixels. */
  readonly imageSize: number;
  /** Blocks that attend to the whole image, counted from 0. */
  readonly globalAttnIndexes: readonly number[];

  /**
   * Makes an empty encoder.
   *
   * @throws {InputError} if the image does not divide into patches.
   */
  constructor(gpu: Gpu, options: ImageEncoderViTOptions = {}) {
    super(gpu);
    const {
      imageSize = 1024,
      patchSize = 16,
      embedDim: dim = 768,
      depth = 12,
      numHeads = 12,
      mlpRatio = 4,
      outChans = 256,
      windowSize = 14,
      globalAttnIndexes = [2, 5, 8, 11],
    } = options;
    const grid = imageSize / patchSize;
    if (!Number.isInteger(grid) || grid < 1) {
      throw new InputError(
        `an image of side ${imageSize} does not divide into patches of ${patchSize}: ` +
          `choose a multiple of ${patchSize}`,
      );
    }
    this.imageSize = imageSize;
    this.stride = patchSize;
    this.globalAttnIndexes = globalAttnIndexes;
    this.patchEmbed = new ViTPatchEmbed(gpu, { patchSize, embedDim: dim });
    this.posEmbed = Tensor.empty(gpu, [1, grid, grid, dim]).keep();
    this.blocks = Array.from(
      { length: depth },
      (_, i) =>
        new ViTBlock(gpu, {
          dim,
          numHeads,
          mlpRatio,
          windowSize: globalAttnIndexes.includes(i) ? 0 : windowSize,
          inputSize: grid,
        }),
    );
    this.neck = createNeck(gpu, { inChannels: dim, outChannels: outChans });
  }

  /** Patches with their positions: [B, S, S, 3] -> [B, g, g, embedDim]. */
  #embed(x: Tensor): Tensor {
    if (x.shape[1] !== this.imageSize || x.shape[2] !== this.imageSize) {
      throw new InputError(
        `the image encoder was built for images of side ${this.imageSize}, not ` +
          `${x.shape[1]} x ${x.shape[2]}: build it for that side`,
      );
    }
    const positions = reshape(this.posEmbed, this.posEmbed.shape.slice(1));
    return add(this.patchEmbed.forward(x), positions);
  }

  /** Patch embedding and blocks. */
  protected body(): EncoderStage[] {
    return [
      {
        name: "patch_embed",
        modules: [this.patchEmbed],
        weights: [this.posEmbed],
        run: (x) => this.#embed(x),
      },
      ...this.blocks.map((block, i) => ({
        name: `blocks.${i}`,
        modules: [block],
        run: (x: Tensor) => block.forward(x),
      })),
    ];
  }
}
