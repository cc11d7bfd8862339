import type { AugmentedSlice } from "../data/augment.ts";
import { inputGeometry, toModelInput } from "../data/preprocess.ts";
import { type Prompt, scalePrompt } from "../data/prompts.ts";
import { CachedEncoder } from "../sam/cached_encoder.ts";
import type { Sam } from "../sam/sam.ts";
import { reshape } from "../tensor/ops/movement.ts";
import { Tensor } from "../tensor/tensor.ts";

/** SAM applied to slices of a data set: from pixels and prompts to logits on the slices' own grid. */
export class SliceModel implements Disposable {
  /** The model. */
  readonly sam: Sam;
  /** Side of the model's input, in pixels. */
  readonly side: number;
  readonly #encoder: CachedEncoder;

  /**
   * Wraps a model. Freeze and inject first: what is trainable now decides what the cache keeps.
   *
   * @param options.side Side S of the input; a multiple of 64.
   * @param options.cacheBytes Budget of the cache of frozen activations.
   */
  constructor(sam: Sam, options: { side: number; cacheBytes?: number }) {
    this.sam = sam;
    this.side = options.side;
    this.#encoder = new CachedEncoder(sam.imageEncoder, {
      side: options.side,
      budget: options.cacheBytes,
    });
  }

  /** Image embeddings [B, S/16, S/16, 256] of slices. */
  encode(slices: readonly AugmentedSlice[]): Tensor {
    return this.#encoder.encode(slices.map(({ slice, variant }) => ({
      key: slice.ref.id + variant,
      pixels: () => {
        const { width, height } = slice.ref;
        return toModelInput({ data: slice.image, width, height }, { side: this.side }).data;
      },
    })));
  }

  /**
   * Logits [B, H, W] of slices of one size.
   *
   * @param embeddings What {@linkcode encode} gave for them.
   * @param prompts One for each slice, in slice pixels.
   */
  decode(
    embeddings: Tensor,
    slices: readonly AugmentedSlice[],
    prompts: readonly Prompt[],
  ): Tensor {
    const { width, height } = slices[0].slice.ref;
    const input = inputGeometry({ width, height }, this.side);
    const { masks } = this.sam.decode(
      embeddings,
      prompts.map((prompt) => scalePrompt(prompt, input)),
    );
    const logits = this.sam.postprocessMasks(masks, {
      input: [input.height, input.width],
      original: [height, width],
    });
    return reshape(logits, [slices.length, height, width]);
  }

  /** The true masks of slices of one size: [B, H, W], 0 or 1. */
  target(slices: readonly AugmentedSlice[]): Tensor {
    const { width, height } = slices[0].slice.ref;
    const target = new Float32Array(slices.length * width * height);
    slices.forEach(({ slice }, i) => target.set(slice.mask, i * width * height));
    return Tensor.from(this.sam.gpu, target, [slices.length, height, width]);
  }

  /** Frees the cache. */
  [Symbol.dispose](): void {
    this.#encoder[Symbol.dispose]();
  }
}
