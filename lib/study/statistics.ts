/**
 * Statistics of a study's rows: means with intervals, tests of their differences to vanilla and PEFT, and
 * verdicts on the hypotheses that were stated before the runs.
 *
 * @module
 */
import type { PromptKind } from "../data/prompts.ts";
import { type MaskMetric, METRICS, metricsAt } from "../metrics/metrics.ts";
import type { Score } from "../stats/summary.ts";
import type { BootstrapOptions } from "../stats/bootstrap.ts";
import { compareModels, type ModelObservations } from "../stats/compare.ts";
import { judge } from "../stats/verdict.ts";
import { PROTOCOL, type ScoredPrompt } from "../evaluate/scored_prompts.ts";
import { type ProtocolSummary, summarizeProtocol } from "../evaluate/protocol_summary.ts";
import { baselines, displayName, type Experiment, type Hypothesis } from "./experiment.ts";
import type { ScoreRecords, SliceRecord } from "./records.ts";
import type { ComparisonFamily, RowTests, StudyVerdict } from "./results.ts";

/** Prompts that a run's closing line names; the first is the study's. */
export const HEADLINE_PROMPTS: readonly PromptKind[] = [
  "tight-box",
  "jittered-box",
  "point",
  "whole-image",
];

/** Prompt of the study's accuracy column, under which masks are kept. */
export const [PRIMARY_PROMPT] = HEADLINE_PROMPTS;

/** Rows that the others are compared with, as tables call them. */
const VANILLA = displayName(baselines.vanilla);
const PEFT = displayName(baselines.peft);

/** Means over slices by prompt, and all else that the protocol found. */
export interface Scores {
  readonly dice: Readonly<Record<string, Score>>;
  readonly iou: Readonly<Record<string, Score>>;
  /** Every metric under every prompt, over slices and over cases. */
  readonly protocol: ProtocolSummary;
}

/** Means of a protocol's scores, with intervals over patients. */
export function summarizeScores(result: ScoreRecords): Scores {
  const protocol = summarizeProtocol(result);
  const by = (metric: "dice" | "iou") =>
    Object.fromEntries(
      Object.entries(protocol.prompts).flatMap(([prompt, { slices }]) =>
        slices[metric] ? [[prompt, slices[metric]]] : []
      ),
    );
  return { dice: by("dice"), iou: by("iou"), protocol };
}

/**
 * One metric of slices under one prompt, by what can be paired with another model's: the same slice
 * with as many tumour pixels. A crop that loses tumour makes another slice of it.
 */
function observations(
  slices: readonly SliceRecord[],
  { prompt, metric }: { prompt: ScoredPrompt; metric: MaskMetric },
): ModelObservations {
  return new Map(slices.flatMap(({ id, patient, tumourPixels, scores }) => {
    const value = scores[prompt]?.[metric] ?? null;
    return value === null ? [] : [[`${id} ${tumourPixels}`, { group: patient, value }] as const];
  }));
}

/**
 * Compares models with vanilla and PEFT under every prompt that any of them was scored under.
 *
 * @param models Scores of the slices by the experiments' display names.
 */
export function compareScores(
  models: ReadonlyMap<string, readonly SliceRecord[]>,
): ComparisonFamily[] {
  return PROTOCOL.flatMap((prompt) =>
    metricsAt("slice").filter((name) => METRICS[name].tested).flatMap((metric) => {
      const observed = new Map<string, ModelObservations>();
      for (const [model, slices] of models) {
        observed.set(model, observations(slices, { prompt, metric }));
      }
      const comparisons = compareModels(observed, {
        references: [VANILLA, PEFT],
        resamples: 2000,
      });
      return comparisons.length === 0 ? [] : [{ prompt, metric, comparisons }];
    })
  );
}

/** Each model's tests by Dice under one prompt. */
export function testsOf(
  families: readonly ComparisonFamily[],
  prompt: ScoredPrompt,
): Map<string, RowTests> {
  const tests = new Map<string, RowTests>();
  const family = families.find((one) => one.prompt === prompt && one.metric === "dice");
  for (const comparison of family?.comparisons ?? []) {
    const { model, reference, p, pHolm, interval, patients } = comparison;
    const kind = reference === PEFT ? "peft" : "vanilla";
    tests.set(model, { ...tests.get(model), [kind]: { p, pHolm, interval, patients } });
  }
  return tests;
}

/**
 * Judges the hypotheses of a study's experiments together. One about a row without scores, since a
 * guard has caught it, stays undecided.
 *
 * @param models Scores of the slices by the experiments' display names.
 */
export function judgeStudy(
  experiments: readonly Experiment[],
  models: ReadonlyMap<string, readonly SliceRecord[]>,
  options: BootstrapOptions = { resamples: 2000 },
): StudyVerdict[] {
  const names = new Map(experiments.map((one) => [one.name, displayName(one)]));
  const stated = experiments.flatMap(({ name, hypothesis }) =>
    hypothesis ? [{ name, hypothesis }] : []
  );
  const observe = (name: string, { prompt, metric }: Hypothesis) =>
    observations(models.get(names.get(name)!) ?? [], { prompt, metric });
  const verdicts = judge(
    stated.map(({ name, hypothesis }) => ({
      expected: hypothesis.expected,
      margin: hypothesis.margin ?? 0,
      lowerIsBetter: METRICS[hypothesis.metric].direction !== "higher",
      own: observe(name, hypothesis),
      other: observe(hypothesis.than, hypothesis),
    })),
    options,
  );
  return stated.map(({ name, hypothesis }, i) => ({
    experiment: name,
    hypothesis: hypothesis.sentence,
    than: hypothesis.than,
    model: names.get(name)!,
    reference: names.get(hypothesis.than)!,
    prompt: hypothesis.prompt,
    metric: hypothesis.metric,
    expected: hypothesis.expected,
    margin: hypothesis.margin ?? 0,
    ...verdicts[i],
  }));
}
