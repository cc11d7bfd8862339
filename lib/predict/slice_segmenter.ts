import { rescaledWindow, type RescaleMethod } from "../data/preprocess.ts";
import { type PresenceScores, presenceScores } from "../evaluate/presence.ts";
import type { Prompt } from "../data/prompts.ts";
import type { EncodedImage, SamPredictor } from "../sam/predictor.ts";
import type { SliceGrid } from "./prompts.ts";

/** A mask of a slice's window, and how sure the model is of it. */
export interface SliceMask {
  /** A byte a pixel, rows one after another: 1 in the object. */
  readonly mask: Uint8Array;
  /** Pixels of the mask. */
  readonly area: number;
  /** Presence scores of the mask; all 0 where the slice was not shown to the model. */
  readonly scores: PresenceScores;
  /** Low-resolution logits, to prompt with. */
  readonly logits: Float32Array;
}

/** Scores of a slice that shows nothing. */
const NO_PRESENCE: PresenceScores = { meanLogit: 0, maxLogit: 0, stability: 0, iou: 0 };

/** Bytes of embeddings that are kept on the device at most where several objects ask for the same slices. */
export const KEPT_BYTES: number = 2 ** 28;

/**
 * Segments the slices of one volume. A slice is encoded once for all its prompts, as long as the
 * embeddings of the slices between fit into what is kept.
 */
export class SliceSegmenter implements Disposable {
  /** Slices encoded so far, repeated ones with them. */
  encoded = 0;
  readonly #predictor: SamPredictor;
  readonly #voxels: Float32Array;
  readonly #grid: SliceGrid;
  readonly #method: RescaleMethod;
  readonly #keptBytes: number;
  /** Embeddings by the index of their slice, that used last at the end. */
  readonly #kept = new Map<number, EncodedImage>();

  /**
   * Prepares a volume; nothing is encoded yet.
   *
   * @param predictor The model.
   * @param options.voxels Those of the volume, x fastest.
   * @param options.grid Its slices.
   * @param options.method Rule that maps intensities to 0..255.
   * @param options.keptBytes Bytes of embeddings that are kept; that used last always is. Default 256 MiB.
   */
  constructor(
    predictor: SamPredictor,
    { voxels, grid, method, keptBytes = KEPT_BYTES }: {
      voxels: Float32Array;
      grid: SliceGrid;
      method: RescaleMethod;
      keptBytes?: number;
    },
  ) {
    this.#keptBytes = keptBytes;
    this.#predictor = predictor;
    this.#voxels = voxels;
    this.#grid = grid;
    this.#method = method;
  }

  /** A slice as the model is shown it: the window's pixels, 0..255. */
  pixels(index: number): Float32Array {
    const { plane, window } = this.#grid;
    const place = { ...window, index };
    return rescaledWindow(this.#voxels, { plane, window: place, method: this.#method });
  }

  /**
   * The mask of a prompt in a slice; empty where the slice has one value only.
   *
   * @param maskInput Low-resolution logits of another mask, as a further prompt.
   * @throws {InputError} if the model's logits are NaN.
   */
  async segment(
    index: number,
    { points, box }: Prompt,
    maskInput?: Float32Array,
  ): Promise<SliceMask> {
    const image = this.#encode(index);
    const { window: { width, height } } = this.#grid;
    if (!image) {
      const mask = new Uint8Array(width * height);
      return { mask, area: 0, scores: NO_PRESENCE, logits: new Float32Array(0) };
    }
    const { masks: [values], iouPredictions: [iou], lowResMasks: logits } = await this.#predictor
      .predict({
        image,
        box,
        pointCoords: points?.map(({ x, y }) => [x, y]),
        pointLabels: points?.map(({ label }) => label),
        maskInput,
        multimaskOutput: false,
        returnLogits: true,
      });
    const mask = new Uint8Array(values.length);
    let area = 0;
    for (let i = 0; i < values.length; i++) {
      if (!(values[i] > 0)) continue;
      mask[i] = 1;
      area++;
    }
    return { mask, area, scores: presenceScores({ logits: values, iou }), logits };
  }

  /** The embedding of a slice; null if it has no contrast. */
  #encode(index: number): EncodedImage | null {
    const found = this.#kept.get(index);
    if (found) {
      this.#kept.delete(index);
      this.#kept.set(index, found);
      return found;
    }
    const { window: { width, height } } = this.#grid;
    const data = this.pixels(index);
    if (data.every((value) => value === data[0])) return null;
    const image = this.#predictor.encode({ data, width, height });
    this.encoded++;
    const most = Math.max(1, Math.floor(this.#keptBytes / (4 * image.embedding.size)));
    for (const [oldest, embedding] of this.#kept) {
      if (this.#kept.size < most) break;
      embedding[Symbol.dispose]();
      this.#kept.delete(oldest);
    }
    this.#kept.set(index, image);
    return image;
  }

  /** Frees the embeddings; the model is left alone. */
  [Symbol.dispose](): void {
    for (const image of this.#kept.values()) image[Symbol.dispose]();
    this.#kept.clear();
  }
}
