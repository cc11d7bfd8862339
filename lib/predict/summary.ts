import { type Axis, planeOf } from "../data/plane.ts";
import type { Volume } from "../formats/volume.ts";
import { components } from "../metrics/components.ts";

/** Sizes of a segmented volume. */
export interface MaskSummary {
  /** Voxels of the mask. */
  readonly voxels: number;
  /** Volume of the mask. */
  readonly millilitres: number;
  /** 26-connected components of the mask. */
  readonly lesions: number;
  /** Longest distance in mm across a lesion in a slice, as RECIST and RANO measure; 0 without one. */
  readonly largestDiameter: number;
  /** Slices with a voxel of the mask. */
  readonly slices: number;
}

/**
 * Measures a mask.
 *
 * @param mask A byte a voxel, x fastest; any value but 0 is set.
 * @param axis The axis of its slices.
 */
export function summarise(
  mask: Uint8Array,
  { shape, spacing }: Pick<Volume, "shape" | "spacing">,
  axis: Axis,
): MaskSummary {
  const { labels, count } = components(mask, shape);
  const plane = planeOf({ shape, spacing }, axis);
  let [voxels, slices, largestDiameter] = [0, 0, 0];
  for (let index = 0; index < shape[axis]; index++) {
    const corners = new Map<number, number[]>(); // of each lesion, [x, y, x, y, …] in mm
    for (let y = 0; y < plane.height; y++) {
      const ends = new Map<number, [first: number, last: number]>();
      let at = index * plane.sliceStride + y * plane.rowStride;
      for (let x = 0; x < plane.width; x++, at += plane.columnStride) {
        if (labels[at] === 0) continue;
        voxels++;
        const own = ends.get(labels[at]);
        if (own) own[1] = x;
        else ends.set(labels[at], [x, x]);
      }
      for (const [label, [first, last]] of ends) {
        const [left, right] = [first, last + 1].map((x) => x * plane.spacing[0]);
        const [top, bottom] = [y, y + 1].map((row) => row * plane.spacing[1]);
        const list = corners.get(label) ?? [];
        list.push(left, top, right, top, left, bottom, right, bottom);
        corners.set(label, list);
      }
    }
    if (corners.size > 0) slices++;
    for (const points of corners.values()) {
      largestDiameter = Math.max(largestDiameter, diameter(points));
    }
  }
  const millilitres = voxels * spacing[0] * spacing[1] * spacing[2] / 1000;
  return { voxels, millilitres, lesions: count, largestDiameter, slices };
}

/** The longest distance between two of the points [x, y, x, y, …]. */
function diameter(points: readonly number[]): number {
  let longest = 0;
  for (let i = 0; i < points.length; i += 2) {
    for (let j = i + 2; j < points.length; j += 2) {
      const [dx, dy] = [points[i] - points[j], points[i + 1] - points[j + 1]];
      longest = Math.max(longest, dx * dx + dy * dy);
    }
  }
  return Math.sqrt(longest);
}
