/**
 * The comparison of a study's rows, computed from the records of every slice: pooled over the parts of a
 * cross-validation, summarised, tested and judged.
 *
 * @module
 */
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
import { compareScores, judgeStudy, referencesOf, summarizeScores, testsOf } from "./statistics.ts";

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

/**
 * Runs and records of a study's first split, over which its table is: further splits test patients again
 * that it was trained on.
 */
export function ofFirstSplit<T extends { runs: readonly Run[]; records: readonly Records[] }>(
  study: T,
): T {
  const first = study.runs[0].split.seed;
  const parts = new Set(
    study.runs.filter(({ split }) => split.seed === first).map(({ part }) => part),
  );
  return {
    ...study,
    runs: study.runs.filter(({ part }) => parts.has(part)),
    records: study.records.filter(({ part }) => parts.has(part)),
  };
}

/** Mean Dice of every row in each part, over the part's patients. */
function scoresByPart(
  { runs, records }: { runs: readonly Run[]; records: readonly Records[] },
): PartScores[] {
  const names = new Map(runs.map(({ experiment }) => [experiment.name, displayName(experiment)]));
  return [...Map.groupBy(records, ({ part }) => part)].map(([part, own]) => {
    const { config, split } = runs.find((run) => run.part === part)!;
    return {
      part,
      seed: config.seed as number,
      split: split.seed,
      patients: new Set(own[0].slices.map(({ patient }) => patient)).size,
      rows: own.map(({ row, slices }) => ({
        model: names.get(row) ?? row,
        dice: Object.fromEntries(PROTOCOL.flatMap((prompt) => {
          const patients = groupMeans(observe(slices, { prompt, metric: "dice" }));
          return patients.length > 0 ? [[prompt, mean(patients)]] : [];
        })),
      })),
    };
  });
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
  { runs, records, result, context }: {
    runs: readonly Run[];
    records: readonly Records[];
    result: ScoreRecords;
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
    ...rowScores(result, context),
    trainableParameters: summaries[0].trainableParameters,
    secondsPerStep: average(of("secondsPerStep")),
    trainSeconds: average(of("trainSeconds")),
    peakGpuBytes: peaks.length > 0 ? Math.max(...peaks) : undefined,
    bestEpoch: runs[0].part === "" ? summaries[0].bestEpoch : undefined,
    ...(chosen.length > 0 && { chosen }),
    seeds: seedMeans(runs, records),
    unprompted: unpromptedOf(runs, records),
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
  const { runs, records } = ofFirstSplit(study);
  const experiments = experimentsOf(runs);
  const slices = new Map<string, readonly SliceRecord[]>();
  const models: ComparisonRow[] = [];
  for (const experiment of experiments) {
    const own = runs.filter((run) => run.experiment.name === experiment.name);
    if (own.some(({ summary }) => !summary)) continue;
    const result = poolRecords(records, experiment.name);
    slices.set(displayName(experiment), result.slices);
    models.push(modelRow(experiment, { runs: own, records, result, context }));
  }
  const statistics = compareScores(
    models.map((row) => ({ ...row, slices: slices.get(row.model)! })),
  );
  const trivial = new Set(records.filter((one) => one.trivial).map(({ row }) => row));
  const compared = compareRows([
    ...models.map((row) => ({ ...row, tests: rowTests(row, { models, statistics, context }) })),
    ...[...trivial].map((model) => ({
      model,
      kind: "trivial" as const,
      ...rowScores(poolRecords(records, model), context),
    })),
  ], context);
  const parts = scoresByPart(study);
  return significant({
    ...compared,
    statistics,
    verdicts: judgeStudy(experiments, slices),
    ...(parts.length > 1 && { parts }),
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
