import type { Gpu } from "../gpu/gpu.ts";
import { Conv2d } from "../nn/conv2d.ts";
import { Embedding } from "../nn/embedding.ts";
import type { HostState } from "../nn/host_state.ts";
import { LayerNorm } from "../nn/layer_norm.ts";
import { Module } from "../nn/module.ts";
import { add } from "../tensor/ops/arithmetic.ts";
import { concat, reshape } from "../tensor/ops/movement.ts";
import { gather } from "../tensor/ops/gather.ts";
import { gelu } from "../tensor/ops/unary.ts";
import { Tensor } from "../tensor/tensor.ts";

/** A click: a position in input pixels, label 1 on the object or 0 beside it. */
export interface PointPrompt {
  /** Column of the pixel clicked on, from 0 at the left; fractions are allowed. */
  readonly x: number;
  /** Row of that pixel, from 0 at the top. */
  readonly y: number;
  /** 1 on the object, 0 beside it. */
  readonly label: 0 | 1;
}

/** Prompt for one mask. Coordinates are pixels of the resized image. */
export interface SamPrompt {
  /** Clicks. */
  readonly points?: readonly PointPrompt[];
  /** x0, y0, x1, y1. */
  readonly box?: readonly [number, number, number, number];
}

/** Tokens that a prompt becomes: one a click and two a box; clicks without a box are padded by one. */
export function tokensOf({ points = [], box }: SamPrompt): number {
  return points.length + (box ? 2 : Math.sign(points.length));
}

/** Rows of the embedding table: `not_a_point_embed`, then `point_embeddings` 0 to 3. */
const ROW = { padding: 0, background: 1, foreground: 2, topLeft: 3, bottomRight: 4 } as const;

/**
 * Random Fourier features of positions in the unit square.
 *
 * Source: Tancik et al. 2020, "Fourier Features Let Networks Learn High Frequency Functions".
 */
export class PositionEmbeddingRandom extends Module {
  /** [2, dim / 2]: frequencies along x and y; fixed. */
  readonly positionalEncodingGaussianMatrix: Tensor;
  #matrix: Float32Array = new Float32Array(0);

  /** Makes an empty embedding of `dim` channels. */
  constructor(gpu: Gpu, dim: number) {
    super(gpu);
    this.positionalEncodingGaussianMatrix = Tensor.empty(gpu, [2, dim / 2]).keep();
  }

  /** Keeps the frequencies on the host, where they are used. */
  protected override onLoad(state: HostState, path: string): void {
    this.#matrix = state.get(`${path}.positional_encoding_gaussian_matrix`)!.data;
  }

  /**
   * Writes [sin | cos] of one position into `out` from `at` on. On the host, in float64: WGSL
   * promises few digits of sin and cos, and the positions are few.
   */
  encode(x: number, y: number, out: Float32Array, at: number): void {
    const half = this.#matrix.length / 2;
    for (let i = 0; i < half; i++) {
      const projected = (2 * x - 1) * this.#matrix[i] + (2 * y - 1) * this.#matrix[half + i];
      out[at + i] = Math.sin(2 * Math.PI * projected);
      out[at + half + i] = Math.cos(2 * Math.PI * projected);
    }
  }
}

/**
 * SAM's prompt encoder: points, boxes and masks to embeddings.
 *
 * Source: Kirillov et al. 2023, "Segment Anything", appendix A.
 */
export class PromptEncoder extends Module {
  /** Embeds positions, of prompts and of the image's grid. */
  readonly peLayer: PositionEmbeddingRandom;
  /** [1, dim] each: background click, foreground click, a box's first and second corner. */
  readonly pointEmbeddings: Embedding[];
  /** [1, dim]: the point that stands in for a missing box. */
  readonly notAPointEmbed: Embedding;
  /** Mask logits to a quarter of their side and dim channels; `null` stands for GELU. */
  readonly maskDownscaling: [Conv2d, LayerNorm, null, Conv2d, LayerNorm, null, Conv2d];
  /** [1, dim]: the dense embedding where no mask is given. */
  readonly noMaskEmbed: Embedding;
  readonly #dim: number;
  readonly #densePe = new Map<number, Tensor>();

  /** Makes an empty encoder. */
  constructor(gpu: Gpu, options: { embedDim?: number; maskInChans?: number } = {}) {
    super(gpu);
    const { embedDim = 256, maskInChans = 16 } = options;
    this.#dim = embedDim;
    this.peLayer = new PositionEmbeddingRandom(gpu, embedDim);
    this.pointEmbeddings = Array.from(
      { length: 4 },
      () => new Embedding(gpu, { count: 1, dim: embedDim }),
    );
    this.notAPointEmbed = new Embedding(gpu, { count: 1, dim: embedDim });
    const quarter = maskInChans / 4;
    const halve = { kernelSize: 2, stride: 2 };
    this.maskDownscaling = [
      new Conv2d(gpu, { inChannels: 1, outChannels: quarter, ...halve }),
      new LayerNorm(gpu, { dim: quarter, eps: 1e-6 }),
      null,
      new Conv2d(gpu, { inChannels: quarter, outChannels: maskInChans, ...halve }),
      new LayerNorm(gpu, { dim: maskInChans, eps: 1e-6 }),
      null,
      new Conv2d(gpu, { inChannels: maskInChans, outChannels: embedDim, kernelSize: 1 }),
    ];
    this.noMaskEmbed = new Embedding(gpu, { count: 1, dim: embedDim });
  }

  /** Position embedding of the image grid: [grid * grid, dim]. Made once for each grid. */
  getDensePe(grid: number): Tensor {
    let pe = this.#densePe.get(grid);
    if (!pe) {
      const data = new Float32Array(grid * grid * this.#dim);
      for (let y = 0; y < grid; y++) {
        for (let x = 0; x < grid; x++) {
          const at = (y * grid + x) * this.#dim;
          this.peLayer.encode((x + 0.5) / grid, (y + 0.5) / grid, data, at);
        }
      }
      pe = Tensor.from(this.gpu, data, [grid * grid, this.#dim], "position encoding").keep();
      this.#densePe.set(grid, pe);
    }
    return pe;
  }

  /**
   * Embeds one prompt for each mask wanted.
   *
   * @param prompts B prompts with the same number of points, all with a box or all without one.
   * @param options.imageSize Side of the padded input, in pixels.
   * @param options.mask [B, S/4, S/4, 1], logits of an earlier mask.
   * @returns sparse [B, tokens, dim] and dense [B, S/16, S/16, dim] or, without a mask, [1, 1, 1, dim].
   * @throws {Error} if the prompts differ in kind or one is empty.
   */
  forward(
    prompts: readonly SamPrompt[],
    options: { imageSize: number; mask?: Tensor | null },
  ): { sparse: Tensor; dense: Tensor } {
    const { imageSize, mask } = options;
    const positions: (readonly [x: number, y: number, row: number])[][] = prompts.map((prompt) => {
      const tokens: [number, number, number][] = (prompt.points ?? []).map(({ x, y, label }) => [
        x,
        y,
        label === 1 ? ROW.foreground : ROW.background,
      ]);
      // SAM pads clicks that come without a box by a point that is none.
      if (tokens.length > 0 && !prompt.box) tokens.push([0, 0, ROW.padding]);
      if (prompt.box) {
        const [x0, y0, x1, y1] = prompt.box;
        tokens.push([x0, y0, ROW.topLeft], [x1, y1, ROW.bottomRight]);
      }
      return tokens;
    });
    const tokens = positions[0].length;
    if (tokens === 0) {
      throw new Error("a prompt needs a box or points: give the whole image as a box");
    }
    if (positions.some((list) => list.length !== tokens)) {
      throw new Error("the prompts of a batch must have the same number of points and boxes");
    }
    const encoding = new Float32Array(prompts.length * tokens * this.#dim);
    const rows = new Uint32Array(prompts.length * tokens);
    positions.flat().forEach(([x, y, row], i) => {
      rows[i] = row;
      if (row === ROW.padding) return; // its position counts for nothing
      // Pixel centres, in the unit square.
      const at = i * this.#dim;
      this.peLayer.encode((x + 0.5) / imageSize, (y + 0.5) / imageSize, encoding, at);
    });
    const shape = [prompts.length, tokens, this.#dim];
    const table = concat(
      [this.notAPointEmbed, ...this.pointEmbeddings].map((embedding) => embedding.weight),
      0,
    );
    const labels = gather(table, Tensor.from(this.gpu, rows, [prompts.length, tokens], "prompts"));
    const sparse = add(Tensor.from(this.gpu, encoding, shape, "prompts"), labels);
    return { sparse, dense: mask ? this.#embedMask(mask) : this.#noMask() };
  }

  #noMask(): Tensor {
    return reshape(this.noMaskEmbed.weight, [1, 1, 1, this.#dim]);
  }

  /** [B, S/4, S/4, 1] -> [B, S/16, S/16, dim] */
  #embedMask(mask: Tensor): Tensor {
    const [conv1, norm1, , conv2, norm2, , conv3] = this.maskDownscaling;
    let x = gelu(norm1.forward(conv1.forward(mask))); // [B, S/8, S/8, 4]
    x = gelu(norm2.forward(conv2.forward(x))); // [B, S/16, S/16, 16]
    return conv3.forward(x);
  }

  /** Frees all weights and the position embeddings made from them. */
  override dispose(): void {
    this.#dropDensePe();
    super.dispose();
  }

  /** Forgets the position embeddings made from other weights. */
  protected override onLoad(): void {
    this.#dropDensePe();
  }

  #dropDensePe(): void {
    for (const pe of this.#densePe.values()) pe.dispose();
    this.#densePe.clear();
  }
}
