import { promptName } from "../../lib/report/format.ts";
import { assertEquals, assertStringIncludes } from "@std/assert";
import * as comparison from "../../lib/study/comparison.ts";
import type { ComparisonContext, ComparisonRow } from "../../lib/study/results.ts";
import { tableMarkdown, tableText } from "../../lib/report/table.ts";

/** A table without tests and verdicts. */
const compareRows = (rows: readonly ComparisonRow[], context: ComparisonContext) => ({
  ...comparison.compareRows(rows, context),
  statistics: [],
  verdicts: [],
});

const context: ComparisonContext = {
  dataset: "sample",
  baseModel: "MobileSAM",
  side: 256,
  seed: 0,
  epochs: 1,
  adapter: "llvmpipe (CPU)",
  command: "./run experiments",
  splits: {
    train: { patients: 12, slices: 1441 },
    test: { patients: 1, slices: 20 },
  },
  scoredOn: "test",
  primaryPrompt: "tight-box",
};

function score(mean: number, sd = 0.05) {
  return { mean, sd, n: 20 };
}

const trivial: ComparisonRow = {
  model: "Filled box",
  kind: "trivial",
  dice: { "tight-box": score(0.85), "whole-image": score(0.034) },
};
const vanilla: ComparisonRow = {
  model: "Vanilla",
  kind: "vanilla",
  dice: { "tight-box": score(0.84) },
};
const peft: ComparisonRow = { model: "PEFT", kind: "peft", dice: { "tight-box": score(0.877) } };
const lora: ComparisonRow = {
  model: "LoRA-64",
  kind: "lora",
  dice: { "tight-box": score(0.021), point: score(0.5) },
  iou: { "tight-box": score(0.0106) },
  trainableParameters: 1234567,
  secondsPerStep: 0.4321,
  trainSeconds: 1234.5,
  bestEpoch: 34,
};

/** The cells of the row that starts with `model`, one array for each of the two tables. */
function cells(markdown: string, model: string): string[][] {
  return markdown.split("\n").filter((line) => line.startsWith(`| ${model} |`))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

Deno.test("comparisons are signed differences in percentage points, as the study printed them", () => {
  const markdown = tableMarkdown(compareRows([trivial, lora, peft, vanilla], context));
  assertEquals(cells(markdown, "LoRA-64")[0], ["LoRA-64", "2.1 ± 5.0", "−85.6", "−81.9"]);
  assertEquals(cells(markdown, "PEFT (decoder only)")[0], [
    "PEFT (decoder only)",
    "87.7 ± 5.0",
    "–",
    "+3.7",
  ]);
  assertEquals(cells(markdown, "Vanilla")[0], ["Vanilla", "84.0 ± 5.0", "−3.7", "–"]);
  assertEquals(cells(markdown, "Filled box")[0], ["Filled box", "85.0 ± 5.0", "−2.7", "+1.0"]);
});

Deno.test("a difference that rounds to nothing has no sign", () => {
  const equal = { ...lora, dice: { "tight-box": score(0.83999) } };
  const markdown = tableMarkdown(compareRows([vanilla, equal], context));
  assertEquals(cells(markdown, "LoRA-64")[0][3], "0.0");
});

Deno.test("what was not run is an en dash in text and null in JSON", () => {
  const unscored: ComparisonRow = { model: "LoRA-16", kind: "lora", dice: { point: score(0.4) } };
  const table = compareRows([vanilla, lora, unscored], context);
  const markdown = tableMarkdown(table);
  assertEquals(cells(markdown, "LoRA-64")[0][2], "–");
  assertEquals(cells(markdown, "LoRA-16")[0], ["LoRA-16", "–", "–", "–"]);
  assertEquals(table.rows.map((row) => row.peftComparison), [null, null, null]);
  assertEquals(table.rows[2].accuracy, null);
});

Deno.test("rows are vanilla, PEFT, adapters, then trivial predictors, each kind as given", () => {
  const second = { ...lora, model: "LoRA-128" };
  const table = compareRows([trivial, lora, second, peft, vanilla], context);
  assertEquals(table.rows.map((row) => row.model), [
    "Vanilla",
    "PEFT",
    "LoRA-64",
    "LoRA-128",
    "Filled box",
  ]);
});

Deno.test("the second table has the other prompts, the third IoU and cost", () => {
  const markdown = tableMarkdown(compareRows([vanilla, lora, trivial], context));
  // A prompt that predictors alone were scored under is no column.
  assertStringIncludes(markdown, "| Dice (%) | point |\n");
  assertEquals(cells(markdown, "LoRA-64")[1], ["LoRA-64", "50.0"]);
  assertEquals(cells(markdown, "Filled box")[1], ["Filled box", "–"]);
  assertStringIncludes(
    markdown,
    "| Model | IoU, tight box (%) | Trainable parameters | s/step | Training (s) | Best epoch |",
  );
  assertEquals(cells(markdown, "LoRA-64")[2], [
    "LoRA-64",
    "1.1 ± 5.0",
    "1,234,567",
    "0.432",
    "1235",
    "34",
  ]);
  assertEquals(cells(markdown, "Filled box")[2].slice(1), ["–", "–", "–", "–", "–"]);
});

Deno.test("a prompt under which rows were compared has a table of its own, with the rows scored under it", () => {
  const test = { p: 0.001, interval: null, patients: 9, model: "LoRA-64", reference: "Vanilla" };
  const signedRank = { statistic: 0, n: 9, method: "exact" as const };
  const comparisons = [{ ...test, ...signedRank, difference: 0.123, pHolm: 0.004 }];
  const pointed = { ...vanilla, dice: { ...vanilla.dice, point: score(0.4) } };
  const table = {
    ...compareRows([pointed, lora, trivial], context),
    statistics: [{ prompt: "point" as const, metric: "dice" as const, comparisons }],
  };
  const markdown = tableMarkdown(table);
  assertEquals(cells(markdown, "LoRA-64")[1], [
    "LoRA-64",
    "50.0 ± 5.0",
    "–",
    "–",
    "+12.3", // the tested difference, not that of the means
    "0.004",
  ]);
  assertEquals(cells(markdown, "Filled box").length, 2); // without a row under the point
  assertStringIncludes(markdown, "then in tables of their own under point:");
});

Deno.test("intervals and adjusted p values stand beside what they belong to, where they were found", () => {
  const test = { p: 0.001, pHolm: 0.0121, interval: [0.01, 0.05] as const, patients: 9 };
  const tests = {
    vanilla: { ...test, difference: 0.0601, pHolm: 0.0002 },
    peft: { ...test, difference: 0.0245 },
  };
  const certain: ComparisonRow = {
    ...lora,
    dice: { "tight-box": { ...score(0.9), interval: [0.8712, 0.931] } },
    tests,
  };
  const markdown = tableMarkdown(compareRows([vanilla, peft, certain], context));
  assertEquals(cells(markdown, "LoRA-64")[0], [
    "LoRA-64",
    "90.0 ± 5.0",
    "87.1 to 93.1",
    "+2.5", // the tested difference, of the patients of both, not that of the means
    "0.012",
    "+6.0",
    "< 0.001",
  ]);
  assertEquals(cells(markdown, "PEFT (decoder only)")[0].slice(2), ["–", "–", "–", "+3.7", "–"]);
  assertStringIncludes(markdown, "Holm-adjusted");
});

Deno.test("the other metrics are those of the primary prompt, in their units", () => {
  const measured: ComparisonRow = {
    ...lora,
    metrics: {
      hd95: score(3.456),
      surfaceDice1mm: score(0.789),
      surfaceDice2mm: score(0.9),
      falsePositive: score(41.7),
      signedVolumeError: score(-0.123),
      absoluteVolumeError: score(0.234),
    },
  };
  const markdown = tableMarkdown(compareRows([vanilla, measured], context));
  assertEquals(cells(markdown, "LoRA-64")[2].slice(2, 8), [
    "3.46",
    "78.9",
    "90.0",
    "42",
    "−12.3",
    "23.4",
  ]);
  assertEquals(cells(markdown, "Vanilla")[2].slice(2, 8), Array(6).fill("–"));
});

Deno.test("prompts are called what they are", () => {
  assertEquals(
    ["tight-box", "jittered-box", "jittered-box-5", "points-5", "clicks-3"].map(promptName),
    ["tight box", "box ±20 %", "box ±5 %", "5 points", "3 clicks"],
  );
});

Deno.test("the caption counts what was scored", () => {
  const markdown = tableMarkdown(compareRows([vanilla], context));
  assertStringIncludes(markdown, "over 1 patient, each of whom has the mean over their slices");
  assertStringIncludes(markdown, "(20 slices in all, test split)");
  assertStringIncludes(markdown, "no interval: of fewer than 10 patients (here 1)");
  assertStringIncludes(markdown, "train 12 patients, 1,441 slices");
});

Deno.test("the terminal's columns are aligned", () => {
  const lines = tableText(compareRows([trivial, lora, peft, vanilla], context)).split("\n\n")[1]
    .split("\n");
  assertEquals(new Set(lines.map((line) => line.length)).size, 1);
});
