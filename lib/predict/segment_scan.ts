import { paste } from "../data/plane.ts";
import type { RescaleMethod } from "../data/preprocess.ts";
import { isPresent, type PresenceRule } from "../evaluate/presence.ts";
import type { Volume } from "../formats/volume.ts";
import type { SamPredictor } from "../sam/predictor.ts";
import type { ObjectPrompt, SliceGrid } from "./prompts.ts";
import { segmentObject, type SpreadRule } from "./segment_object.ts";
import { KEPT_BYTES, type SliceMask, SliceSegmenter } from "./slice_segmenter.ts";

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

/** The masks of an object. */
export interface FoundObject {
  /** By the index of their slice. */
  readonly masks: ReadonlyMap<number, SliceMask>;
  /** Rule by which they count; null for any. */
  readonly presence: PresenceRule | null;
}

/** The masks of a scan's objects in one volume. */
export interface CombinedMask {
  /** The label of each voxel, 0 for none, x fastest; where objects overlap, that of the first. */
  readonly labels: Float32Array;
  /** Highest presence score of a slice, before the rule; null if every mask was empty. */
  readonly presence: number | null;
  /** Index of the slice with the largest mask; the middle one if all are empty. */
  readonly largest: number;
  /** Slices that were segmented. */
  readonly slices: readonly number[];
}

/** Result of {@linkcode segmentScan}. */
export interface ScanMask extends CombinedMask {
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
  const { window } = grid;
  using segmenter = new SliceSegmenter(predictor, {
    voxels: volume.data,
    grid,
    method,
    // A single object comes to each slice once.
    keptBytes: objects.length > 1 ? KEPT_BYTES : 0,
  });
  const found: FoundObject[] = [];
  for (const object of objects) {
    const masks = await segmentObject(segmenter, object, {
      rule,
      window,
      onSlice: () => onSlice?.(segmenter.encoded),
    });
    found.push({ masks, presence: task.presence });
  }
  const combined = combineObjects(found, { voxels: volume.data.length, grid, merge });
  return { ...combined, encoded: segmenter.encoded };
}

/**
 * Puts the masks of objects into one volume.
 *
 * @param objects The objects, the first of which has the label 1.
 * @param options.voxels Those of the volume.
 * @param options.merge True if all objects have the label 1.
 */
export function combineObjects(
  objects: readonly FoundObject[],
  { voxels, grid, merge }: { voxels: number; grid: SliceGrid; merge: boolean },
): CombinedMask {
  const labels = new Float32Array(voxels);
  const areas = new Map<number, number>();
  let presence: number | null = null;
  for (const { masks, presence: rule } of objects) {
    for (const [index, { area, scores }] of masks) {
      if (area > 0) presence = Math.max(presence ?? -Infinity, scores[rule?.score ?? "meanLogit"]);
      areas.set(index, (areas.get(index) ?? 0) + (isPresent(scores, rule) ? area : 0));
    }
  }
  const slices = [...areas.keys()].sort((a, b) => a - b);
  for (const index of slices) {
    paste(sliceLabels(objects, { grid, index, merge }), labels, {
      plane: grid.plane,
      window: { ...grid.window, index },
    });
  }
  const middle = grid.count >> 1;
  const largest = slices.reduce(
    (best, index) => areas.get(index)! > (areas.get(best) ?? 0) ? index : best,
    middle,
  );
  return { labels, presence, largest, slices };
}

/** The labels of a slice's window, 0 for none, rows one after another; where objects overlap, that of the first. */
export function sliceLabels(
  objects: readonly FoundObject[],
  { grid: { window: { width, height } }, index, merge }: {
    grid: SliceGrid;
    index: number;
    merge: boolean;
  },
): Float32Array {
  const labels = new Float32Array(width * height);
  for (const [i, { masks, presence }] of objects.entries()) {
    const found = masks.get(index);
    if (!found || !isPresent(found.scores, presence)) continue;
    for (let at = 0; at < labels.length; at++) {
      if (found.mask[at] && labels[at] === 0) labels[at] = merge ? 1 : i + 1;
    }
  }
  return labels;
}
