import { summarizeByPatient } from "../stats/bootstrap.ts";
import { SIZE_STRATA, type SizeStratum, stratumOf, tertiles } from "../stats/strata.ts";
import type { Observation, Score } from "../stats/summary.ts";
import type { MaskScore } from "../metrics/mask_score.ts";
import { type MaskMetric, METRICS, metricsAt } from "../metrics/metrics.ts";
import { PROTOCOL, type ScoredPrompt } from "./scored_prompts.ts";

/**
 * Each metric over patients, of whom each has the mean over their slices or cases; one that none has (an
 * error without tumour) is left out.
 */
export type MetricSummary = Readonly<Partial<Record<MaskMetric, Score>>>;

/** Scores of a model under one prompt. */
export interface PromptSummary {
  /** Metrics of slices; sizes in mm². */
  readonly slices: MetricSummary;
  /** Metrics of cases, each scored as a volume; sizes in mm³. */
  readonly cases: MetricSummary;
  /** Dice of the slices in each third by tumour area, those without tumour left out. */
  readonly strata: Readonly<Partial<Record<SizeStratum, Score>>>;
}

/** Scores of a model under the protocol, as means over patients with intervals. */
export interface ProtocolSummary {
  /** Scores by prompt. */
  readonly prompts: Readonly<Partial<Record<ScoredPrompt, PromptSummary>>>;
  /** Dice after each of the clicks. */
  readonly clicks: readonly Score[];
  /** Tumour areas in mm² that part the strata; null if no slice has tumour. */
  readonly strataEdges: readonly [low: number, high: number] | null;
}

/** Scores of a slice or case of a patient. */
export interface PatientScores {
  /** Patient that it is of. */
  readonly patient: string;
  /** Scores by prompt. */
  readonly scores: Readonly<Partial<Record<ScoredPrompt, Omit<MaskScore, "predicted">>>>;
  /** Dice after each click, of a slice. */
  readonly clicks?: readonly number[];
}

/** Values of one metric of all slices or cases that have it under a prompt. */
export function observe(
  scored: readonly PatientScores[],
  { prompt, metric }: { prompt: ScoredPrompt; metric: MaskMetric },
): Observation[] {
  return scored.flatMap(({ patient, scores }) => {
    const value = scores[prompt]?.[metric] ?? null;
    return value === null ? [] : [{ group: patient, value }];
  });
}

/** Summaries by name of what has any observations of a metric. */
function summarizeEach<Name extends string>(
  names: readonly Name[],
  of: (name: Name) => { metric: MaskMetric; observations: readonly Observation[] },
): Partial<Record<Name, Score>> {
  const found: Partial<Record<Name, Score>> = {};
  for (const name of names) {
    const { metric, observations } = of(name);
    if (observations.length === 0) continue;
    found[name] = summarizeByPatient(observations, { bounds: METRICS[metric].range });
  }
  return found;
}

/**
 * Summarises the result of `runProtocol`: means over patients with intervals, strata by tumour area. A
 * patient's Dice in a stratum is the mean over their slices in it.
 */
export function summarizeProtocol(
  { slices, cases }: Readonly<Record<"slices" | "cases", readonly PatientScores[]>>,
): ProtocolSummary {
  // The truth's area is the same under every prompt that scored a slice.
  const area = (slice: PatientScores) => Object.values(slice.scores)[0]?.truth ?? 0;
  const withTumour = slices.filter((slice) => area(slice) > 0);
  const strataEdges = withTumour.length === 0 ? null : tertiles(withTumour.map(area));
  const inStratum = (stratum: SizeStratum) =>
    withTumour.filter((slice) => stratumOf(area(slice), strataEdges!) === stratum);
  const all = [...slices, ...cases];
  const scored = PROTOCOL.filter((prompt) => all.some(({ scores }) => scores[prompt]));
  const clicked = slices.filter(({ clicks }) => clicks !== undefined);
  return {
    prompts: Object.fromEntries(scored.map((prompt) => {
      const each = (scores: readonly PatientScores[], metric: MaskMetric) => ({
        metric,
        observations: observe(scores, { prompt, metric }),
      });
      return [prompt, {
        slices: summarizeEach(metricsAt("slice"), (metric) => each(slices, metric)),
        cases: summarizeEach(metricsAt("case"), (metric) => each(cases, metric)),
        strata: summarizeEach(SIZE_STRATA, (stratum) => each(inStratum(stratum), "dice")),
      }];
    })),
    clicks: (clicked[0]?.clicks ?? []).map((_, click) =>
      summarizeByPatient(
        clicked.map(({ patient, clicks }) => ({ group: patient, value: clicks![click] })),
        { bounds: METRICS.dice.range },
      )
    ),
    strataEdges,
  };
}
