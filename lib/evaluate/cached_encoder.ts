import { type ActivationStorage, packHalf, unpackHalf } from "../tensor/half.ts";
import { ActivationCache, type ActivationCacheOptions } from "./activation_cache.ts";
import { concat, slice } from "../tensor/ops/movement.ts";
import { tidy } from "../tensor/scope.ts";
import type { Shape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import type { Module } from "../nn/module.ts";
import { type EncoderStage, type ImageEncoder, runStages } from "../sam/image_encoder.ts";

/** Use of a tensor from the cache, for error messages. */
const KEPT = "kept activation";

/** An image to encode. */
export interface EncoderInput {
  /** Name of the pixels: equal keys mean equal pixels. Null if they are not to be remembered. */
  readonly key: string | null;
  /**
   * Makes the pixels, [S, S, 3] normalised, or a tensor [1, S, S, 3] of them; called only if the cache
   * has nothing for the key.
   */
  pixels(): Float32Array | Tensor;
}

/** A cache that several encoders use, one after the other. */
export interface SharedActivations {
  /** The cache; whoever made it disposes of it. */
  readonly cache: ActivationCache;
  /** Whatever activations depend on beside the model's stages, side and storage: weights and pixels. */
  readonly content: string;
  /**
   * Module of an encoder stage in front of which a later encoder of the same weights is cut: activations are
   * kept there on the way. Null for none.
   */
  readonly earlier?: Module | null;
}

/** Options of {@linkcode CachedEncoder}. */
export interface CachedEncoderOptions extends ActivationCacheOptions {
  /** Side S of the input. */
  readonly side: number;
  /** A cache in place of one of its own, whose budgets then mean nothing. */
  readonly shared?: SharedActivations;
  /**
   * Storage of activations. With `f16` they are rounded whether they come from the cache or not, so
   * that the budgets change no number. Default `f32`.
   */
  readonly storage?: ActivationStorage;
}

/**
 * Runs an image encoder and remembers, for each image, what lies before the first trainable weight:
 * the whole embedding if the encoder is frozen, the activations in front of the first adapter
 * otherwise. Within its budgets that work is done once for each image, not once an epoch.
 */
export class CachedEncoder implements Disposable {
  readonly #encoder: ImageEncoder;
  readonly #side: number;
  readonly #storage: ActivationStorage;
  readonly #cache: ActivationCache;
  readonly #isOwn: boolean;
  readonly #prefix: readonly EncoderStage[];
  readonly #suffix: readonly EncoderStage[];
  /** Number of stages in front of the earlier cut; 0 if there is none. */
  readonly #earlier: number;
  /** Shape of one image's activation, [1, ...]; empty before the first. */
  #shape: Shape = [];

  /** Makes an encoder. Freeze and inject first: what is trainable now decides where the cache cuts. */
  constructor(encoder: ImageEncoder, options: CachedEncoderOptions) {
    const { side, shared, storage = "f32" } = options;
    this.#encoder = encoder;
    this.#side = side;
    this.#storage = storage;
    this.#isOwn = shared === undefined;
    this.#cache = shared?.cache ?? new ActivationCache(options);
    const stages = encoder.stages();
    const trainable = stages.findIndex(({ modules, weights = [] }) =>
      weights.some(({ isParameter }) => isParameter) ||
      modules.some((module) => module.trainableParameters().length > 0)
    );
    const frozen = trainable < 0 ? stages.length : trainable;
    this.#prefix = stages.slice(0, frozen);
    this.#suffix = stages.slice(frozen);
    const module = shared?.earlier;
    const earlier = module ? stages.findIndex((stage) => contains(stage, module)) : 0;
    this.#earlier = earlier < frozen ? Math.max(0, earlier) : 0;
    this.#cache.keep(JSON.stringify([side, storage, shared?.content]), {
      own: frozen,
      earlier: this.#earlier || undefined,
    });
    this.#shape = this.#cache.shape;
  }

  /** Bytes of device memory that the cache holds, but for what waits for {@linkcode settle}. */
  get bytes(): number {
    return this.#cache.bytes;
  }

  /** Bytes that the cache holds on disk. */
  get diskBytes(): number {
    return this.#cache.diskBytes;
  }

  /** Image embeddings [B, S/16, S/16, 256] of B images. */
  encode(inputs: readonly EncoderInput[]): Tensor {
    return tidy(this.#encoder.gpu, () => {
      // An image that is not remembered is known by its input.
      const nameOf = (input: EncoderInput) => input.key ?? input;
      const stored = new Map<string | EncoderInput, Tensor>();
      const missing = new Map<string | EncoderInput, EncoderInput>();
      for (const input of inputs) {
        const name = nameOf(input);
        if (stored.has(name) || missing.has(name)) continue;
        const known = input.key === null ? null : this.#find(input.key);
        if (known) stored.set(name, known);
        else missing.set(name, input);
      }
      const atOnce = imagesAtOnce(this.#side);
      const left = [...missing.values()];
      while (left.length > 0) {
        for (const [input, activation] of this.#runPrefix(left.splice(0, atOnce))) {
          const packed = this.#packed(activation);
          stored.set(nameOf(input), packed);
          if (input.key !== null) this.#cache.remember(input.key, packed, this.#shape);
        }
      }
      const parts = inputs.map((input) => {
        const part = stored.get(nameOf(input))!;
        return this.#storage === "f16" ? unpackHalf(part, this.#shape) : part;
      });
      return runStages(this.#suffix, parts.length === 1 ? parts[0].detach() : concat(parts, 0));
    });
  }

  /**
   * Writes to disk what memory had no room for. To be called between batches: until then such
   * activations wait in device memory, 256 MiB of them at most, and what goes beyond is not kept.
   */
  async settle(): Promise<void> {
    await this.#cache.settle(this.#encoder.gpu);
  }

  /**
   * Computes the activations in front of the first trainable weight, for another process.
   *
   * @returns each image's as it is stored; whoever asks disposes of them.
   */
  prefixOf(inputs: readonly EncoderInput[]): Tensor[] {
    return tidy(this.#encoder.gpu, () => {
      const left = [...inputs];
      const found: Tensor[] = [];
      while (left.length > 0) {
        const some = this.#runPrefix(left.splice(0, imagesAtOnce(this.#side)));
        found.push(...some.map(([, activation]) => this.#packed(activation)));
      }
      return found;
    });
  }

  /** Shape of one image's activation, [1, ...]; empty before the first. */
  get shape(): Shape {
    return this.#shape;
  }

  /** Number of stages in front of the first trainable weight. */
  get cut(): number {
    return this.#prefix.length;
  }

  /** The activation at the earlier cut that another process has computed, [1, ...]; null if there is none. */
  #readEarlier({ key }: EncoderInput): Tensor | null {
    // Halved in precision it would be another one: in one process nothing is rounded there.
    if (key === null || this.#earlier === 0 || this.#storage === "f16") return null;
    const content = this.#cache.readStored(key, this.#earlier);
    return content && Tensor.from(
      this.#encoder.gpu,
      new Float32Array(content),
      this.#cache.storedShape,
      KEPT,
    );
  }

  /** Activations in front of the first trainable weight, [1, ...] for each image. */
  #runPrefix(inputs: readonly EncoderInput[]): [input: EncoderInput, activation: Tensor][] {
    const { gpu } = this.#encoder;
    const earlier = inputs.map((input) => this.#readEarlier(input));
    if (earlier.some((one) => one) && !earlier.every((one) => one)) {
      // Those that begin at the earlier cut go by themselves.
      const [some, others] = [true, false].map((isThere) =>
        inputs.filter((_, i) => (earlier[i] !== null) === isThere)
      );
      for (const one of earlier) one?.dispose();
      return [...this.#runPrefix(some), ...this.#runPrefix(others)];
    }
    const activations = tidy(gpu, () => {
      if (earlier.every((one) => one !== null)) {
        const x = runStages(this.#prefix.slice(this.#earlier), concat(earlier, 0));
        return inputs.map((_, i) => imageOf(x, i));
      }
      const images = inputs.map((input) => {
        const pixels = input.pixels();
        return pixels instanceof Tensor
          ? pixels
          : Tensor.from(gpu, pixels, [1, this.#side, this.#side, 3], "image");
      });
      let x = runStages(this.#prefix.slice(0, this.#earlier), concat(images, 0));
      if (this.#earlier > 0) this.#keepEarlier(inputs, x);
      x = runStages(this.#prefix.slice(this.#earlier), x);
      return inputs.map((_, i) => imageOf(x, i));
    });
    this.#shape = activations[0].shape;
    return inputs.map((input, i) => [input, activations[i]]);
  }

  /** Keeps the activations x [B, ...] at the earlier cut of B images that are to be remembered. */
  #keepEarlier(inputs: readonly EncoderInput[], x: Tensor): void {
    inputs.forEach(({ key }, i) => {
      if (key === null) return;
      const own = imageOf(x, i);
      this.#cache.rememberEarlier(this.#earlier, key, this.#packed(own), own.shape);
    });
  }

  #packed(activation: Tensor): Tensor {
    return this.#storage === "f16" ? packHalf(activation) : activation;
  }

  /** The activation of a key, as it was stored; null if the cache has none. */
  #find(key: string): Tensor | null {
    const known = this.#cache.find(key);
    if (known) return known;
    const content = this.#cache.readFile(key);
    if (content) return this.#tensorOf(content);
    const stored = this.#cache.readStored(key);
    if (!stored) return null;
    const tensor = this.#tensorOf(stored);
    this.#cache.rememberStored(key, tensor);
    return tensor;
  }

  #tensorOf(content: ArrayBuffer): Tensor {
    const { gpu } = this.#encoder;
    return this.#storage === "f16"
      ? Tensor.from(gpu, new Uint32Array(content), [content.byteLength / 4], KEPT)
      : Tensor.from(gpu, new Float32Array(content), this.#shape, KEPT);
  }

  /** Frees the cache, if it is its own. */
  [Symbol.dispose](): void {
    if (this.#isOwn) this.#cache[Symbol.dispose]();
  }
}

/** True if a stage runs a module, by itself or as a part of another. */
function contains({ modules }: EncoderStage, module: Module): boolean {
  return modules.some((part) => [...part.namedModules()].some(([, inner]) => inner === module));
}

/** Image i of x [B, ...]: [1, ...]. */
function imageOf(x: Tensor, i: number): Tensor {
  return x.shape[0] === 1 ? x : slice(x, { axis: 0, start: i, end: i + 1 });
}

/** Images of side S whose widest activation, 256 channels at S/4, stays within 64 MiB. */
function imagesAtOnce(side: number): number {
  return Math.max(1, Math.floor(2 ** 20 / (side * side)));
}
