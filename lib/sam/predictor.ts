import { type Image, type InputGeometry, inputGeometry, toModelInput } from "../data/preprocess.ts";
import { scalePrompt } from "../data/prompts.ts";
import { InputError } from "../errors.ts";
import { checkValues } from "../nn/host_state.ts";
import { noGrad } from "../tensor/autograd.ts";
import { reshape } from "../tensor/ops/movement.ts";
import { Scope, tidy } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import { Sam } from "./sam.ts";

/** Prompts and options of {@linkcode SamPredictor.predict}; coordinates are pixels of the original image. */
export interface PredictOptions {
  /** Clicks, [x, y] each. */
  readonly pointCoords?: readonly (readonly [x: number, y: number])[];
  /** For each click 1 if it is on the object, 0 if beside it. */
  readonly pointLabels?: readonly (0 | 1)[];
  /** x0, y0, x1, y1. */
  readonly box?: readonly [x0: number, y0: number, x1: number, y1: number];
  /** Logits of one earlier mask: (S/4)² values, as `lowResMasks` holds them. */
  readonly maskInput?: Float32Array | Tensor;
  /** Three masks for an ambiguous prompt (default), or the single mask for a clear one. */
  readonly multimaskOutput?: boolean;
  /** Logits instead of 0 and 1. Default false. */
  readonly returnLogits?: boolean;
  /** Image to segment in place of the one that is set. */
  readonly image?: EncodedImage;
}

/** Result of {@linkcode SamPredictor.predict}: C masks, 3 or 1. */
export interface Prediction<Mask extends Uint8Array | Float32Array = Uint8Array> {
  /** C masks of H * W values on the original image's grid, rows one after another. */
  readonly masks: Mask[];
  /** C estimates of the masks' IoU with the truth. */
  readonly iouPredictions: Float32Array;
  /** Logits [C, S/4, S/4], flat: one of them can be the next call's `maskInput`. */
  readonly lowResMasks: Float32Array;
}

/** An image's embedding, and where the image lies in the model's input. */
export class EncodedImage implements Disposable {
  /** [1, S/16, S/16, 256]; it is freed with the image. */
  readonly embedding: Tensor;
  /** Place in the model's input. */
  readonly geometry: InputGeometry;
  /** Columns of the original image. */
  readonly width: number;
  /** Rows of the original image. */
  readonly height: number;

  /** Takes over an embedding that outlives its scope. */
  constructor(
    embedding: Tensor,
    { geometry, width, height }: { geometry: InputGeometry; width: number; height: number },
  ) {
    this.embedding = embedding;
    this.geometry = geometry;
    this.width = width;
    this.height = height;
  }

  /** Frees the embedding. */
  [Symbol.dispose](): void {
    this.embedding.dispose();
  }
}

/**
 * Segments an image interactively, as segment_anything's SamPredictor: the image is encoded once, and
 * then prompted many times.
 *
 * @example
 * ```ts ignore
 * using predictor = new SamPredictor(sam, { side: 512 });
 * predictor.setImage({ data: slice, width: 240, height: 240 });
 * const { masks, iouPredictions } = await predictor.predict({ box: [80, 64, 131, 120] });
 * ```
 */
export class SamPredictor implements Disposable {
  /** The model. */
  readonly sam: Sam;
  /** Side S of the model's input, in pixels. */
  readonly side: number;
  #image: EncodedImage | null = null;

  /**
   * Wraps a model; no image is set yet.
   *
   * @param options.side Side S of the model's input, a multiple of 64; default 1024.
   * @throws {InputError} if the side is not a multiple of 64.
   */
  constructor(sam: Sam, options: { side?: number } = {}) {
    const { side = 1024 } = options;
    if (!Number.isInteger(side) || side < 64 || side % 64 !== 0) {
      throw new InputError(`a side of ${side} is not possible: give a multiple of 64`);
    }
    this.sam = sam;
    this.side = side;
  }

  /** True if an image is set. */
  get isImageSet(): boolean {
    return this.#image !== null;
  }

  /**
   * Encodes an image, in place of the one before.
   *
   * @param image Grey (1 channel) or RGB (3 channels, last axis) pixels in 0..255.
   * @throws {InputError} if the number of values does not fit the sizes.
   */
  setImage(image: Image): void {
    const encoded = this.encode(image);
    this.resetImage();
    this.#image = encoded;
  }

  /**
   * Encodes an image for `predict`'s option `image`, beside the one that is set. The caller frees it.
   *
   * @param image As for {@linkcode setImage}.
   * @throws {InputError} if the number of values does not fit the sizes.
   */
  encode(image: Image): EncodedImage {
    const { data, width, height, channels = 1 } = image;
    const whole = [width, height].every((size) => Number.isInteger(size) && size > 0);
    if (!whole || data.length !== width * height * channels) {
      throw new InputError(
        `${data.length} values are no image of ${width} x ${height} pixels with ${channels} channels`,
      );
    }
    const { side, sam } = this;
    const embedding = noGrad(sam.gpu, () =>
      tidy(sam.gpu, () => {
        const pixels = toModelInput(image, { side, rule: sam.inputRule }).data;
        return sam.imageEncoder.forward(Tensor.from(sam.gpu, pixels, [1, side, side, 3], "image"));
      }));
    return new EncodedImage(embedding.keep(), {
      geometry: inputGeometry(image, side),
      width,
      height,
    });
  }

  /**
   * The embedding of the image that is set, [1, S/16, S/16, 256]; it is freed with the image.
   *
   * @throws {Error} if no image is set.
   */
  getImageEmbedding(): Tensor {
    return this.#current().embedding;
  }

  /**
   * Predicts the logits of the prompted object.
   *
   * @throws {Error} if no image is set.
   * @throws {InputError} if there is neither a click nor a box, one lies outside the image, or sizes
   *   do not fit, or the model's logits are NaN.
   */
  predict(options: PredictOptions & { returnLogits: true }): Promise<Prediction<Float32Array>>;
  /**
   * Predicts masks of the prompted object, 0 or 1.
   *
   * @throws {Error} if no image is set.
   * @throws {InputError} as with logits.
   */
  predict(options: PredictOptions & { returnLogits?: false }): Promise<Prediction>;
  async predict(options: PredictOptions): Promise<Prediction<Uint8Array | Float32Array>> {
    const { embedding, geometry, width, height } = options.image ?? this.#current();
    const prompt = scalePrompt(readPrompt(options, { width, height }), geometry);
    const [logits, iouPredictions, lowResMasks] = await Promise.all(this.#start(() => {
      const { masks, iouPredictions } = this.sam.decode(embedding, [prompt], {
        multimaskOutput: options.multimaskOutput ?? true,
        mask: this.#readMask(options.maskInput),
      });
      const full = this.sam.postprocessMasks(masks, {
        input: [geometry.height, geometry.width],
        original: [height, width],
      });
      return [full, iouPredictions, masks];
    }));
    checkValues(logits, { name: "logits", source: "the model", limit: Infinity });
    const pixels = width * height;
    const masks = Array.from(iouPredictions, (_, i) => {
      const mask = logits.slice(i * pixels, (i + 1) * pixels);
      if (options.returnLogits) return mask;
      return Uint8Array.from(mask, (logit) => Number(logit > Sam.maskThreshold));
    });
    return { masks, iouPredictions, lowResMasks };
  }

  /** Forgets the image and frees its embedding. */
  resetImage(): void {
    this.#image?.[Symbol.dispose]();
    this.#image = null;
  }

  /** Frees the embedding; the model is left alone. */
  [Symbol.dispose](): void {
    this.resetImage();
  }

  #current(): EncodedImage {
    if (!this.#image) throw new Error("no image is set: call setImage before predict");
    return this.#image;
  }

  /**
   * Runs `compute` and asks for its results. The scope ends before anything is awaited, so that calls
   * may overlap: the copies to the host are already queued by then.
   */
  #start(compute: () => readonly Tensor[]): Promise<Float32Array>[] {
    using _ = new Scope(this.sam.gpu);
    return noGrad(this.sam.gpu, compute).map((tensor) => tensor.data());
  }

  /** [1, S/4, S/4, 1], or none. */
  #readMask(mask: Float32Array | Tensor | undefined): Tensor | null {
    if (!mask) return null;
    const side = 4 * this.side / this.sam.imageEncoder.stride;
    const size = mask instanceof Tensor ? mask.size : mask.length;
    if (size !== side * side) {
      throw new InputError(
        `a mask input of ${size} values does not fit: give the ${side} x ${side} logits of one mask`,
      );
    }
    const shape = [1, side, side, 1];
    return mask instanceof Tensor
      ? reshape(mask, shape)
      : Tensor.from(this.sam.gpu, mask, shape, "mask prompt");
  }
}

/** The prompts of `options` in one object, checked against the image. */
function readPrompt(
  options: PredictOptions,
  { width, height }: { width: number; height: number },
): Parameters<typeof scalePrompt>[0] {
  const { pointCoords = [], pointLabels = [], box } = options;
  if (pointCoords.length !== pointLabels.length) {
    throw new InputError(
      `${pointCoords.length} points came with ${pointLabels.length} labels: give each point one`,
    );
  }
  if (pointCoords.length === 0 && !box) {
    throw new InputError("a prompt needs a point or a box: give the whole image as a box");
  }
  const image = `the image of ${width} x ${height} pixels`;
  const points = pointCoords.map(([x, y], i) => {
    if (!(x >= 0 && x <= width && y >= 0 && y <= height)) {
      throw new InputError(`the point (${x}, ${y}) lies outside ${image}`);
    }
    const label = pointLabels[i];
    if (label !== 0 && label !== 1) {
      throw new InputError(`${label} is no label of a point: give 1 on the object or 0 beside it`);
    }
    return { x, y, label };
  });
  if (!box) return { points };
  const [x0, y0, x1, y1] = box;
  if (!(x0 < x1 && y0 < y1)) {
    throw new InputError(`the box [${box.join(", ")}] is empty: give x0 < x1 and y0 < y1`);
  }
  if (!(x0 < width && y0 < height && x1 > 0 && y1 > 0)) {
    throw new InputError(`the box [${box.join(", ")}] lies outside ${image}`);
  }
  return { ...(points.length > 0 ? { points } : {}), box: [x0, y0, x1, y1] };
}
