import { markdownTable } from "../../lib/report/markdown_table.ts";
import type { Environment } from "../../lib/study/results.ts";
import { type FaultRun, SCORED } from "./run_fault.ts";

/** The autopsy's table: rows with what they share. */
export interface AutopsyTable {
  readonly dataset: string;
  /** The config of every run, but for what its fault changes. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly splits: Readonly<Record<string, { readonly patients: number; readonly slices: number }>>;
  /** Dice of a mask of ones on the test slices. */
  readonly allOnes: number;
  readonly environment: Environment;
  /** The runs; their curves stand in the JSON alone. */
  readonly runs: readonly FaultRun[];
}

/** A share in percent, to a tenth. */
export const percent = (share: number) => (100 * share).toFixed(1);

/** The guards that saw a fault, each with its step. */
function caughtBy({ caught }: FaultRun): string {
  if (caught.length === 0) return "–";
  return caught.map(({ guard, step }) => `${guard} (${step})`).join(", ");
}

/** The table itself, a row a run. */
function rowsOf(runs: readonly FaultRun[]): string {
  const [primary, automatic] = SCORED;
  const columns: readonly (readonly [header: string, cell: (run: FaultRun) => string])[] = [
    ["Fault", ({ title }) => title],
    ["What goes wrong", ({ what }) => what],
    ["Caught by (after steps)", caughtBy],
    ["Steps", ({ steps }) => String(steps)],
    ["Reported Dice (%)", ({ reported }) => percent(reported)],
    ["Test Dice, tight box (%)", ({ test }) => percent(test[primary].dice)],
    ["Image on (%)", ({ test }) => percent(test[primary].predicted)],
    ["Test Dice, whole image (%)", ({ test }) => percent(test[automatic].dice)],
    ["Image on (%)", ({ test }) => percent(test[automatic].predicted)],
  ];
  return markdownTable({
    header: columns.map(([header]) => header),
    rows: runs.map((run) => columns.map(([, cell]) => cell(run))),
    words: 3,
  });
}

/** Data, model, device and command, which all rows share. */
function circumstances({ dataset, config, splits, environment }: AutopsyTable): string {
  const parts = Object.entries(splits).map(([name, { patients, slices }]) =>
    `${name} ${patients} patients, ${slices} slices`
  );
  return [
    `- Data: ${dataset}; ${parts.join("; ")}`,
    `- Model: MobileSAM with LoRA-16 on ${config.targets} unless a row says otherwise, side ` +
    `${config.side} px, ${config.epochs} epochs, learning rate ${config.learningRate}, prompt ` +
    `${config.prompt}, seed ${config.seed}`,
    `- Adapter: ${environment.adapter.name} (${environment.adapter.type})`,
    `- Command: \`${environment.command}\``,
  ].join("\n");
}

/** The content of table.md. */
export function autopsyMarkdown(table: AutopsyTable): string {
  const { runs } = table;
  const missed = runs.filter(({ caught, title }) =>
    caught.length === 0 && !title.startsWith("None")
  ).map(({ title }) => title);
  const [first] = runs.flatMap(({ caught }) => caught.slice(0, 1));
  return [
    `Faults of published code, each put into the place of a sound part of one and the same training. ` +
    `In every run guards were watching and not ` +
    `allowed to end it: a row says which would have, after how many optimiser steps (0 is before the ` +
    `first), and how the training ended all the same after all its steps.`,
    rowsOf(runs),
    `Reported is what the faulty program itself would have printed: its last validation Dice. Test ` +
    `Dice and share of the image that is on are scored soundly, on patients that no run has seen; a ` +
    `mask of ones would have a Dice of ${percent(table.allOnes)} %.`,
    ...(missed.length > 0
      ? [
        `No guard objects to: ${missed.join("; ")}. In so short a training nothing could be seen.`,
      ]
      : []),
    `One seed and few slices: differences between rows of some points of Dice mean nothing. Under a ` +
    `tight box most faults leave the pretrained model's Dice about as it was, so that Dice alone does ` +
    `not show them.`,
    ...(first ? [`What a guard says, for example: "${first.message}"`] : []),
    circumstances(table),
  ].join("\n\n") + "\n";
}
