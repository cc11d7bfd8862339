import type { RescaleMethod } from "../data/preprocess.ts";
import { isPresent, type PresenceRule } from "../evaluate/presence.ts";
import type { Volume } from "../formats/volume.ts";
import type { SamPredictor } from "../sam/predictor.ts";
import type { ObjectPrompt, SliceGrid } from "./prompts.ts";
import { segmentObject, type SpreadRule } from "./segment_object.ts";
import { KEPT_BYTES, SliceSegmenter } from "./slice_segmenter.ts";

/** A scan to segment, and the way to do it. */
export interface ScanTask {
  /** The scan. */
  readonly volume: Volume;
  /** Its slices. */
  readonly grid: SliceGrid;
  /** Rule that maps their intensities to 0..255. */
  readonly method: RescaleMethod;
  /** The objects that are looked for. */
  readonly objects: readonly ObjectPrompt[];
  /** Rule by which objects spread. */
  readonly rule: SpreadRule;
  /** Rule by which a mask counts, where there is no prompt; null for any. */
  readonly presence: PresenceRule | null;
  /** True if all objects have the label 1, and not 1, 2, 3, …. */
  readonly merge: boolean;
  /** Called after each slice of an object, with the slices encoded so far. */
  readonly onSlice?: (encoded: number) => void;
}

/** The masks of a scan's objects in one volume. */
export interface ScanMask {
  /** The label of each voxel, 0 for none, x fastest; where objects overlap, that of the first. */
  readonly labels: Float32Array;
  /** Highest presence score of a slice, before the rule; null if every mask was empty. */
  readonly presence: number | null;
  /** Index of the slice with the largest mask; the middle one if all are empty. */
  readonly largest: number;
  /** Slices that were segmented. */
  readonly slices: readonly number[];
  /** Slices that were encoded, repeated ones with them. */
  readonly encoded: number;
}

/**
 * Segments the objects of a scan.
 *
 * @throws {InputError} if the model's logits are NaN.
 */
export async function segmentScan(predictor: SamPredictor, task: ScanTask): Promise<ScanMask> {
  const { volume, grid, method, objects, rule, merge, onSlice } = task;
  const score = task.presence?.score ?? "meanLogit";
  const { window } = grid;
  using segmenter = new SliceSegmenter(predictor, {
    voxels: volume.data,
    grid,
    method,
    // A single object comes to each slice once.
    keptBytes: objects.length > 1 ? KEPT_BYTES : 0,
  });
  const labels = new Float32Array(volume.data.length);
  const areas = new Map<number, number>();
  let presence: number | null = null;
  for (const [i, object] of objects.entries()) {
    const label = merge ? 1 : i + 1;
    const masks = await segmentObject(segmenter, object, {
      rule,
      window,
      onSlice: () => onSlice?.(segmenter.encoded),
    });
    for (const [index, mask] of masks) {
      if (mask.area > 0) presence = Math.max(presence ?? -Infinity, mask.scores[score]);
      const isKept = isPresent(mask.scores, task.presence);
      areas.set(index, (areas.get(index) ?? 0) + (isKept ? mask.area : 0));
      if (isKept) addMask(labels, mask.mask, { grid, index, label });
    }
  }
  const slices = [...areas.keys()].sort((a, b) => a - b);
  const middle = grid.count >> 1;
  const largest = slices.reduce(
    (best, index) => areas.get(index)! > (areas.get(best) ?? 0) ? index : best,
    middle,
  );
  return { labels, presence, largest, slices, encoded: segmenter.encoded };
}

/** Writes the label of a mask into the voxels of its slice that have none. */
function addMask(
  labels: Float32Array,
  mask: Uint8Array,
  { grid: { plane, window }, index, label }: { grid: SliceGrid; index: number; label: number },
): void {
  const { x, y, width, height } = window;
  for (let row = 0; row < height; row++) {
    let at = index * plane.sliceStride + (y + row) * plane.rowStride + x * plane.columnStride;
    for (let column = 0; column < width; column++, at += plane.columnStride) {
      if (mask[row * width + column] && labels[at] === 0) labels[at] = label;
    }
  }
}
