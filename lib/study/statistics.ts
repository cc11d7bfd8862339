/**
 * Statistics of a study's rows: means with intervals, tests of their differences to vanilla and PEFT, and
 * verdicts on the hypotheses that were stated before the runs.
 *
 * @module
 */
import { type MaskMetric, METRICS, metricsAt } from "../metrics/metrics.ts";
import type { Score } from "../stats/summary.ts";
import type { BootstrapOptions } from "../stats/bootstrap.ts";
import { compareModels, type ModelObservations } from "../stats/compare.ts";
import { judge } from "../stats/verdict.ts";
import { HEADLINE_PROMPTS, PROTOCOL, type ScoredPrompt } from "../evaluate/scored_prompts.ts";
import { type ProtocolSummary, summarizeProtocol } from "../evaluate/protocol_summary.ts";
import { displayName, type Experiment, type Hypothesis } from "./experiment.ts";
import type { ScoreRecords, SliceRecord } from "./records.ts";
import type {
  ComparisonFamily,
  ComparisonRow,
  References,
  RowTests,
  StudyVerdict,
} from "./results.ts";

/** Prompt of the study's accuracy column where it is scored, under which masks are kept. */
export const [PRIMARY_PROMPT] = HEADLINE_PROMPTS;

/** Prompt of the first comparison of a study: the first headline prompt that was scored, or the first of all. */
export function primaryOf(scored: readonly ScoredPrompt[]): ScoredPrompt {
  return HEADLINE_PROMPTS.find((prompt) => scored.includes(prompt)) ?? scored[0];
}

/** A row by what decides its references. */
type Referring = Pick<ComparisonRow, "model" | "kind" | "wiseFt">;

/**
 * Rows that a row is compared with, by the names of both in tables: vanilla, and the PEFT row that is treated
 * alike, with as large a share of WiSE-FT or with none. What WiSE-FT adds to one of two rows is no merit of
 * what was trained.
 */
export function referencesOf(row: Referring, rows: readonly Referring[]): References {
  const named = (kind: Referring["kind"], { wiseFt }: Partial<Referring>) => {
    const found = rows.find((other) => other.kind === kind && other.wiseFt === wiseFt);
    return found && found.model !== row.model ? { [kind]: found.model } : {};
  };
  return { ...named("vanilla", {}), ...named("peft", row) };
}

/** Means over patients by prompt, and all else that the protocol found. */
export interface Scores {
  readonly dice: Readonly<Record<string, Score>>;
  readonly iou: Readonly<Record<string, Score>>;
  /** Every metric under every prompt, of slices and of cases. */
  readonly protocol: ProtocolSummary;
}

/** Means of a protocol's scores over patients, with intervals. */
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

/** Limits of the difference of two means of a metric. */
function differenceBounds(metric: MaskMetric): [low: number, high: number] {
  const [low, high] = METRICS[metric].range;
  return [low - high, high - low];
}

/**
 * Compares models with their references under every prompt that any of them was scored under. Vanilla
 * itself is compared with none: the others are with it.
 *
 * @param models Rows with the scores of their slices.
 */
export function compareScores(
  models: readonly (Referring & { readonly slices: readonly SliceRecord[] })[],
): ComparisonFamily[] {
  const references = new Map(
    models.filter(({ kind }) => kind !== "vanilla")
      .map((row) => [row.model, Object.values(referencesOf(row, models))]),
  );
  return PROTOCOL.flatMap((prompt) =>
    metricsAt("slice").filter((name) => METRICS[name].tested).flatMap((metric) => {
      const observed = new Map(
        models.map(({ model, slices }) => [model, observations(slices, { prompt, metric })]),
      );
      const bounds = differenceBounds(metric);
      const comparisons = compareModels(observed, { references, bounds });
      return comparisons.length === 0 ? [] : [{ prompt, metric, comparisons }];
    })
  );
}

/** Tests of a row by Dice under one prompt, by what it is compared with. */
export function testsOf(
  families: readonly ComparisonFamily[],
  { model, references, prompt }: { model: string; references: References; prompt: string },
): RowTests {
  const family = families.find((one) => one.prompt === prompt && one.metric === "dice");
  const tests = (family?.comparisons ?? []).flatMap((one) => {
    const kind = (["vanilla", "peft"] as const).find((kind) => references[kind] === one.reference);
    if (one.model !== model || !kind) return [];
    const { difference, p, pHolm, interval, patients } = one;
    return [[kind, { difference, p, pHolm, interval, patients }]];
  });
  return Object.fromEntries(tests);
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
  options: BootstrapOptions = {},
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
      bounds: differenceBounds(hypothesis.metric),
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
