/**
 * Cost and course of training, masks of single slices, and the runs that a guard ended.
 *
 * @module
 */
import { contactSheet, type Sheet } from "../contact_sheet.ts";
import type { Training } from "../../study/read_study.ts";
import type { ComparedRow } from "../../study/results.ts";
import type { Block, FigureBlock, TableBlock } from "../document.ts";
import { absent, count, mebibytes, promptName, seconds } from "../format.ts";
import { CURVES_IN_A_ROW, lossCurves } from "../loss_curves.ts";
import { rasterize } from "../rasterize.ts";
import { type Subject, valueText } from "./subject.ts";

/** Parameters, time and memory, and the curves of every training. */
export function trainingSection(subject: Subject): Block[] {
  const trained = subject.modelRows
    .filter(({ trainableParameters }) => (trainableParameters ?? 0) > 0);
  if (trained.length === 0) return [];
  return [
    { kind: "heading", level: 2, text: "Training and its cost" },
    costTable(subject, trained),
    ...curveFigures(subject),
  ];
}

/** Trainings that are drawn; of more the first of each model. */
const MOST_CURVES = 60;

/** Loss and Dice of every training by epoch, a few in a figure. */
function curveFigures({ models }: Subject): FigureBlock[] {
  const count = models.reduce((sum, { trainings }) => sum + trainings.length, 0);
  const isMany = count > MOST_CURVES;
  const drawn = isMany
    ? models.slice(0, MOST_CURVES).map((model) => ({
      ...model,
      trainings: model.trainings.slice(0, 1),
    }))
    : models;
  const curves = drawn.flatMap(({ name, trainings, config }) =>
    trainings.map(({ part, epochs, earlyStoppingEpoch }) => ({
      name: part ? `${name}, ${part}` : name,
      metrics: epochs,
      earlyStoppingEpoch,
      keptLast: config.keep === "last",
    }))
  );
  const prompt = promptName(valueText(models.at(-1)!.config.validationPrompt));
  return Array.from({ length: Math.ceil(curves.length / CURVES_IN_A_ROW) }, (_, i) => {
    const own = curves.slice(i * CURVES_IN_A_ROW, (i + 1) * CURVES_IN_A_ROW);
    return {
      kind: "figure",
      name: i === 0 ? "loss_curves" : `loss_curves_${i + 1}`,
      alt: `Loss and Dice by epoch of ${own.map(({ name }) => name).join(", ")}`,
      caption:
        `Loss (cross-entropy + Dice) and Dice by epoch on the training slices, as they are trained on (under the ` +
        `prompts and augmentations of training), and on the validation slices (${prompt}). ` +
        `Diamond and dotted line: the epoch with the best validation Dice${keptText(own)}${
          own.some(({ earlyStoppingEpoch }) => earlyStoppingEpoch !== null)
            ? "; dashed line: where early stopping ended the training, or would have"
            : ""
        }.${isMany ? ` Of ${count} trainings the first of each model.` : ""}`,
      draw: (palette) => lossCurves(own, palette),
    };
  });
}

/** Trained parameters, wall time, memory and epochs of each model. */
function costTable({ models, context }: Subject, trained: readonly ComparedRow[]): TableBlock {
  const hasMemory = trained.some(({ peakGpuBytes }) => peakGpuBytes);
  return {
    kind: "table",
    caption:
      `What was trained, and what it took on ${context.adapter}: wall time of a step (the median ` +
      `epoch's mean, ${
        valueText(models.at(-1)!.config.batchSize)
      } slices a batch) and of all steps` +
      (hasMemory
        ? `; the most device memory held at a time, cached activations of frozen layers included`
        : "") +
      `. Best epoch: that of the highest validation Dice.`,
    header: [
      "Model",
      "Trainable parameters",
      "s a step",
      "Training, s",
      ...(hasMemory ? ["Peak GPU memory, MiB"] : []),
      "Epochs",
      "Best epoch",
      "Stopped early",
    ],
    rows: trained.map((row) => {
      const trainings = models.find(({ name }) => name === row.model)?.trainings ?? [];
      const of = (value: (training: Training) => string) =>
        trainings.length === 0 ? absent : [...new Set(trainings.map(value))].join(", ");
      return [
        row.model,
        count(row.trainableParameters),
        seconds(row.secondsPerStep),
        seconds(row.trainSeconds),
        ...(hasMemory ? [mebibytes(row.peakGpuBytes)] : []),
        of(({ epochs }) => String(epochs.length)),
        count(row.bestEpoch),
        of(stoppedText),
      ];
    }),
  };
}

function stoppedText({ stoppedEarly, earlyStoppingEpoch }: Training): string {
  if (stoppedEarly) return "yes";
  return earlyStoppingEpoch === null ? "no" : `no (would have, after ${earlyStoppingEpoch})`;
}

/** Says if the best epoch's weights of some trainings were scored, or the last's. */
function keptText(
  curves: readonly { readonly name: string; readonly keptLast: boolean }[],
): string {
  const last = curves.filter(({ keptLast }) => keptLast).map(({ name }) => name);
  if (last.length === 0) return ", whose weights were scored";
  return last.length === curves.length
    ? "; scored were the last epoch's weights"
    : `, whose weights were scored, but of ${last.join(", ")} the last epoch's`;
}

/** The contact sheet. */
export function casesSection(sheet: Sheet | null, subject: Subject): Block[] {
  if (!sheet || sheet.cases.length === 0) return [];
  return [{ kind: "heading", level: 2, text: "Cases" }, {
    kind: "figure",
    name: "cases",
    alt: `Best, median and worst test slices with the outlines of the truth and of the masks of ${
      sheet.models.join(", ")
    }`,
    caption:
      `Best, median and worst test slices under the ${
        promptName(subject.primary)
      } prompt, ranked by the mean Dice of the models shown; of each, slices of different patients where there ` +
      `are such. Left: the slice, with the place of the close-up. Solid: truth; dashed: the model's mask, with its Dice.`,
    draw: (palette) => contactSheet(sheet, palette),
    rasterize,
  }];
}

/** Runs that a guard has ended. */
export function guardSection({ study }: Subject): Block[] {
  if (study.stopped.length === 0) return [];
  return [{ kind: "heading", level: 2, text: "Rows that a guard stopped" }, {
    kind: "table",
    caption:
      `Runs whose figures would have meant nothing: a guard ended them, and no table or figure holds them.`,
    header: ["Run", "Guard", "What was seen", "Step"],
    words: 3,
    rows: study.stopped.map(({ experiment, guard, message, step }) => [
      experiment,
      guard,
      message,
      count(step),
    ]),
  }];
}
