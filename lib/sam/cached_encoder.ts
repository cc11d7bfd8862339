import { concat, slice } from "../tensor/ops/movement.ts";
import { tidy } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { EncoderStage, ImageEncoder } from "./image_encoder.ts";

/** An image to encode. */
export interface EncoderInput {
  /** Says what the pixels are: equal keys mean equal pixels. */
  readonly key: string;
  /** Makes the pixels, [S, S, 3] normalised; called only if the cache has nothing for the key. */
  pixels(): Float32Array;
}

/**
 * Runs an image encoder and remembers, for each image, what lies before the first trainable weight:
 * the whole embedding if the encoder is frozen, the activations in front of the first adapter
 * otherwise. Within a memory budget that work is done once for each image, not once an epoch.
 */
export class CachedEncoder implements Disposable {
  readonly #encoder: ImageEncoder;
  readonly #side: number;
  readonly #budget: number;
  readonly #prefix: readonly EncoderStage[];
  readonly #suffix: readonly EncoderStage[];
  readonly #cache = new Map<string, Tensor>();
  #bytes = 0;

  /**
   * Makes an empty cache. Freeze and inject first: what is trainable now decides where it cuts.
   *
   * @param options.side Side S of the input.
   * @param options.budget Bytes of device memory the cache may take. Default 1 GiB.
   */
  constructor(encoder: ImageEncoder, options: { side: number; budget?: number }) {
    this.#encoder = encoder;
    this.#side = options.side;
    this.#budget = options.budget ?? 2 ** 30;
    const stages = encoder.stages();
    const trainable = stages.findIndex(({ modules, weights = [] }) =>
      weights.some(({ isParameter }) => isParameter) ||
      modules.some((module) => module.trainableParameters().length > 0)
    );
    const frozen = trainable < 0 ? stages.length : trainable;
    this.#prefix = stages.slice(0, frozen);
    this.#suffix = stages.slice(frozen);
  }

  /** Bytes that the cache holds. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Image embeddings [B, S/16, S/16, 256] of B images. */
  encode(inputs: readonly EncoderInput[]): Tensor {
    const { gpu } = this.#encoder;
    const missing = inputs.filter(({ key }) => !this.#cache.has(key));
    return tidy(gpu, () => {
      const fresh = new Map<string, Tensor>();
      const atOnce = imagesAtOnce(this.#side);
      for (let start = 0; start < missing.length; start += atOnce) {
        for (const [key, activation] of this.#runPrefix(missing.slice(start, start + atOnce))) {
          fresh.set(key, activation);
          this.#remember(key, activation);
        }
      }
      const parts = inputs.map(({ key }) => fresh.get(key) ?? this.#cache.get(key)!);
      return run(this.#suffix, parts.length === 1 ? parts[0].detach() : concat(parts, 0));
    });
  }

  /** What lies before the first trainable weight, for each image: [1, ...]. */
  #runPrefix(inputs: readonly EncoderInput[]): [key: string, activation: Tensor][] {
    const { gpu } = this.#encoder;
    const size = this.#side * this.#side * 3;
    const activations = tidy(gpu, () => {
      const pixels = new Float32Array(inputs.length * size);
      inputs.forEach((input, i) => pixels.set(input.pixels(), i * size));
      const shape = [inputs.length, this.#side, this.#side, 3];
      const x = run(this.#prefix, Tensor.from(gpu, pixels, shape));
      return inputs.length === 1
        ? [x]
        : inputs.map((_, i) => slice(x, { axis: 0, start: i, end: i + 1 }));
    });
    return inputs.map(({ key }, i) => [key, activations[i]]);
  }

  #remember(key: string, activation: Tensor): void {
    const bytes = 4 * activation.size;
    if (this.#bytes + bytes > this.#budget || this.#cache.has(key)) return;
    this.#cache.set(key, activation.alias());
    this.#bytes += bytes;
  }

  /** Frees the cache. */
  [Symbol.dispose](): void {
    for (const activation of this.#cache.values()) activation.dispose();
    this.#cache.clear();
    this.#bytes = 0;
  }
}

/** Images of side S whose widest activation, 256 channels at S/4, stays within 64 MiB. */
function imagesAtOnce(side: number): number {
  return Math.max(1, Math.floor(2 ** 20 / (side * side)));
}

/** Runs stages one after the other, each in a scope of its own. */
function run(stages: readonly EncoderStage[], x: Tensor): Tensor {
  for (const stage of stages) {
    const input = x;
    x = tidy(x.gpu, () => stage.run(input));
  }
  return x;
}
