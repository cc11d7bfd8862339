/**
 * The comparison table of an experiment: the study's columns (accuracy, difference to PEFT,
 * difference to vanilla), then the other prompts, IoU and cost, with the trivial predictors beside
 * the models. What was not run is an en dash, never a guess.
 *
 * @module
 */
import { join } from "node:path";
import { writeFileAtomic } from "../fs.ts";
import type { Score } from "../train/metrics.ts";

/** What a row stands for; tables list the kinds in this order. */
export type RowKind = "vanilla" | "peft" | "lora" | "trivial";

/** One model or trivial predictor, scored under one or more prompts. */
export interface ComparisonRow {
  /** As printed: "Vanilla", "PEFT", "LoRA-16", "Filled box". */
  model: string;
  /** Decides the row's place, and which rows the others are compared with. */
  kind: RowKind;
  /** Dice (0..1) by prompt, for example `tight-box`. */
  dice: Record<string, Score>;
  /** Intersection over union (0..1) by prompt. */
  iou?: Record<string, Score>;
  /** Parameters that the optimiser was given. */
  trainableParameters?: number;
  /** Wall time of one training step. */
  secondsPerStep?: number;
  /** Wall time of the whole training. */
  trainSeconds?: number;
  /** The epoch of the best validation Dice, counted from 1, whose weights were scored. */
  bestEpoch?: number;
}

/** How many patients and slices a split holds. */
export interface SplitSize {
  /** Patients; all scans of a patient lie in one split. */
  patients: number;
  /** 2D slices. */
  slices: number;
}

/** What all rows of a table share; the caption says it. */
export interface ComparisonContext {
  /** Name of the data set, without a path of this machine. */
  dataset: string;
  /** True if the tumours are simulated: every table and picture then says so. */
  simulated: boolean;
  /** Pretrained model, for example "MobileSAM". */
  baseModel: string;
  /** The model's input side in pixels. */
  side: number;
  /** Seed of split, initialisation and order. */
  seed: number;
  /** Epochs each run was allowed. */
  epochs: number;
  /** Name and type of the adapter. */
  adapter: string;
  /** The command that makes this table. */
  command: string;
  /** Size of each split by name. */
  splits: Record<string, SplitSize>;
  /** The split that the scores come from, a key of `splits`. */
  scoredOn: string;
  /** The prompt of the accuracy column, a key of each row's `dice`. */
  primaryPrompt: string;
}

/** A row with the study's three columns, in per cent and percentage points; null where not run. */
export interface ComparedRow extends ComparisonRow {
  /** Dice under the primary prompt in per cent. */
  accuracy: number | null;
  /** `accuracy` minus the PEFT row's, in percentage points; null in that row itself. */
  peftComparison: number | null;
  /** `accuracy` minus the vanilla row's, in percentage points; null in that row itself. */
  vanillaComparison: number | null;
}

/** The content of table.json. */
export interface ComparisonTable {
  /** What all rows share. */
  context: ComparisonContext;
  /** Vanilla, PEFT, the adapters and the trivial predictors, each kind in the order given. */
  rows: ComparedRow[];
}

const kinds: readonly RowKind[] = ["vanilla", "peft", "lora", "trivial"];

/** Sorts the rows by kind and compares each with the PEFT row and with the vanilla row. */
export function compareRows(
  rows: readonly ComparisonRow[],
  context: ComparisonContext,
): ComparisonTable {
  const accuracy = (row?: ComparisonRow) => {
    const score = row?.dice[context.primaryPrompt];
    return score === undefined ? null : 100 * score.mean;
  };
  const against = (row: ComparisonRow, kind: RowKind) => {
    const reference = rows.find((candidate) => candidate.kind === kind);
    const [own, other] = [accuracy(row), accuracy(reference)];
    return own === null || other === null || row === reference ? null : own - other;
  };
  const sorted = [...rows].sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
  return {
    context,
    rows: sorted.map((row) => ({
      ...row,
      accuracy: accuracy(row),
      peftComparison: against(row, "peft"),
      vanillaComparison: against(row, "vanilla"),
    })),
  };
}

/** Cells as text, ready for Markdown or a terminal. */
interface Grid {
  header: string[];
  rows: string[][];
}

const absent = "–";

/** A difference with its sign; one that rounds to nothing has none. */
function signed(points: number | null): string {
  if (points === null) return absent;
  const digits = Math.abs(points).toFixed(1);
  return digits === "0.0" ? digits : `${points < 0 ? "−" : "+"}${digits}`;
}

function percent(score?: Score): string {
  if (score === undefined) return absent;
  return `${(100 * score.mean).toFixed(1)} ± ${(100 * score.sd).toFixed(1)}`;
}

/** A duration to three significant digits. */
function seconds(value?: number): string {
  if (value === undefined) return absent;
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function count(value?: number): string {
  return value === undefined ? absent : value.toLocaleString("en-US");
}

function plural(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}

function promptName(prompt: string): string {
  return prompt.replaceAll("-", " ");
}

/** The study's own table. */
function accuracyGrid({ context, rows }: ComparisonTable): Grid {
  return {
    header: ["Model", "Accuracy (Dice, %)", "PEFT comparison", "Vanilla comparison"],
    rows: rows.map((row) => [
      row.model,
      percent(row.dice[context.primaryPrompt]),
      signed(row.peftComparison),
      signed(row.vanillaComparison),
    ]),
  };
}

/** The other prompts, in the order in which the rows name them, then IoU and cost. */
function detailGrid({ context, rows }: ComparisonTable): Grid {
  const prompts = [...new Set(rows.flatMap((row) => Object.keys(row.dice)))]
    .filter((prompt) => prompt !== context.primaryPrompt);
  return {
    header: [
      "Model",
      ...prompts.map((prompt) => `Dice, ${promptName(prompt)} (%)`),
      `IoU, ${promptName(context.primaryPrompt)} (%)`,
      "Trainable parameters",
      "s/step",
      "Training (s)",
      "Best epoch",
    ],
    rows: rows.map((row) => [
      row.model,
      ...prompts.map((prompt) => percent(row.dice[prompt])),
      percent(row.iou?.[context.primaryPrompt]),
      count(row.trainableParameters),
      seconds(row.secondsPerStep),
      seconds(row.trainSeconds),
      count(row.bestEpoch),
    ]),
  };
}

/** What the numbers are, in one sentence. */
function caption({ context }: ComparisonTable): string {
  const scored = context.splits[context.scoredOn];
  return `Dice under the ${promptName(context.primaryPrompt)} prompt` +
    `${context.simulated ? " on simulated tumours" : ""}, mean ± standard deviation over ` +
    `${plural(scored.slices, "slice")} of ${plural(scored.patients, "patient")} ` +
    `(${context.scoredOn} split); comparisons are differences in percentage points.`;
}

/** What is needed to make the table again; the command stands apart. */
function settings({ context }: ComparisonTable): string[] {
  const splits = Object.entries(context.splits).map(([name, size]) =>
    `${name} ${plural(size.patients, "patient")}, ${plural(size.slices, "slice")}`
  );
  return [
    `Data: ${context.dataset}${context.simulated ? " (simulated tumours)" : ""}; ` +
    `${splits.join("; ")}`,
    `Model: ${context.baseModel}, side ${context.side} px, ${plural(context.epochs, "epoch")}, ` +
    `seed ${context.seed}`,
    `Adapter: ${context.adapter}`,
  ];
}

function markdownGrid({ header, rows }: Grid): string {
  const line = (cells: string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const rule = header.map((_, column) => (column === 0 ? "---" : "---:"));
  return [line(header), line(rule), ...rows.map(line)].join("\n");
}

function textGrid({ header, rows }: Grid): string {
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
  return [
    caption(table),
    markdownGrid(accuracyGrid(table)),
    markdownGrid(detailGrid(table)),
    [
      ...settings(table).map((line) => `- ${line}`),
      `- Command: \`${table.context.command}\``,
    ].join("\n"),
  ].join("\n\n") + "\n";
}

/** The same table for a terminal: plain text, columns aligned. */
export function tableText(table: ComparisonTable): string {
  return [
    caption(table),
    textGrid(accuracyGrid(table)),
    textGrid(detailGrid(table)),
    [...settings(table), `Command: ${table.context.command}`].join("\n"),
  ].join("\n\n") + "\n";
}

/**
 * Writes `table.md` and `table.json` into `folder`.
 *
 * @throws {InputError} if the folder cannot be written to.
 */
export async function writeTable(folder: string, table: ComparisonTable): Promise<void> {
  await writeFileAtomic(join(folder, "table.md"), tableMarkdown(table));
  await writeFileAtomic(join(folder, "table.json"), JSON.stringify(table, null, 2) + "\n");
}
