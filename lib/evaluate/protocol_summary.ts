import { bootstrapInterval } from "../stats/bootstrap.ts";
import { SIZE_STRATA, type SizeStratum, stratumOf, tertiles } from "../stats/strata.ts";
import { type Observation, type Score, summarize } from "../stats/summary.ts";
import type { MaskScore } from "../metrics/mask_score.ts";
import { type Level, type MaskMetric, metricsAt } from "../metrics/metrics.ts";
import { PROTOCOL, type ProtocolResult, type ScoredPrompt } from "./protocol.ts";

/** Each metric over slices or cases; one that no slice has (an error without tumour) is left out. */
export type MetricSummary = Readonly<Partial<Record<MaskMetric, Score>>>;

/** A model's scores under one prompt. */
export interface PromptSummary {
  /** Over slices; sizes in mm². */
  readonly slices: MetricSummary;
  /** Over cases, each scored as a volume; sizes in mm³. */
  readonly cases: MetricSummary;
  /** Dice of the slices in each third by tumour area, those without tumour left out. */
  readonly strata: Readonly<Partial<Record<SizeStratum, Score>>>;
}

/** A model's scores under the protocol, as means with intervals. */
export interface ProtocolSummary {
  /** By prompt. */
  readonly prompts: Readonly<Partial<Record<ScoredPrompt, PromptSummary>>>;
  /** Dice after each of the clicks. */
  readonly clicks: readonly Score[];
  /** The tumour areas in mm² that part the strata; null if no slice has tumour. */
  readonly strataEdges: readonly [low: number, high: number] | null;
}

/** What is read of a slice or case. */
export interface PatientScores {
  /** Whose it is. */
  readonly patient: string;
  /** By prompt. */
  readonly scores: Readonly<Partial<Record<ScoredPrompt, MaskScore>>>;
}

/** Mean, spread and the interval that {@linkcode bootstrapInterval} gives with patients resampled. */
export function summarizeByPatient(observations: readonly Observation[]): Score {
  return {
    ...summarize(observations.map(({ value }) => value)),
    interval: bootstrapInterval(observations, { resamples: 2000 }),
  };
}

/** One metric of all slices or cases that have it under a prompt. */
export function observe(
  scored: readonly PatientScores[],
  { prompt, metric }: { prompt: ScoredPrompt; metric: MaskMetric },
): Observation[] {
  return scored.flatMap(({ patient, scores }) => {
    const value = scores[prompt]?.[metric] ?? null;
    return value === null ? [] : [{ group: patient, value }];
  });
}

/** Summarises what `runProtocol` found: means, intervals over patients, strata by tumour area. */
export function summarizeProtocol({ slices, cases }: ProtocolResult): ProtocolSummary {
  const metrics = (level: Level, scored: readonly PatientScores[], prompt: ScoredPrompt) =>
    Object.fromEntries(
      metricsAt(level).flatMap((metric) => {
        const observations = observe(scored, { prompt, metric });
        return observations.length === 0 ? [] : [[metric, summarizeByPatient(observations)]];
      }),
    );
  // The truth's area is the same under every prompt that scored a slice.
  const area = (slice: PatientScores) => Object.values(slice.scores)[0]?.truth ?? 0;
  const withTumour = slices.filter((slice) => area(slice) > 0);
  const strataEdges = withTumour.length === 0 ? null : tertiles(withTumour.map(area));
  const strata = (prompt: ScoredPrompt) =>
    Object.fromEntries(SIZE_STRATA.flatMap((stratum) => {
      const own = withTumour.filter((slice) => stratumOf(area(slice), strataEdges!) === stratum);
      const observations = observe(own, { prompt, metric: "dice" });
      return observations.length === 0 ? [] : [[stratum, summarizeByPatient(observations)]];
    }));
  const scored = PROTOCOL.filter((prompt) =>
    [...slices, ...cases].some(({ scores }) => scores[prompt])
  );
  const clicked = slices.filter(({ clicks }) => clicks !== undefined);
  return {
    prompts: Object.fromEntries(scored.map((prompt) => [prompt, {
      slices: metrics("slice", slices, prompt),
      cases: metrics("case", cases, prompt),
      strata: strata(prompt),
    }])),
    clicks: (clicked[0]?.clicks ?? []).map((_, click) =>
      summarizeByPatient(
        clicked.map(({ patient, clicks }) => ({ group: patient, value: clicks![click] })),
      )
    ),
    strataEdges,
  };
}
