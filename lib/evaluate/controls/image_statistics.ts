/**
 * A classifier that sees a slice's histogram and size and no place of anything: how well tumour and none can
 * be told apart by the scanner alone. A model's presence score means something as far as it does better.
 *
 * @module
 */
import type { SliceReader } from "../../data/loader.ts";
import type { Slice, SliceRef } from "../../data/slices.ts";

/** Bins of the histogram, of grey values 0 to 255. */
const BINS = 16;

/** Weight of the squared coefficients, of standardised features. */
const RIDGE = 1e-2;

/** Steps of gradient descent, and their size: the loss of such features is smooth. */
const STEPS = 3000;
const RATE = 0.5;

/** Shares of the pixels in each bin of grey values, then columns and rows. */
export function imageStatistics({ image, ref: { width, height } }: Slice): number[] {
  const bins = new Array(BINS).fill(0);
  for (const value of image) {
    bins[Math.min(BINS - 1, Math.max(0, Math.floor(value * BINS / 256)))] += 1 / image.length;
  }
  return [...bins, width, height];
}

/** Logistic regression that was fitted; a higher score says tumour. */
export type Classifier = (features: readonly number[]) => number;

/**
 * Fits a logistic regression with a ridge to standardised features by gradient descent; both classes weigh the
 * same.
 *
 * @param samples Features and class; both classes must be there.
 */
export function fitClassifier(
  samples: readonly { readonly features: readonly number[]; readonly tumour: boolean }[],
): Classifier {
  const size = samples[0].features.length;
  const columns = Array.from(
    { length: size },
    (_, k) => samples.map(({ features }) => features[k]),
  );
  const means = columns.map((values) => values.reduce((a, b) => a + b, 0) / values.length);
  const deviations = columns.map((values, k) =>
    Math.sqrt(values.reduce((sum, x) => sum + (x - means[k]) ** 2, 0) / values.length) || 1
  );
  const standardised = (features: readonly number[]) =>
    features.map((x, k) => (x - means[k]) / deviations[k]);
  const rows = samples.map(({ features, tumour }) => ({
    x: standardised(features),
    y: Number(tumour),
    weight: 0.5 / samples.filter((other) => other.tumour === tumour).length,
  }));
  const weights = new Array(size).fill(0);
  let bias = 0;
  const score = (x: readonly number[]) =>
    x.reduce((sum, value, k) => sum + value * weights[k], bias);
  for (let step = 0; step < STEPS; step++) {
    const gradient = weights.map((weight) => RIDGE * weight);
    let shift = 0;
    for (const { x, y, weight } of rows) {
      const error = weight * (1 / (1 + Math.exp(-score(x))) - y);
      shift += error;
      x.forEach((value, k) => gradient[k] += error * value);
    }
    gradient.forEach((value, k) => weights[k] -= RATE * value);
    bias -= RATE * shift;
  }
  return (features) => score(standardised(features));
}

/** Statistics of slices, with the class that each is of. */
export async function readStatistics(
  reader: SliceReader,
  refs: readonly SliceRef[],
): Promise<{ features: number[]; tumour: boolean }[]> {
  const found: { features: number[]; tumour: boolean }[] = [];
  for (const ref of refs) {
    const features = imageStatistics(await reader.read(ref));
    found.push({ features, tumour: ref.tumourVoxels > 0 });
  }
  return found;
}
