/**
 * Slices whose half with the tumour is replaced by the other half, mirrored: the same scanner, the same
 * patient, no tumour.
 *
 * @module
 */
import type { SliceReader } from "../loader.ts";
import type { Picture } from "../thumbnails.ts";
import type { Slice, SliceRef } from "../slices.ts";
import { type MadeSlices, madeSlices } from "./made_slices.ts";

/** Correlation of both halves below which a slice has no two sides, as a sagittal one. */
const SYMMETRIC = 0.75;

/** Columns on either side of the middle, as a share of the width, between which the axis is sought. */
const SEARCH = 0.15;

/** Axis of symmetry of a slice. */
export interface Axis {
  /** Sum of the columns of two mirrored pixels: column x lies opposite column `sum` - x. */
  readonly sum: number;
  /** Correlation of the two halves. */
  readonly correlation: number;
}

/** Pearson's correlation of the pixels left of an axis with those opposite. */
function correlationAbout({ image, width, height }: Picture, sum: number): number {
  let [n, a, b, aa, bb, ab] = [0, 0, 0, 0, 0, 0];
  const first = Math.max(0, sum - width + 1);
  for (let y = 0; y < height; y++) {
    for (let x = first; 2 * x < sum; x++) {
      const [left, right] = [image[y * width + x], image[y * width + sum - x]];
      n++;
      a += left;
      b += right;
      aa += left * left;
      bb += right * right;
      ab += left * right;
    }
  }
  const spread = (aa - a * a / n) * (bb - b * b / n);
  return spread > 0 ? (ab - a * b / n) / Math.sqrt(spread) : 0;
}

/** The upright axis about which a picture is most symmetric. */
export function symmetryAxis(picture: Picture): Axis {
  const { width } = picture;
  const reach = Math.floor(2 * SEARCH * width);
  let best: Axis = { sum: width - 1, correlation: -1 };
  for (let sum = width - 1 - reach; sum <= width - 1 + reach; sum++) {
    const correlation = correlationAbout(picture, sum);
    if (correlation > best.correlation) best = { sum, correlation };
  }
  return best;
}

/**
 * A slice with the tumour's half replaced by the mirrored other one; null where there are no two sides alike,
 * or tumour on both.
 */
export function mirrorHealthyHalf({ image, mask, ref }: Slice): Slice | null {
  const { width, height } = ref;
  const { sum, correlation } = symmetryAxis({ image, width, height });
  if (correlation < SYMMETRIC) return null;
  const sides = new Set<boolean>();
  mask.forEach((pixel, i) => {
    if (pixel !== 0) sides.add(2 * (i % width) < sum);
  });
  if (sides.size !== 1) return null;
  const [isLeft] = sides;
  const mirrored = image.map((value, i) => {
    const x = i % width;
    if ((2 * x < sum) !== isLeft) return value;
    const opposite = sum - x;
    return opposite >= 0 && opposite < width ? image[i - x + opposite] : 0;
  });
  return {
    image: mirrored,
    mask: new Uint8Array(mask.length),
    ref: { ...ref, id: `${ref.id}:mirrored`, caseId: `${ref.caseId}:mirrored`, tumourVoxels: 0 },
  };
}

/** Mirrors the slices that have two sides. */
export function mirroredHalves(
  reader: SliceReader,
  refs: readonly SliceRef[],
): Promise<MadeSlices> {
  return madeSlices(refs.map((ref) => async () => mirrorHealthyHalf(await reader.read(ref))));
}
