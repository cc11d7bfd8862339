import type { Gpu } from "../gpu/gpu.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Linear } from "../nn/linear.ts";
import { Module } from "../nn/module.ts";
import { geluPerceptron } from "../nn/perceptron.ts";
import { QkvLinear } from "../nn/qkv_linear.ts";
import { add } from "../tensor/ops/arithmetic.ts";
import { qkvAttention } from "../tensor/ops/attention.ts";
import { windowTokens } from "../tensor/ops/window.ts";
import { Tensor } from "../tensor/tensor.ts";
import { createNeck, type EncoderStage, ImageEncoder, type Neck } from "./image_encoder.ts";

/** Sizes of a TinyViT; the defaults are MobileSAM's TinyViT-5M. */
export interface TinyViTOptions {
  /** Channels of the four stages. */
  readonly embedDims?: readonly number[];
  /** Blocks of the four stages. */
  readonly depths?: readonly number[];
  /** Attention heads of the four stages; the first stage is convolutional. */
  readonly numHeads?: readonly number[];
  /** Attention windows of the four stages, in tokens. */
  readonly windowSizes?: readonly number[];
  /** Hidden over outer channels of the perceptrons. */
  readonly mlpRatio?: number;
  /** Hidden over outer channels of the convolutional blocks. */
  readonly mbconvExpandRatio?: number;
  /** Channels of the embedding. */
  readonly outChannels?: number;
  /** Stride of each of the patch embedding's two convolutions: 2, of 3 x 3 pixels, or 1, of 1 x 1. */
  readonly patchStride?: 1 | 2;
}

/** Conv, GELU, conv: [B, S, S, 3] -> [B, S/4, S/4, dim] by 3x3 at stride 2, or [B, S, S, dim] by 1x1. */
export class PatchEmbed extends Module {
  /** 3 -> dim / 2 -> dim channels; `null` stands for GELU. */
  readonly seq: [Conv2d, null, Conv2d];

  /** Makes an empty embedding of `dim` channels. */
  constructor(gpu: Gpu, dim: number, stride: 1 | 2) {
    super(gpu);
    const common = stride === 2
      ? { kernelSize: 3, stride, padding: 1 }
      : { kernelSize: 1, stride, padding: 0 };
    this.seq = [
      new Conv2d(gpu, { inChannels: 3, outChannels: dim / 2, ...common }),
      null,
      new Conv2d(gpu, { inChannels: dim / 2, outChannels: dim, ...common }),
    ];
  }

  /** [B, S, S, 3] -> [B, S/4, S/4, dim] or [B, S, S, dim] */
  forward(x: Tensor): Tensor {
    return this.seq[2].forward(this.seq[0].forward(x, { activation: "gelu" }));
  }
}

/**
 * Inverted bottleneck: 1x1 up, depthwise 3x3, 1x1 down, residual. BatchNorm is fused away.
 *
 * Source: Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks".
 */
export class MBConv extends Module {
  /** 1x1, dim -> dim expandRatio. */
  readonly conv1: Conv2d;
  /** Depthwise 3x3. */
  readonly conv2: Conv2d;
  /** 1x1, dim expandRatio -> dim. */
  readonly conv3: Conv2d;

  /** Makes an empty block. */
  constructor(gpu: Gpu, { dim, expandRatio }: { dim: number; expandRatio: number }) {
    super(gpu);
    const hidden = dim * expandRatio;
    this.conv1 = new Conv2d(gpu, { inChannels: dim, outChannels: hidden, kernelSize: 1 });
    this.conv2 = new Conv2d(gpu, {
      inChannels: hidden,
      outChannels: hidden,
      kernelSize: 3,
      padding: 1,
      groups: hidden,
    });
    this.conv3 = new Conv2d(gpu, { inChannels: hidden, outChannels: dim, kernelSize: 1 });
  }

  /** [B, h, w, dim] -> [B, h, w, dim] */
  forward(x: Tensor): Tensor {
    let y = this.conv1.forward(x, { activation: "gelu" }); // [B, h, w, hidden]
    y = this.conv2.forward(y, { activation: "gelu" });
    return this.conv3.forward(y, { residual: x, activation: "gelu" }); // [B, h, w, dim]
  }
}

/** Downsampling between stages: [B, h, w, dim] -> [B, h/stride, w/stride, outDim]. */
export class PatchMerging extends Module {
  /** 1x1, dim -> outDim. */
  readonly conv1: Conv2d;
  /** Depthwise 3x3 at the stride. */
  readonly conv2: Conv2d;
  /** 1x1, outDim -> outDim. */
  readonly conv3: Conv2d;

  /** Makes an empty downsampling. */
  constructor(
    gpu: Gpu,
    { dim, outDim, stride }: { dim: number; outDim: number; stride: number },
  ) {
    super(gpu);
    this.conv1 = new Conv2d(gpu, { inChannels: dim, outChannels: outDim, kernelSize: 1 });
    this.conv2 = new Conv2d(gpu, {
      inChannels: outDim,
      outChannels: outDim,
      kernelSize: 3,
      stride,
      padding: 1,
      groups: outDim,
    });
    this.conv3 = new Conv2d(gpu, { inChannels: outDim, outChannels: outDim, kernelSize: 1 });
  }

  /** [B, h, w, dim] -> [B, h/stride, w/stride, outDim] */
  forward(x: Tensor): Tensor {
    const y = this.conv1.forward(x, { activation: "gelu" });
    return this.conv3.forward(this.conv2.forward(y, { activation: "gelu" }));
  }
}

/**
 * Attention within a window, with a learned bias for each head and pair of positions: MobileSAM's
 * `Attention` of TinyViT, whose bias by relative position follows Graham et al. 2021, "LeViT".
 */
export class WindowAttention extends Module {
  /** Before the projection. */
  readonly norm: LayerNorm;
  /** dim -> 3 dim: for each head its query, key and value side by side. */
  readonly qkv: Linear;
  /** dim -> dim: mixes the heads. */
  readonly proj: Linear;
  /** [heads, N, N]: the biases by relative position, gathered for all pairs of positions. */
  readonly attentionBiasFull: Tensor;
  readonly #heads: number;
  readonly #window: number;

  /** Makes an empty layer for windows of `window` x `window` tokens. */
  constructor(gpu: Gpu, { dim, heads, window }: { dim: number; heads: number; window: number }) {
    super(gpu);
    this.norm = new LayerNorm(gpu, { dim });
    this.qkv = new QkvLinear(gpu, { dim, heads });
    this.proj = new Linear(gpu, { inFeatures: dim, outFeatures: dim });
    const n = window * window;
    this.attentionBiasFull = Tensor.empty(gpu, [heads, n, n]).keep();
    this.#heads = heads;
    this.#window = window;
  }

  /** [B, h, w, dim] -> [B, h, w, dim] */
  forward(x: Tensor): Tensor {
    const [batch, height, width] = x.shape;
    const windows = { size: this.#window, images: [batch, height, width] } as const;
    // Padding to whole windows comes before the LayerNorm, and padded tokens take part in the
    // attention: one stands for all.
    const tokens = this.norm.forward(windowTokens(x, this.#window)); // [B h w (+ 1), dim]
    const qkv = this.qkv.forward(tokens); // rows per head: [q | k | v]
    const bias = this.attentionBiasFull;
    const heads = this.#heads;
    return this.proj.forward(qkvAttention(qkv, { heads, layout: "per-head", bias, windows }));
  }
}

/** The perceptron of TinyViT's blocks: LayerNorm, linear, GELU, linear, added to its input. */
export class Mlp extends Module {
  /** Before the perceptron. */
  readonly norm: LayerNorm;
  /** dim -> hidden */
  readonly fc1: Linear;
  /** hidden -> dim */
  readonly fc2: Linear;

  /** Makes an empty perceptron. */
  constructor(gpu: Gpu, { dim, hidden }: { dim: number; hidden: number }) {
    super(gpu);
    this.norm = new LayerNorm(gpu, { dim });
    this.fc1 = new Linear(gpu, { inFeatures: dim, outFeatures: hidden });
    this.fc2 = new Linear(gpu, { inFeatures: hidden, outFeatures: dim });
  }

  /** x plus the perceptron of x: [..., dim] -> [..., dim] */
  forward(x: Tensor): Tensor {
    return geluPerceptron(this.norm.forward(x), [this.fc1, this.fc2], { residual: x });
  }
}

/** Window attention, a depthwise convolution across windows, a perceptron. */
export class TinyViTBlock extends Module {
  /** Within windows. */
  readonly attn: WindowAttention;
  /** Depthwise 3x3: lets windows see their neighbours. */
  readonly localConv: Conv2d;
  /** On each token. */
  readonly mlp: Mlp;

  /** Makes an empty block for windows of `window` x `window` tokens. */
  constructor(
    gpu: Gpu,
    { dim, heads, window, mlpRatio }: {
      dim: number;
      heads: number;
      window: number;
      mlpRatio: number;
    },
  ) {
    super(gpu);
    this.attn = new WindowAttention(gpu, { dim, heads, window });
    this.localConv = new Conv2d(gpu, {
      inChannels: dim,
      outChannels: dim,
      kernelSize: 3,
      padding: 1,
      groups: dim,
    });
    this.mlp = new Mlp(gpu, { dim, hidden: dim * mlpRatio });
  }

  /** [B, h, w, dim] -> [B, h, w, dim] */
  forward(x: Tensor): Tensor {
    x = add(x, this.attn.forward(x));
    x = this.localConv.forward(x);
    return this.mlp.forward(x);
  }
}

/** A stage of convolutional blocks, and its downsampling. */
export class ConvLayer extends Module {
  /** In order. */
  readonly blocks: MBConv[];
  /** Halves the sides. */
  readonly downsample: PatchMerging;

  /** Makes an empty stage of `depth` blocks. */
  constructor(
    gpu: Gpu,
    options: { dim: number; outDim: number; depth: number; expandRatio: number },
  ) {
    super(gpu);
    this.blocks = Array.from({ length: options.depth }, () => new MBConv(gpu, options));
    this.downsample = new PatchMerging(gpu, { ...options, stride: 2 });
  }
}

/** A stage of transformer blocks, and its downsampling, if any. */
export class BasicLayer extends Module {
  /** In order. */
  readonly blocks: TinyViTBlock[];
  /** Leads to the next stage; the last stage has none. */
  readonly downsample: PatchMerging | null;

  /** Makes an empty stage of `depth` blocks. */
  constructor(
    gpu: Gpu,
    options: {
      dim: number;
      depth: number;
      heads: number;
      window: number;
      mlpRatio: number;
      merge: { outDim: number; stride: number } | null;
    },
  ) {
    super(gpu);
    const { dim, depth, merge } = options;
    this.blocks = Array.from({ length: depth }, () => new TinyViTBlock(gpu, options));
    this.downsample = merge && new PatchMerging(gpu, { dim, ...merge });
  }
}

/**
 * MobileSAM's image encoder: TinyViT and SAM's neck, total stride 16; LiteMedSAM's, whose patches are
 * pixels, has a total stride of 4. It has no absolute position embedding, so any side that is a multiple of
 * 64 works.
 *
 * Source: Wu et al. 2022, "TinyViT"; Zhang et al. 2023, "Faster Segment Anything".
 */
export class TinyViT extends ImageEncoder {
  /** 16, or 4 where patches are pixels. */
  readonly stride: number;
  /** [B, S, S, 3] -> [B, S/4, S/4, embedDims[0]] or [B, S, S, embedDims[0]] */
  readonly patchEmbed: PatchEmbed;
  /** The stages: the first one convolutional, the others transformers. */
  readonly layers: (ConvLayer | BasicLayer)[];
  /** SAM's 1x1 and 3x3 convolutions to the embedding's channels, each with a LayerNorm. */
  readonly neck: Neck;

  /** Makes an empty encoder. */
  constructor(gpu: Gpu, options: TinyViTOptions = {}) {
    super(gpu);
    const {
      embedDims = [64, 128, 160, 320],
      depths = [2, 2, 6, 2],
      numHeads = [2, 4, 5, 10],
      windowSizes = [7, 7, 14, 7],
      mlpRatio = 4,
      mbconvExpandRatio = 4,
      outChannels = 256,
      patchStride = 2,
    } = options;
    this.stride = 4 * patchStride ** 2; // two downsamplings halve the sides
    this.patchEmbed = new PatchEmbed(gpu, embedDims[0], patchStride);
    this.layers = embedDims.map((dim, i) => {
      const depth = depths[i];
      const outDim = embedDims[i + 1];
      if (i === 0) {
        return new ConvLayer(gpu, { dim, outDim, depth, expandRatio: mbconvExpandRatio });
      }
      // The last downsampling has stride 1, so that the embedding's grid is S/16 as in SAM (S/4 of pixels).
      const merge = i < 3 ? { outDim, stride: i < 2 ? 2 : 1 } : null;
      const attention = { heads: numHeads[i], window: windowSizes[i], mlpRatio };
      return new BasicLayer(gpu, { dim, depth, merge, ...attention });
    });
    const last = embedDims[embedDims.length - 1];
    this.neck = createNeck(gpu, { inChannels: last, outChannels });
  }

  /** Patch embedding, blocks and downsamplings. */
  protected body(): EncoderStage[] {
    const stages: EncoderStage[] = [
      { name: "patch_embed", modules: [this.patchEmbed], run: (x) => this.patchEmbed.forward(x) },
    ];
    this.layers.forEach((layer, i) => {
      layer.blocks.forEach((block, j) =>
        stages.push({
          name: `layers.${i}.blocks.${j}`,
          modules: [block],
          run: (x) => block.forward(x),
        })
      );
      const { downsample } = layer;
      if (downsample) {
        stages.push({
          name: `layers.${i}.downsample`,
          modules: [downsample],
          run: (x) => downsample.forward(x),
        });
      }
    });
    return stages;
  }
}
