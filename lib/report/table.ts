/**
 * The comparison table of an experiment: the study's columns (accuracy, difference to PEFT,
 * difference to vanilla), then the other prompts, IoU and cost, with the trivial predictors beside
 * the models. What was not run is an en dash, never a guess.
 *
 * @module
 */
import { columnsAt, type MaskMetric, METRICS, UNPROMPTED_METRICS } from "../metrics/metrics.ts";
import type { Score } from "../stats/summary.ts";
import { PRESENCE_SCORES, type PresenceRule } from "../evaluate/presence.ts";
import { HEADLINE_PROMPTS } from "../evaluate/scored_prompts.ts";
import { compareUnder } from "../study/comparison.ts";
import { type Choice, CHOSEN_FIELDS } from "../study/schema.ts";
import type { ComparedRow, ComparisonTable } from "../study/results.ts";
import {
  absent,
  count,
  intervalNote,
  intervalText,
  mebibytes,
  metricHeader,
  metricText,
  modelName,
  percent,
  plural,
  probability,
  promptName,
  seconds,
  seedsText,
  signed,
} from "./format.ts";
import { visible } from "../errors.ts";
import { cellText, escapeMarkdown, markdownCode } from "./document.ts";
import { markdownTable } from "./markdown_table.ts";
import { verdictTable } from "./verdict_table.ts";

/** Names of the fields that may be chosen, as columns have them. */
export const CHOSEN_NAMES: Readonly<Record<keyof Choice, string>> = {
  learningRate: "Learning rate",
  epochs: "Epochs",
  wiseFt: "WiSE-FT share",
};

/** Cells as text, ready for Markdown or a terminal. */
export interface TextGrid {
  /** Names of the columns. */
  header: string[];
  /** As many cells a row. */
  rows: string[][];
}

/** The study's own table, with intervals and p values where they were found. */
function accuracyGrid(
  { context, rows }: Pick<ComparisonTable, "context" | "rows">,
  accuracy = "Accuracy (Dice, %)",
): TextGrid {
  const primary = (row: ComparedRow) => row.dice[context.primaryPrompt];
  const hasIntervals = rows.some((row) => primary(row)?.interval);
  const hasTests = rows.some((row) => row.tests);
  const hasSeeds = rows.some((row) => row.seeds?.[context.primaryPrompt]);
  const tested = (cells: string[], p: string) => hasTests ? [...cells, p] : cells;
  return {
    header: [
      "Model",
      accuracy,
      ...(hasIntervals ? ["95 % interval"] : []),
      ...(hasSeeds ? ["Seeds"] : []),
      ...tested(["PEFT comparison"], "p (PEFT)"),
      ...tested(["Vanilla comparison"], "p (vanilla)"),
    ],
    rows: rows.map((row) => [
      modelName(row.model),
      percent(primary(row)),
      ...(hasIntervals ? [intervalText(primary(row))] : []),
      ...(hasSeeds ? [seedsText(row.seeds?.[context.primaryPrompt])] : []),
      ...tested([signed(row.peftComparison)], probability(row.tests?.peft?.pHolm)),
      ...tested([signed(row.vanillaComparison)], probability(row.tests?.vanilla?.pHolm)),
    ]),
  };
}

/** Headline prompts beside the primary one under which rows were compared. */
function comparedPrompts({ context, statistics }: ComparisonTable): string[] {
  return HEADLINE_PROMPTS.filter((prompt) =>
    prompt !== context.primaryPrompt &&
    statistics.some((family) => family.prompt === prompt && family.metric === "dice")
  );
}

/** The same columns under another of the headline prompts, for the rows that were scored under it. */
function comparisonGrids(table: ComparisonTable): TextGrid[] {
  return comparedPrompts(table).map((prompt) => {
    const { context, rows } = compareUnder(table, prompt);
    const scored = rows.filter(({ dice }) => dice[prompt]);
    return accuracyGrid({ context, rows: scored }, `${promptName(prompt)} (Dice, %)`);
  });
}

/** Mean Dice of each part, a grid for each headline prompt that models were scored under. */
export function partGrids({ parts = [], rows }: ComparisonTable): TextGrid[] {
  const models = [...new Set(parts.flatMap(({ rows }) => rows.map(({ model }) => model)))];
  const prompts = HEADLINE_PROMPTS.filter((prompt) =>
    rows.some(({ kind, dice }) => kind !== "trivial" && dice[prompt])
  );
  return (parts.length > 0 ? prompts : []).map((prompt) => ({
    header: [
      `${promptName(prompt)} (Dice, %)`,
      ...parts.map(({ part }) => part.replaceAll("_", " ").replaceAll("-", ", ")),
    ],
    rows: models.map((model) => [
      modelName(model),
      ...parts.map(({ rows }) => {
        const dice = rows.find((row) => row.model === model)?.dice[prompt];
        return dice === undefined ? absent : (100 * dice).toFixed(1);
      }),
    ]),
  }));
}

/**
 * Mean Dice under the prompts that have no table of comparisons, in the order in which the rows name them.
 * Predictors that see no image cost nothing and are scored under all: what no model has is left out.
 */
function promptGrid(table: ComparisonTable): TextGrid | null {
  const { context, rows } = table;
  const shown = [context.primaryPrompt, ...comparedPrompts(table)];
  const models = rows.filter(({ kind }) => kind !== "trivial");
  const prompts = [...new Set(models.flatMap((row) => Object.keys(row.dice)))]
    .filter((prompt) => !shown.includes(prompt));
  if (prompts.length === 0) return null;
  const mean = (score?: Score) => score === undefined ? absent : (100 * score.mean).toFixed(1);
  return {
    header: ["Dice (%)", ...prompts.map(promptName)],
    rows: rows.map((
      row,
    ) => [modelName(row.model), ...prompts.map((prompt) => mean(row.dice[prompt]))]),
  };
}

/** Models with their masks without a prompt. */
interface UnpromptedTable {
  readonly rows: readonly Pick<ComparedRow, "model" | "unprompted">[];
}

/** Scores of a model's masks without a prompt. */
interface UnpromptedLine {
  readonly name: string;
  /** Rule by which masks count. */
  readonly rule: string;
  readonly scores: Partial<Record<MaskMetric, Score>>;
}

/**
 * Masks without a prompt: of each model all of them, then those alone that count by the rule that was chosen
 * on validation patients; none where a study scored none.
 */
export function unpromptedLines({ rows }: UnpromptedTable): UnpromptedLine[] {
  return rows.flatMap(({ model, unprompted }) => {
    if (!unprompted) return [];
    const { all, ruled, rules } = unprompted;
    const name = modelName(model);
    return [
      { name, rule: "every mask", scores: all },
      ...(ruled ? [{ name, rule: rulesText(rules), scores: ruled }] : []),
    ];
  });
}

/** The same as cells; null where there are none. */
export function unpromptedGrid(table: UnpromptedTable): TextGrid | null {
  const lines = unpromptedLines(table);
  if (lines.length === 0) return null;
  const metrics = UNPROMPTED_METRICS.filter((name) => lines.some(({ scores }) => scores[name]));
  return {
    header: [
      "No prompt",
      "Mask counts",
      "Dice (%)",
      ...metrics.map((name) => metricHeader(name, "slice")),
    ],
    rows: lines.map(({ name, rule, scores }) => [
      name,
      rule,
      percent(scores.dice),
      ...metrics.map((metric) => metricText(metric, scores[metric])),
    ]),
  };
}

/** "mean logit inside the mask from 3.21, 2.98 on": rules of all parts. */
function rulesText(rules: readonly PresenceRule[]): string {
  return [...Map.groupBy(rules, ({ score }) => score)].map(([score, own]) => {
    const thresholds = own.map(({ threshold }) => threshold.toPrecision(3));
    return `${PRESENCE_SCORES[score].label} from ${[...new Set(thresholds)].join(", ")} on`;
  }).join("; ");
}

/** Sentence on the masks without a prompt. */
function unpromptedNote(grid: TextGrid | null): string {
  if (!grid) return "";
  const definitions = UNPROMPTED_METRICS.map((name) => METRICS[name].definition);
  return ` Without a prompt: Dice over the slices with tumour, 0 where a mask does not count; ${
    definitions.join("; ")
  }. The score and threshold from which a mask counts are chosen on validation patients: the largest that ` +
    `keeps 95 % sensitivity.`;
}

/** The other metrics under the primary prompt, and the cost. */
function detailGrid({ context, rows }: ComparisonTable): TextGrid {
  const metrics = rows.some((row) => row.metrics) ? columnsAt("slice") : [];
  const hasMemory = rows.some((row) => row.peakGpuBytes);
  const fields = CHOSEN_FIELDS.filter((field) =>
    rows.some(({ chosen }) => chosen?.some((one) => one.field === field))
  );
  return {
    header: [
      "Model",
      `IoU, ${promptName(context.primaryPrompt)} (%)`,
      ...metrics.map((name) => metricHeader(name, "slice")),
      "Trainable parameters",
      "s/step",
      "Training (s)",
      ...(hasMemory ? ["GPU memory (MiB)"] : []),
      "Best epoch",
      ...fields.map((field) => CHOSEN_NAMES[field]),
    ],
    rows: rows.map((row) => [
      modelName(row.model),
      percent(row.iou?.[context.primaryPrompt]),
      ...metrics.map((name) => metricText(name, row.metrics?.[name])),
      count(row.trainableParameters),
      seconds(row.secondsPerStep),
      seconds(row.trainSeconds),
      ...(hasMemory ? [mebibytes(row.peakGpuBytes)] : []),
      count(row.bestEpoch),
      ...fields.map((field) =>
        row.chosen?.find((one) => one.field === field)?.values.join(", ") ?? absent
      ),
    ]),
  };
}

/** The hypotheses and their verdicts. */
function verdictGrid({ verdicts }: ComparisonTable): TextGrid | null {
  if (verdicts.length === 0) return null;
  const { header, rows } = verdictTable(verdicts);
  return { header, rows: rows.map((row) => row.map(cellText)) };
}

/** All tables, in the order of the page. */
function grids(table: ComparisonTable): TextGrid[] {
  return [
    accuracyGrid(table),
    ...comparisonGrids(table),
    promptGrid(table),
    unpromptedGrid(table),
    detailGrid(table),
    verdictGrid(table),
    ...partGrids(table),
  ].filter((grid) => grid !== null);
}

/** Metric, prompt, units and tests of the numbers. */
function caption(table: ComparisonTable): string {
  const { context, rows } = table;
  const scored = context.splits[context.scoredOn];
  const tested = rows.some((row) => row.tests)
    ? ` p: Wilcoxon's signed-rank test of the same patients' paired differences, Holm-adjusted for ` +
      `all comparisons under one prompt.`
    : "";
  const alike = rows.some(({ wiseFt }) => wiseFt !== undefined)
    ? ` Rows of WiSE-FT are compared with the PEFT row of the same share.`
    : "";
  const shares = rows.some((row) => row.chosen)
    ? ` Values in the last columns are those that were best on the validation slices, of every trained row ` +
      `by the same rule; by WiSE-FT's share trained weights are drawn back towards the pretrained ones.`
    : "";
  const seeds = rows.some((row) => row.seeds)
    ? ` Seeds: lowest and highest mean over patients of any training seed.`
    : "";
  const parts = table.parts
    ? ` The first tables are over the parts of the first split; the last show every training seed ` +
      `and split by itself.`
    : "";
  const others = comparedPrompts(table).map(promptName).join(", ");
  return `Dice under the ${promptName(context.primaryPrompt)} prompt${
    others && `, then in tables of their own under ${others}`
  }: mean ± standard deviation over ` +
    `${plural(scored.patients, "patient")}, each of whom has the mean over their slices ` +
    `(${plural(scored.slices, "slice")} in all, ${context.scoredOn} split); comparisons are ` +
    `differences in percentage points. ${
      intervalNote(scored.patients)
    }${tested}${seeds}${alike}${shares}${unpromptedNote(unpromptedGrid(table))}${parts}`;
}

/** Data, model and adapter that made the table; the command stands apart. */
function settings({ context }: ComparisonTable): string[] {
  const splits = Object.entries(context.splits).map(([name, size]) =>
    `${name} ${plural(size.patients, "patient")}, ${plural(size.slices, "slice")}`
  );
  return [
    `Data: ${context.dataset}; ${splits.join("; ")}`,
    `Model: ${context.baseModel}, side ${context.side} px, ${plural(context.epochs, "epoch")}, ` +
    (context.pooled ?? `seed ${context.seed}`),
    `Adapter: ${context.adapter}`,
    ...(context.notes ?? []),
  ];
}

/** A name from a file on one line, whatever it holds. */
const oneLine = (text: string) => text.replaceAll(/\s+/g, " ");

function markdownGrid({ header, rows }: TextGrid): string {
  const escaped = (cells: readonly string[]) =>
    cells.map((cell) => oneLine(cell).replaceAll("|", "\\|"));
  return markdownTable({ header: escaped(header), rows: rows.map(escaped) });
}

/** A table for a terminal: the first column to the left, the others to the right. */
export function gridText({ header, rows }: TextGrid): string {
  const widths = header.map((_, column) =>
    Math.max(...[header, ...rows].map((cells) => cells[column].length))
  );
  const line = (cells: string[]) =>
    cells.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column])
    ).join("  ").trimEnd();
  const rule = widths.map((width) => "─".repeat(width)).join("  ");
  return [line(header), rule, ...rows.map(line)].join("\n");
}

/** The content of table.md. */
export function tableMarkdown(table: ComparisonTable): string {
  return visible([
    caption(table),
    ...grids(table).map(markdownGrid),
    [
      ...settings(table).map((line) => `- ${escapeMarkdown(line)}`),
      `- Command: ${markdownCode(table.context.command)}`,
    ].join("\n"),
  ].join("\n\n")) + "\n";
}

/** The same table for a terminal: plain text, columns aligned. */
export function tableText(table: ComparisonTable): string {
  return [
    caption(table),
    ...grids(table).map(gridText),
    [...settings(table), `Command: ${table.context.command}`].join("\n"),
  ].join("\n\n") + "\n";
}
