import { mean, standardDeviation } from "../stats/summary.ts";

/** Mean, sample standard deviation and count of a set of scores. */
export interface Score {
  /** Arithmetic mean. */
  mean: number;
  /** Sample standard deviation. */
  sd: number;
  /** How many scores (slices, unless said otherwise). */
  n: number;
  /** 95 % interval of the mean, patients resampled; absent or null where none was found. */
  interval?: readonly [low: number, high: number] | null;
}

/** Set pixels of each mask and of both; the masks must be on one grid. */
function overlap(prediction: Uint8Array, truth: Uint8Array): { sum: number; both: number } {
  if (prediction.length !== truth.length) {
    throw new RangeError(
      `masks of ${prediction.length} and ${truth.length} pixels cannot be compared: resize the ` +
        `prediction to the truth's grid first`,
    );
  }
  let sum = 0;
  let both = 0;
  for (let i = 0; i < truth.length; i++) {
    const p = prediction[i] !== 0;
    const t = truth[i] !== 0;
    sum += Number(p) + Number(t);
    both += Number(p && t);
  }
  return { sum, both };
}

/**
 * Dice coefficient 2 |P ∩ T| / (|P| + |T|) of two binary masks (any value but 0 is tumour).
 *
 * As the BraTS challenges score it: both masks empty is 1 (the absence was found), one empty is 0.
 *
 * @param prediction One byte a pixel.
 * @param truth The same grid.
 * @throws {RangeError} if the masks differ in length.
 */
export function dice(prediction: Uint8Array, truth: Uint8Array): number {
  const { sum, both } = overlap(prediction, truth);
  return sum === 0 ? 1 : (2 * both) / sum;
}

/**
 * Intersection over union (Jaccard index) |P ∩ T| / |P ∪ T| of two binary masks, with the same
 * convention for empty masks as {@link dice}.
 *
 * @param prediction One byte a pixel.
 * @param truth The same grid.
 * @throws {RangeError} if the masks differ in length.
 */
export function iou(prediction: Uint8Array, truth: Uint8Array): number {
  const { sum, both } = overlap(prediction, truth);
  return sum === 0 ? 1 : both / (sum - both);
}

/** Mean, sample standard deviation and count of `values`, as the tables take them. */
export function summarize(values: readonly number[]): Score {
  return { mean: mean(values), sd: standardDeviation(values), n: values.length };
}
