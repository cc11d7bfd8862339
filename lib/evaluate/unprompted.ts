import type { MaskScore } from "../metrics/mask_score.ts";
import { emptied, type MaskMetric, METRICS, UNPROMPTED_METRICS } from "../metrics/metrics.ts";
import { summarizeByPatient } from "../stats/bootstrap.ts";
import { mean, type Score } from "../stats/summary.ts";
import { isPresent, type PresenceRule, type PresenceScores } from "./presence.ts";
import { AUTOMATIC_PROMPTS, type ScoredPrompt } from "./scored_prompts.ts";

/** Scores of a slice, with tumour or without. */
export interface UnpromptedSlice {
  /** Id of the slice. */
  readonly id: string;
  /** Patient that it is of. */
  readonly patient: string;
  /** True tumour pixels. */
  readonly tumourPixels: number;
  /** Scores by prompt. */
  readonly scores: Readonly<Partial<Record<ScoredPrompt, Omit<MaskScore, "predicted">>>>;
  /** Presence scores of the mask without a prompt. */
  readonly presence?: PresenceScores;
}

/** Dice of the slices with tumour, and the metrics of masks without a prompt. */
const NAMES: readonly MaskMetric[] = ["dice", ...UNPROMPTED_METRICS];

/** Value of a metric of a slice whose mask is emptied where it does not count; null where it has none. */
function valueOf(
  name: MaskMetric,
  { tumourPixels, scores, presence }: UnpromptedSlice,
  rule: PresenceRule | null,
): number | null {
  const truth = tumourPixels > 0;
  if (name === "dice" && !truth) return null; // it would be 1 or 0, and no overlap
  const own = scores[AUTOMATIC_PROMPTS[0]]?.[name] ?? null;
  return own === null || isPresent(presence ?? {}, rule) ? own : emptied(name, { truth });
}

/**
 * Summarises masks without a prompt over patients: Dice of the slices with tumour, sensitivity, tumour-free
 * slices painted and the area painted there. A slice of several parts, as of training seeds, counts once,
 * by the mean over them.
 *
 * @param parts Slices with the rule by which their masks count; null where all do.
 * @returns the metrics that any slice has.
 */
export function summarizeUnprompted(
  parts: readonly { slices: readonly UnpromptedSlice[]; rule: PresenceRule | null }[],
): Partial<Record<MaskMetric, Score>> {
  const found: Partial<Record<MaskMetric, Score>> = {};
  for (const name of NAMES) {
    const values = parts.flatMap(({ slices, rule }) =>
      slices.flatMap((slice) => {
        const value = valueOf(name, slice, rule);
        return value === null ? [] : [{ id: slice.id, group: slice.patient, value }];
      })
    );
    if (values.length === 0) continue;
    const observations = [...Map.groupBy(values, ({ id }) => id).values()].map((own) => ({
      group: own[0].group,
      value: mean(own.map(({ value }) => value)),
    }));
    found[name] = summarizeByPatient(observations, { bounds: METRICS[name].range });
  }
  return found;
}
