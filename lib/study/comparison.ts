/**
 * The comparison of a study's rows, computed from the records of every slice: pooled over the parts of a
 * cross-validation, summarised, tested and judged.
 *
 * @module
 */
import type { RunLengths } from "../formats/run_length.ts";
import { observe } from "../evaluate/protocol_summary.ts";
import { PROTOCOL } from "../evaluate/scored_prompts.ts";
import { summarizeUnprompted } from "../evaluate/unprompted.ts";
import { groupMeans, mean } from "../stats/summary.ts";
import { candidatesOf, choiceOf } from "./choice.ts";
import { displayName, type Experiment } from "./experiment.ts";
import type { CaseRecord, RecordedScore, Records, ScoreRecords, SliceRecord } from "./records.ts";
import {
  type ComparisonContext,
  type ComparisonFamily,
  type ComparisonRow,
  type ComparisonTable,
  type PartScores,
  type References,
  ROW_KINDS,
  type RowTests,
  type Run,
} from "./results.ts";
import { CHOSEN_FIELDS } from "./schema.ts";
import {
  compareScores,
  judgeStudy,
  PRIMARY_PROMPT,
  referencesOf,
  summarizeScores,
  testsOf,
} from "./statistics.ts";

/** Sums of a row over all parts of the study's first split. */
export interface PooledRow {
  /** True for a predictor that sees no image. */
  readonly trivial: boolean;
  /** The slices of all folds taken together, each averaged over training seeds. */
  readonly scores: ScoreRecords;
  /** Mean Dice by prompt in each part, those of further splits among them. */
  readonly parts: ReadonlyMap<
    string,
    { readonly patients: number; readonly dice: Readonly<Record<string, number>> }
  >;
  /** Masks of the first training seed by slice, with their Dice; none where none were kept. */
  readonly masks: ReadonlyMap<string, RunLengths & { readonly dice?: number }>;
  /** The sample's mask, in a study of one part. */
  readonly sample: Records["sample"];
  readonly seeds?: ComparisonRow["seeds"];
  readonly unprompted?: ComparisonRow["unprompted"];
}

/** A row of which no records are there. */
export const UNSCORED: PooledRow = {
  trivial: false,
  scores: { slices: [], cases: [] },
  parts: new Map(),
  masks: new Map(),
  sample: null,
};

/** Rows by the names of their experiments, trivial predictors by theirs. */
export type PooledRows = ReadonlyMap<string, PooledRow>;

/** Mean of one slice's or case's scores under one prompt over training seeds, metric by metric. */
function averageScores(scores: readonly RecordedScore[]): RecordedScore {
  const averages = Object.keys(scores[0]).map((name) => {
    const values = scores.map((score) => score[name as keyof RecordedScore] ?? null);
    return [name, values.includes(null) ? null : mean(values as number[])];
  });
  return Object.fromEntries(averages);
}

/** One slice or case for all that have its id, its scores averaged. */
function average<T extends SliceRecord | CaseRecord>(items: readonly T[]): T[] {
  return [...Map.groupBy(items, ({ id }) => id).values()].map((repeats) => {
    if (repeats.length === 1) return repeats[0];
    const scores = Object.fromEntries(
      (Object.keys(repeats[0].scores) as (keyof T["scores"])[]).map((prompt) => [
        prompt,
        averageScores(repeats.map(({ scores }) => scores[prompt as never])),
      ]),
    );
    const clicks = repeats.map((repeat) => "clicks" in repeat ? repeat.clicks ?? [] : []);
    return {
      ...repeats[0],
      scores,
      ...(clicks[0].length > 0 && {
        clicks: clicks[0].map((_, i) => mean(clicks.map((own) => own[i]))),
      }),
    };
  });
}

/**
 * Scores of one row over all parts: the slices of all folds taken together, each averaged over training
 * seeds.
 */
export function poolRecords(records: readonly Records[], row: string): ScoreRecords {
  const own = records.filter((one) => one.row === row);
  return {
    slices: average(own.flatMap(({ slices }) => slices)),
    cases: average(own.flatMap(({ cases }) => cases)),
  };
}

/** Mean Dice by prompt over the patients of each part. */
function scoresByPart(records: readonly Records[]): PooledRow["parts"] {
  return new Map(records.map(({ part, slices }) => [part, {
    patients: new Set(slices.map(({ patient }) => patient)).size,
    dice: Object.fromEntries(PROTOCOL.flatMap((prompt) => {
      const patients = groupMeans(observe(slices, { prompt, metric: "dice" }));
      return patients.length > 0 ? [[prompt, mean(patients)]] : [];
    })),
  }]));
}

/**
 * Parts of a study's first split, over which its table is: further splits test patients again that it was
 * trained on.
 */
export function firstParts(runs: readonly Run[]): ReadonlySet<string> {
  const first = runs[0].split.seed;
  return new Set(runs.filter(({ split }) => split.seed === first).map(({ part }) => part));
}

/**
 * Pools what one row comes to, so that nobody need hold the records of another meanwhile.
 *
 * @param records The row's, of every part.
 * @param runs Runs of the whole study.
 */
export function poolRow(records: readonly Records[], runs: readonly Run[]): PooledRow {
  const [{ row, trivial }] = records;
  const parts = firstParts(runs);
  const own = runs.filter(({ part, experiment }) => experiment.name === row && parts.has(part));
  const first = records.filter(({ part }) => parts.has(part));
  return {
    trivial,
    scores: poolRecords(first, row),
    parts: scoresByPart(records),
    masks: masksOf(first),
    sample: first[0]?.sample ?? null,
    ...(!trivial && own.every(({ summary }) => summary) && {
      seeds: seedMeans(own, first),
      unprompted: unpromptedOf(own, first),
    }),
  };
}

/** Pools each row of a study. */
export function poolRows(
  { runs, records }: { runs: readonly Run[]; records: readonly Records[] },
): PooledRows {
  const rows = Map.groupBy(records, ({ row }) => row);
  return new Map([...rows].map(([row, own]) => [row, poolRow(own, runs)]));
}

/** Masks of the first training seed, with their Dice. */
function masksOf(records: readonly Records[]): PooledRow["masks"] {
  const masks = new Map<string, RunLengths & { dice?: number }>();
  for (const { masks: found, slices } of records) {
    const scores = new Map(slices.map(({ id, scores }) => [id, scores[PRIMARY_PROMPT]?.dice]));
    for (const { id, ...mask } of found) {
      if (!masks.has(id)) masks.set(id, { ...mask, dice: scores.get(id) });
    }
  }
  return masks;
}

/** Experiments of a study, in the order of its rows. */
export function experimentsOf(runs: readonly Run[]): Experiment[] {
  return [...new Map(runs.map(({ experiment }) => [experiment.name, experiment])).values()];
}

/** Scores of a row as the table takes them. */
function rowScores(
  result: ScoreRecords,
  { primaryPrompt }: ComparisonContext,
): Pick<ComparisonRow, "dice" | "iou" | "metrics"> {
  const { dice, iou, protocol } = summarizeScores(result);
  const primary = PROTOCOL.find((prompt) => prompt === primaryPrompt);
  return { dice, iou, metrics: primary && protocol.prompts[primary]?.slices };
}

/**
 * Masks without a prompt of a row over all its parts, all of them and those that count by each part's rule;
 * undefined where none were scored, or by an earlier version.
 */
function unpromptedOf(
  runs: readonly Run[],
  records: readonly Records[],
): ComparisonRow["unprompted"] {
  const parts = runs.map(({ part, experiment, presence }) => {
    const own = records.find((one) => one.part === part && one.row === experiment.name);
    const slices = [...own?.slices ?? [], ...own?.healthy ?? []];
    return { slices, rule: presence ?? null };
  });
  const all = summarizeUnprompted(parts.map(({ slices }) => ({ slices, rule: null })));
  if (!all.sensitivity) return undefined;
  const rules = parts.flatMap(({ rule }) =>
    rule ? [{ score: rule.score, threshold: rule.threshold }] : []
  );
  const isRuled = rules.length === parts.length;
  return { rules, all, ...(isRuled && { ruled: summarizeUnprompted(parts) }) };
}

/** Mean Dice over patients by prompt of each training seed; undefined of one seed. */
function seedMeans(runs: readonly Run[], records: readonly Records[]): ComparisonRow["seeds"] {
  const bySeed = [...Map.groupBy(runs, ({ config }) => String(config.seed)).values()];
  if (bySeed.length < 2) return undefined;
  const [{ experiment }] = runs;
  const slices = bySeed.map((own) => {
    const parts = new Set(own.map(({ part }) => part));
    return poolRecords(records.filter(({ part }) => parts.has(part)), experiment.name).slices;
  });
  return Object.fromEntries(PROTOCOL.flatMap((prompt) => {
    const means = slices.map((own) => mean(groupMeans(observe(own, { prompt, metric: "dice" }))));
    return means.some(Number.isNaN) ? [] : [[prompt, means]];
  }));
}

/** Row of a model that was trained, or scored as it comes, in every part. */
function modelRow(
  experiment: Experiment,
  { runs, pooled, context }: {
    runs: readonly Run[];
    pooled: PooledRow;
    context: ComparisonContext;
  },
): ComparisonRow {
  const summaries = runs.map(({ summary }) => summary!);
  const of = (field: "secondsPerStep" | "trainSeconds" | "peakGpuBytes") =>
    summaries[0][field] === undefined ? [] : summaries.map((summary) => summary[field]!);
  const average = (values: readonly number[]) => values.length > 0 ? mean(values) : undefined;
  const peaks = of("peakGpuBytes");
  const choices = runs.flatMap((run) => choiceOf(run) ?? []);
  const tried = choices.flatMap(({ tried }) => tried);
  const chosen = CHOSEN_FIELDS.filter((field) => candidatesOf(tried, field).length > 1)
    .map((field) => ({ field, values: choices.map(({ values }) => values[field]) }));
  return {
    model: displayName(experiment),
    kind: experiment.kind,
    wiseFt: experiment.wiseFt?.alpha,
    ...rowScores(pooled.scores, context),
    trainableParameters: summaries[0].trainableParameters,
    secondsPerStep: average(of("secondsPerStep")),
    trainSeconds: average(of("trainSeconds")),
    peakGpuBytes: peaks.length > 0 ? Math.max(...peaks) : undefined,
    bestEpoch: runs[0].part === "" ? summaries[0].bestEpoch : undefined,
    ...(chosen.length > 0 && { chosen }),
    seeds: pooled.seeds,
    unprompted: pooled.unprompted,
  };
}

/**
 * Sorts rows by kind and compares each with its references: by the tested difference, which is over the
 * patients of both rows, or where none was tested by the difference of their means.
 */
export function compareRows(
  rows: readonly ComparisonRow[],
  context: ComparisonContext,
): Pick<ComparisonTable, "context" | "rows"> {
  const accuracy = (row?: ComparisonRow) => {
    const score = row?.dice[context.primaryPrompt];
    return score === undefined ? null : 100 * score.mean;
  };
  const against = (row: ComparisonRow, kind: keyof References, name?: string) => {
    const tested = row.tests?.[kind];
    if (tested) return 100 * tested.difference;
    const own = accuracy(row);
    const other = accuracy(rows.find(({ model }) => model === name));
    return own === null || other === null ? null : own - other;
  };
  const sorted = [...rows].sort((a, b) => ROW_KINDS.indexOf(a.kind) - ROW_KINDS.indexOf(b.kind));
  return {
    context,
    rows: sorted.map((row) => {
      const references = referencesOf(row, rows);
      return {
        ...row,
        references,
        accuracy: accuracy(row),
        peftComparison: against(row, "peft", references.peft),
        vanillaComparison: against(row, "vanilla", references.vanilla),
      };
    }),
  };
}

/** Rows of a table compared under another prompt than its primary one, by the tests under that prompt. */
export function compareUnder(
  { context, rows, statistics }: ComparisonTable,
  prompt: string,
): Pick<ComparisonTable, "context" | "rows"> {
  return compareRows(
    rows.map((row) => ({ ...row, tests: testsOf(statistics, { ...row, prompt }) })),
    { ...context, primaryPrompt: prompt },
  );
}

/**
 * Computes every figure of `table.json` from the runs and their records. A row that a guard has ended in
 * any part is left out.
 */
export function computeTable(
  context: ComparisonContext,
  study: { runs: readonly Run[]; records: readonly Records[] },
): ComparisonTable {
  return tableOf(context, { runs: study.runs, rows: poolRows(study) });
}

/** Computes the table of rows that are pooled. */
export function tableOf(
  context: ComparisonContext,
  { runs: all, rows }: { runs: readonly Run[]; rows: PooledRows },
): ComparisonTable {
  const first = firstParts(all);
  const runs = all.filter(({ part }) => first.has(part));
  const experiments = experimentsOf(runs);
  const slices = new Map<string, readonly SliceRecord[]>();
  const models: ComparisonRow[] = [];
  for (const experiment of experiments) {
    const own = runs.filter((run) => run.experiment.name === experiment.name);
    if (own.some(({ summary }) => !summary)) continue;
    const pooled = rows.get(experiment.name) ?? UNSCORED;
    slices.set(displayName(experiment), pooled.scores.slices);
    models.push(modelRow(experiment, { runs: own, pooled, context }));
  }
  const statistics = compareScores(
    models.map((row) => ({ ...row, slices: slices.get(row.model)! })),
  );
  const compared = compareRows([
    ...models.map((row) => ({ ...row, tests: rowTests(row, { models, statistics, context }) })),
    ...[...rows].filter(([, { trivial }]) => trivial).map(([model, { scores }]) => ({
      model,
      kind: "trivial" as const,
      ...rowScores(scores, context),
    })),
  ], context);
  const parts = partScores(all, rows);
  return significant({
    ...compared,
    statistics,
    verdicts: judgeStudy(experiments, slices),
    ...(parts.length > 1 && { parts }),
  });
}

/** Scores of every row in each part. */
function partScores(runs: readonly Run[], rows: PooledRows): PartScores[] {
  const names = new Map(runs.map(({ experiment }) => [experiment.name, displayName(experiment)]));
  return [...Map.groupBy(runs, ({ part }) => part)].map(([part, [{ config, split }]]) => {
    const found = [...rows].flatMap(([row, { parts }]) => {
      const scores = parts.get(part);
      return scores ? [{ model: names.get(row) ?? row, ...scores }] : [];
    });
    return {
      part,
      seed: config.seed as number,
      split: split.seed,
      patients: found[0]?.patients ?? 0,
      rows: found.map(({ model, dice }) => ({ model, dice })),
    };
  });
}

/** Tests of a row under the primary prompt; undefined if there are none. */
function rowTests(
  row: ComparisonRow,
  { models, statistics, context }: {
    models: readonly ComparisonRow[];
    statistics: readonly ComparisonFamily[];
    context: ComparisonContext;
  },
): RowTests | undefined {
  const references = referencesOf(row, models);
  const tests = testsOf(statistics, {
    model: row.model,
    references,
    prompt: context.primaryPrompt,
  });
  return Object.keys(tests).length > 0 ? tests : undefined;
}

/** The same with all figures but counts to six significant digits, as files hold them. */
function significant<T>(value: T): T {
  const round = (_: string, value: unknown) =>
    typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;
  return JSON.parse(JSON.stringify(value, round));
}
