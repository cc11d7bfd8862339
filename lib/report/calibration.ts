/**
 * Calibration of what a model says of its masks without a prompt: of its estimated IoU, and of its presence
 * scores.
 *
 * @module
 */
import type { PresenceName } from "../evaluate/presence.ts";
import { AUTOMATIC_PROMPTS } from "../evaluate/scored_prompts.ts";
import { mean } from "../stats/summary.ts";
import type { SliceRecord } from "../study/records.ts";

/** Slices whose score lies in one interval. */
export interface CalibrationBin {
  /** Lowest and highest score. */
  readonly from: number;
  readonly to: number;
  readonly slices: number;
  /** Mean score. */
  readonly said: number;
  /** Mean of what it stands for. */
  readonly found: number;
}

const BINS = 5;

/** As many slices in each bin, as nearly as can be, in the order of their scores. */
function binned(pairs: readonly { said: number; found: number }[]): CalibrationBin[] {
  const sorted = pairs.toSorted((a, b) => a.said - b.said);
  const count = Math.min(BINS, sorted.length);
  return Array.from({ length: count }, (_, i) => {
    const edge = (k: number) => Math.round(k * sorted.length / count);
    const own = sorted.slice(edge(i), edge(i + 1));
    return {
      from: own[0].said,
      to: own.at(-1)!.said,
      slices: own.length,
      said: mean(own.map(({ said }) => said)),
      found: mean(own.map(({ found }) => found)),
    };
  });
}

/** Estimated IoU of masks without a prompt against their IoU, 0 where there is no tumour. */
export function iouCalibration(slices: readonly SliceRecord[]): CalibrationBin[] {
  return binned(slices.flatMap(({ tumourPixels, scores, presence }) => {
    const iou = scores[AUTOMATIC_PROMPTS[0]]?.iou;
    if (!presence || iou === undefined || iou === null) return [];
    return [{ said: presence.iou, found: tumourPixels > 0 ? iou : 0 }];
  }));
}

/** Mean distance of what is said from what is found, each bin by its slices (expected calibration error). */
export function calibrationError(bins: readonly CalibrationBin[]): number {
  const slices = bins.reduce((sum, bin) => sum + bin.slices, 0);
  return bins.reduce((sum, bin) => sum + bin.slices * Math.abs(bin.said - bin.found), 0) / slices;
}

/** Share of slices with tumour by a presence score. */
export function presenceCalibration(
  slices: readonly SliceRecord[],
  score: PresenceName,
): CalibrationBin[] {
  return binned(
    slices.flatMap(({ tumourPixels, presence }) =>
      presence ? [{ said: presence[score], found: Number(tumourPixels > 0) }] : []
    ),
  );
}
