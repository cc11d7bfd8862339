import { type MaskGrid, type SurfaceDistances, surfaceDistances } from "./surface_distance.ts";

/** Numbers of set elements (pixels of a slice, voxels of a volume) of two masks. */
export interface MaskCounts {
  /** |P|, elements of the prediction. */
  readonly predicted: number;
  /** |T|, elements of the truth. */
  readonly truth: number;
  /** |P ∩ T|, elements of both. */
  readonly both: number;
}

/**
 * A prediction and its truth on one grid: the argument of every metric, with what several of them
 * need computed once. Any value but 0 is tumour.
 */
export class MaskPair {
  /** One byte an element, x fastest. */
  readonly prediction: Uint8Array;
  /** The same grid. */
  readonly truth: Uint8Array;
  /** Elements along each axis and their size in mm. */
  readonly grid: MaskGrid;
  /** Numbers of set elements. */
  readonly counts: MaskCounts;
  #surfaces: SurfaceDistances | null = null;

  /**
   * Counts the set elements of both masks.
   *
   * @throws {RangeError} if the masks differ in length.
   */
  constructor(prediction: Uint8Array, truth: Uint8Array, grid: MaskGrid) {
    if (prediction.length !== truth.length) {
      throw new RangeError(
        `masks of ${prediction.length} and ${truth.length} pixels cannot be compared: resize the ` +
          `prediction to the truth's grid first`,
      );
    }
    let [predicted, set, both] = [0, 0, 0];
    for (let i = 0; i < truth.length; i++) {
      const p = prediction[i] !== 0;
      const t = truth[i] !== 0;
      predicted += Number(p);
      set += Number(t);
      both += Number(p && t);
    }
    this.prediction = prediction;
    this.truth = truth;
    this.grid = grid;
    this.counts = { predicted, truth: set, both };
  }

  /** Size of one element: mm³, or mm² on a slice, whose elements are 1 mm deep. */
  get element(): number {
    const [dx, dy, dz] = this.grid.spacing;
    return dx * dy * dz;
  }

  /** Distances between the two masks' surfaces, found at the first use. */
  get surfaces(): SurfaceDistances {
    return this.#surfaces ??= surfaceDistances(this.prediction, this.truth, this.grid);
  }
}
