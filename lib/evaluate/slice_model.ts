import type { AugmentedSlice } from "../data/augment.ts";
import { CachedEncoder, type EncoderInput, type SharedActivations } from "./cached_encoder.ts";
import type { Shape } from "../tensor/shape.ts";
import { inputGeometry, toModelInput } from "../data/preprocess.ts";
import { type Prompt, scalePrompt } from "../data/prompts.ts";
import { tokensOf } from "../sam/prompt_encoder.ts";
import type { Sam } from "../sam/sam.ts";
import { type ActivationStorage, withStorage } from "../tensor/half.ts";
import { type Precision, withPrecision } from "../tensor/precision.ts";
import { augmentImage, modelInput } from "../tensor/ops/augment.ts";
import { reshape, slice } from "../tensor/ops/movement.ts";
import { Tensor } from "../tensor/tensor.ts";

/** Bytes of an upscaled image embedding (S/4 x S/4, 32 channels) for each pixel of the input. */
const UPSCALED_BYTES = 8;

/** Bytes of the largest activation of masks decoded as one batch: half of what every device can bind. */
const GROUP_BYTES = 2 ** 26;

/** Options of {@linkcode SliceModel}. */
export interface SliceModelOptions {
  /** Side S of the model's input in pixels; a multiple of 64. */
  readonly side: number;
  /** Budget in device memory of the cache of frozen activations. Default 1 GiB. */
  readonly cacheBytes?: number;
  /** Budget on disk for what memory has no room for. Default 0. */
  readonly cacheDiskBytes?: number;
  /** Cache that it shares with other models, in place of one of its own. */
  readonly sharedActivations?: SharedActivations;
  /**
   * Format of the activations that are kept for backward and in the cache; they are computed with as
   * f32. Default `f32`.
   */
  readonly storage?: ActivationStorage;
  /** Precision of products and attention. Default `f32`. */
  readonly precision?: Precision;
}

/** Masks of slices of one size under one prompt each. */
export interface DecodedMasks {
  /** [B, H, W], on the slices' grid. */
  readonly logits: Tensor;
  /** [B, S/4, S/4, 1]: the logits as they were decoded. */
  readonly lowResMasks: Tensor;
  /** [B]: estimated IoU of each mask. */
  readonly iouPredictions: Tensor;
}

/** SAM on slices of a data set: from pixels and prompts to logits on the slices' own grid. */
export class SliceModel implements Disposable {
  /** Model that is applied. */
  readonly sam: Sam;
  /** Side of the model's input, in pixels. */
  readonly side: number;
  /** Precision of products and attention. */
  readonly precision: Precision;
  readonly #storage: ActivationStorage;
  readonly #encoder: CachedEncoder;

  /** Wraps a model. Freeze and inject first: the cache keeps activations before all that is trainable now. */
  constructor(sam: Sam, options: SliceModelOptions) {
    this.sam = sam;
    this.side = options.side;
    this.precision = options.precision ?? "f32";
    this.#storage = options.storage ?? "f32";
    this.#encoder = new CachedEncoder(sam.imageEncoder, {
      side: options.side,
      budget: options.cacheBytes,
      diskBudget: options.cacheDiskBytes,
      shared: options.sharedActivations,
      storage: options.storage,
    });
  }

  /** Image embeddings [B, S/16, S/16, 256] of slices. */
  encode(slices: readonly AugmentedSlice[]): Tensor {
    const inputs = this.#inputs(slices);
    return this.#compute(() => this.#encoder.encode(inputs));
  }

  /** Computes what lies before the first trainable weight of slices, for another process. */
  async prefixOf(
    slices: readonly AugmentedSlice[],
  ): Promise<{ key: string; content: Uint8Array }[]> {
    const inputs = this.#inputs(slices);
    const { gpu } = this.sam;
    const tensors = this.#compute(() => this.#encoder.prefixOf(inputs));
    try {
      const contents = await Promise.all(
        tensors.map(({ buffer, size }) => gpu.read(buffer, 4 * size)),
      );
      return contents.map((content, i) => ({
        key: inputs[i].key!,
        content: new Uint8Array(content),
      }));
    } finally {
      for (const tensor of tensors) tensor.dispose();
    }
  }

  /** Number of stages before the first trainable weight, and the shape [1, ...] of an image's activation there. */
  get prefix(): { readonly cut: number; readonly shape: Shape } {
    return this.#encoder;
  }

  #compute<T>(compute: () => T): T {
    const { sam: { gpu }, precision } = this;
    return withPrecision(gpu, precision, () => withStorage(gpu, this.#storage, compute));
  }

  #inputs(slices: readonly AugmentedSlice[]): EncoderInput[] {
    return slices.map((augmented) => ({
      key: augmented.variant === null ? null : augmented.slice.ref.id + augmented.variant,
      pixels: () => this.#pixels(augmented),
    }));
  }

  /** Input of the encoder [S, S, 3]: without augmentation it is prepared on the host, to the same bits. */
  #pixels({ slice, change }: AugmentedSlice): Float32Array | Tensor {
    const { image, ref: { width, height } } = slice;
    const { side, sam: { inputRule: rule } } = this;
    if (!change) return toModelInput({ data: image, width, height }, { side, rule }).data;
    const plain = Tensor.from(this.sam.gpu, image, [height, width], "image");
    return modelInput(augmentImage(plain, change), {
      ...inputGeometry({ width, height }, side),
      ...rule,
    });
  }

  /** Writes activations that the cache has no memory for to disk; to be called between batches. */
  async settle(): Promise<void> {
    await this.#encoder.settle();
  }

  /**
   * Logits [B, H, W] of slices of one size.
   *
   * @param embeddings Image embeddings of the slices, by {@linkcode encode}.
   * @param prompts One for each slice, in slice pixels.
   */
  decode(
    embeddings: Tensor,
    slices: readonly AugmentedSlice[],
    prompts: readonly Prompt[],
  ): Tensor {
    return this.decodeStep(embeddings, slices, { prompts }).logits;
  }

  /**
   * One step of an interactive segmentation of slices of one size: as {@linkcode decode}, with the mask
   * of the step before as a further prompt.
   *
   * @param embeddings Image embeddings of the slices, or of the first of them where the others repeat those in
   * their order.
   * @param step.prompts One for each slice, in slice pixels, with as many points each.
   * @param step.mask `lowResMasks` of the step before; none in the first step.
   */
  decodeStep(
    embeddings: Tensor,
    slices: readonly AugmentedSlice[],
    step: { prompts: readonly Prompt[]; mask?: Tensor },
  ): DecodedMasks {
    const { width, height } = slices[0].slice.ref;
    const input = inputGeometry({ width, height }, this.side);
    const scaled = step.prompts.map((prompt) => scalePrompt(prompt, input));
    const { masks, logits, iouPredictions } = this.#compute(() => {
      const { masks, iouPredictions } = this.sam.decode(embeddings, scaled, { mask: step.mask });
      const logits = this.sam.postprocessMasks(masks, {
        input: [input.height, input.width],
        original: [height, width],
      });
      return { masks, logits, iouPredictions };
    });
    const maskSide = masks.shape[2];
    return {
      logits: reshape(logits, [slices.length, height, width]),
      lowResMasks: reshape(masks, [slices.length, maskSide, maskSide, 1]),
      iouPredictions: reshape(iouPredictions, [slices.length]),
    };
  }

  /**
   * Masks of slices of one size under each of several lists of prompts, which are decoded together as far as
   * they can be.
   *
   * @param lists Lists with a prompt for each slice, in slice pixels.
   * @param decode Decodes prompts, one for each of `repeated`, to tensors [n B, ...].
   * @returns What `decode` gives, for each list.
   */
  decodeLists<Masks extends { readonly [name: string]: Tensor }>(
    slices: readonly AugmentedSlice[],
    lists: readonly (readonly Prompt[])[],
    decode: (repeated: readonly AugmentedSlice[], prompts: readonly Prompt[]) => Masks,
  ): Masks[] {
    const found: Masks[] = [];
    for (const group of this.groupLists(slices, lists)) {
      const masks = decode(group.flatMap(() => slices), group.flatMap((list) => lists[list]));
      group.forEach((list, i) => {
        const part = { axis: 0, start: i * slices.length, end: (i + 1) * slices.length };
        found[list] = group.length === 1 ? masks : Object.fromEntries(
          Object.entries(masks).map(([name, tensor]) => [name, slice(tensor, part)]),
        ) as Masks;
      });
    }
    return found;
  }

  /**
   * Numbers of the lists of prompts, in groups that are decoded as one batch: lists of as many tokens, no more
   * than a buffer has room for.
   *
   * @param lists Lists with a prompt for each of `slices`, which are of one size.
   */
  groupLists(
    slices: readonly AugmentedSlice[],
    lists: readonly (readonly Prompt[])[],
  ): number[][] {
    const { width, height } = slices[0].slice.ref;
    const bytes = slices.length * Math.max(UPSCALED_BYTES * this.side ** 2, 4 * width * height);
    const most = Math.max(1, Math.floor(GROUP_BYTES / bytes));
    const groups: number[][] = [];
    lists.forEach(([first], i) => {
      const tokens = tokensOf(first);
      const open = groups.find((group) =>
        group.length < most && tokensOf(lists[group[0]][0]) === tokens
      );
      if (open) open.push(i);
      else groups.push([i]);
    });
    return groups;
  }

  /** True masks [B, H, W] of slices of one size, 0 or 1. */
  target(slices: readonly AugmentedSlice[]): Tensor {
    const { width, height } = slices[0].slice.ref;
    const target = new Float32Array(slices.length * width * height);
    slices.forEach(({ slice }, i) => target.set(slice.mask, i * width * height));
    return Tensor.from(this.sam.gpu, target, [slices.length, height, width], "true masks");
  }

  /** Frees the cache, on disk too, unless it is shared. */
  [Symbol.dispose](): void {
    this.#encoder[Symbol.dispose]();
  }
}
