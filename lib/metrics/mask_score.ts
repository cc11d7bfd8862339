import { MaskPair } from "./mask_pair.ts";
import { type Level, type MaskMetric, measure, METRICS, metricsAt } from "./metrics.ts";
import type { MaskGrid } from "./surface_distance.ts";

/**
 * The metrics of one predicted mask, those of its level; null where a metric has no value. Sizes are
 * mm² for a slice and mm³ for a volume.
 */
export type MaskScore = Readonly<Partial<Record<MaskMetric, number | null>>> & {
  /** Dice coefficient, which every level has. */
  readonly dice: number;
  /** Size of the true tumour. */
  readonly truth: number;
  /** Size of the prediction. */
  readonly predicted: number;
};

/**
 * Scores a mask by every metric of a level.
 *
 * @param prediction One byte an element, 0 or not.
 * @param truth The same grid.
 * @param grid Its sizes; a slice has one element of size 1 along the last axis, so that sizes are mm².
 * `part` says that the masks are only some slices of their volume: metrics that mean nothing there
 * (`ofPart` of {@link METRICS}) are null.
 * @throws {RangeError} if the masks differ in length.
 */
export function scoreMask(
  prediction: Uint8Array,
  truth: Uint8Array,
  { level, part = false, ...grid }: MaskGrid & { readonly level: Level; readonly part?: boolean },
): MaskScore {
  const pair = new MaskPair(prediction, truth, grid);
  const scores = Object.fromEntries(
    metricsAt(level).map((name) => [
      name,
      part && !METRICS[name].ofPart ? null : measure(name, pair),
    ]),
  );
  return {
    ...scores as { dice: number },
    truth: pair.counts.truth * pair.element,
    predicted: pair.counts.predicted * pair.element,
  };
}
