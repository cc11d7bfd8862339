/**
 * Data, methods, and all that is needed to make a study again.
 *
 * @module
 */
import type { Block, Text } from "../document.ts";
import { count, plural, promptName } from "../format.ts";
import type { StudyModel } from "../../study/read_study.ts";
import { configFields, type Subject, valueText } from "./subject.ts";

/** Each kind of model: the name of several of it, and a description. */
const KINDS: Readonly<Record<string, { name: string; is: string }>> = {
  vanilla: { name: "Vanilla", is: "as it comes" },
  peft: { name: "PEFT (decoder only)", is: "the mask decoder alone is trained" },
  full: { name: "Full fine-tunes", is: "whole modules are trained" },
  lora: {
    name: "all others",
    is: "low-rank adapters, pretrained weights frozen but for what the placement map hatches",
  },
};

/** Clauses as one sentence. */
function sentence(clauses: readonly string[]): string {
  return clauses.join("; ") + ".";
}

/** Below this many patients the percentile bootstrap is too narrow to pass over in silence. */
const FEW_PATIENTS = 20;

/** A value of the configuration that all models share; undefined if they do not. */
function sharedValue(models: readonly StudyModel[], field: string): unknown {
  const values = new Set(models.map(({ config }) => JSON.stringify(config[field])));
  return values.size === 1 ? models[0].config[field] : undefined;
}

/** The prompts of a training: one kind, `mixed`, or the chance of each kind. */
function promptsText(prompt: unknown): string {
  if (prompt === "mixed") return "tight box, box ±20 % and whole image in equal shares";
  if (typeof prompt === "string") return promptName(prompt);
  const chances = Object.entries(prompt as Readonly<Record<string, number>>);
  const total = chances.reduce((sum, [, chance]) => sum + chance, 0);
  return chances.map(([kind, chance]) =>
    `${promptName(kind)} (${Number((100 * chance / total).toPrecision(3))} %)`
  ).join(", ");
}

const OPTIMIZERS: Readonly<Record<string, string>> = { adam: "Adam", adamw: "AdamW" };

/** Settings of training that all models share; the others stand in a table. */
function trainingText(models: readonly StudyModel[]): string {
  const of = (field: string) => sharedValue(models, field);
  const [optimizer, rate, pretrainedRate, batch, warmup] = [
    of("optimizer"),
    of("learningRate"),
    of("pretrainedLearningRate"),
    of("batchSize"),
    of("warmupSteps"),
  ];
  const [schedule, prompt] = [of("schedule"), of("prompt")];
  const clauses = [
    "Loss: binary cross-entropy plus soft Dice",
    ...(optimizer === undefined ? [] : [OPTIMIZERS[String(optimizer)] ?? String(optimizer)]),
    ...(rate === undefined ? [] : [`learning rate ${rate}`]),
    ...(pretrainedRate ? [`of pretrained weights ${pretrainedRate}`] : []),
    ...(warmup ? [`${warmup} steps of warm-up`] : []),
    ...(schedule === "cosine" ? ["cosine decay"] : []),
    ...(batch === undefined ? [] : [`${batch} slices a batch`]),
    ...(prompt === undefined ? [] : [`prompts: ${promptsText(prompt)}`]),
  ];
  const validation = of("validationPrompt");
  const epoch = models.every(({ config }) => config.keep === "last")
    ? "last epoch"
    : models.some(({ config }) => config.keep === "last")
    ? "best or the last epoch, as the configuration says,"
    : "epoch with the highest validation Dice";
  return `${clauses.join("; ")}. The weights of the ${epoch} are scored${
    validation === undefined ? "" : `; validation is under the ${promptName(String(validation))}`
  }.`;
}

/** Data, models, prompts, metrics and statistics, with the notes of the study. */
export function methodsSection(subject: Subject): Block[] {
  const { study, context, models } = subject;
  const { notes, crop } = study;
  const trained = models.filter(({ trainableParameters }) => trainableParameters > 0);
  const parts = Object.entries(context.splits).map(([name, size]) =>
    `${name}: ${plural(size.patients, "patient")}, ${plural(size.slices, "slice")}`
  );
  const { patients } = context.splits[context.scoredOn];
  const intervals = subject.rows.some(({ dice }) => dice[subject.primary]?.interval);
  const kinds = Object.entries(KINDS).flatMap(([kind, what]) => {
    const own = subject.rows.filter((row) => row.kind === kind);
    return own.length === 0 ? [] : [`${own.length === 1 ? own[0].model : what.name}: ${what.is}`];
  });
  const items: Text[] = [
    [
      { strong: "Data. " },
      `${context.dataset}; ${parts.join("; ")}. All scans of a patient lie in one part${
        study.split ? ` (split seed ${study.split.seed})` : ""
      }.${
        crop && crop.lostVoxels > 0
          ? ` The crop loses ${count(crop.lostVoxels)} of ${
            count(crop.tumourVoxels)
          } tumour voxels and ${plural(crop.lostSlices, "slice")}.`
          : ""
      }`,
    ],
    [
      { strong: "Model. " },
      `${context.baseModel} at an input side of ${context.side} pixels, up to ${
        plural(context.epochs, "epoch")
      }, ${context.pooled ?? `seed ${context.seed}`}. ${sentence(kinds)}`,
    ],
    ...(trained.length > 0 ? [[{ strong: "Training. " }, trainingText(trained)]] : []),
    ...(models.some(({ wiseFt }) => wiseFt !== undefined)
      ? [[
        { strong: "WiSE-FT. " },
        `Models with this name and a share a have the weights of the model they are named after, drawn back towards ` +
        `the pretrained ones without further training: 1 − a of the pretrained, a of the trained weights, and a ` +
        `times an adapter's update (Wortsman et al. 2022, “Robust fine-tuning of zero-shot models”).`,
      ]]
      : []),
    [
      { strong: "Prompts. " },
      `Every model is scored under all prompts on the same slices with the same fixed seeds. Prompts other than the whole image are made ` +
      `from the truth and give part of it away.`,
    ],
    [
      { strong: "Metrics. " },
      `Dice, IoU, 95 % Hausdorff distance and surface Dice at 1 and 2 mm in the scan's own spacing. ` +
      `Truth and prediction both empty score as perfect, one of them empty as worst (for distances: the ` +
      `diagonal of the grid), as in the BraTS challenges. A pixel belongs to a mask where its logit is above 0.`,
    ],
  ];
  const tests = study.table.statistics.length > 0
    ? ` Tests: two-sided Wilcoxon signed-rank on patients' mean paired differences, exact up to 50 ` +
      `patients; Holm's adjustment over all comparisons under one prompt by one metric.`
    : "";
  if (intervals) {
    items.push([
      { strong: "Statistics. " },
      `Patients are the unit. 95 % intervals: percentiles of 2,000 bootstrap means with patients ` +
      `resampled, each with all its slices; they are not adjusted for the number of comparisons.${tests}${
        patients < FEW_PATIENTS
          ? ` Of few patients (here ${patients}) such intervals are too narrow: one that leaves out 0 is no proof of ` +
            `a difference; the tests decide that.`
          : ""
      } The intervals describe these trained models on other ` +
      `patients; they do not cover what another training seed would change${
        context.pooled ? ", beyond the seeds pooled here" : ""
      }.`,
    ]);
  }
  const blocks: Block[] = [
    { kind: "heading", level: 2, text: "Data and methods" },
    { kind: "list", items },
  ];
  if (notes.notes.length > 0) blocks.push({ kind: "list", items: notes.notes });
  if (notes.references.length > 0) {
    blocks.push({
      kind: "table",
      caption: `Figures from elsewhere to compare with.`,
      header: ["Reference", "Dice, %", "Source"],
      rows: notes.references.map((
        { name, dice, source },
      ) => [name, (100 * dice).toFixed(1), source]),
    });
  }
  return blocks;
}

/** The command, the machine, and every value. */
export function reproductionSection(subject: Subject): Block[] {
  const { study, context, models } = subject;
  const { environment, split } = study;
  const { shared, varying } = configFields(models);
  const blocks: Block[] = [
    { kind: "heading", level: 2, text: "To make it again" },
    { kind: "code", text: context.command },
  ];
  if (environment) {
    blocks.push({
      kind: "table",
      caption: `Where and with what the runs were computed, from the record of the first.`,
      header: ["", ""],
      words: 2,
      rows: [
        ["GPU adapter", `${environment.adapter.name} (${environment.adapter.type})`],
        ["System", environment.os],
        ["Deno", environment.deno],
        ["samlora", `${environment.samlora}, commit ${environment.commit ?? "unknown"}`],
        ["Pretrained weights", environment.weights],
        ["Begun", environment.date.slice(0, 16).replace("T", " ") + " UTC"],
        ["Seed", context.pooled ?? String(context.seed)],
        ...(study.parts.length > 0 ? [["Parts", study.parts.join(", ")]] : []),
      ],
    });
  }
  if (varying.length > 0) {
    blocks.push({
      kind: "table",
      caption: `Values in which the models differ.`,
      header: ["Model", ...varying],
      words: varying.length + 1,
      rows: models.map((
        { name, config },
      ) => [name, ...varying.map((field) => valueText(config[field]))]),
    });
  }
  blocks.push({
    kind: "details",
    summary: "Every value that the models share",
    blocks: [{
      kind: "table",
      caption: `Values of the configuration; – is none.`,
      header: ["Value", ""],
      words: 2,
      rows: shared.map((field) => [field, valueText(models[0].config[field])]),
    }],
  });
  if (split) {
    blocks.push({
      kind: "details",
      summary: "Patients of each part",
      blocks: [{
        kind: "table",
        caption: `The split by patient, seed ${split.seed}${
          study.parts.length > 0 ? `, of ${study.parts[0]}` : ""
        }.`,
        header: ["Part", "Patients", ""],
        words: 3,
        rows: (["train", "validation", "test"] as const).map((part) => [
          part,
          count(split[part].length),
          split[part].join(", "),
        ]),
      }],
    });
  }
  return blocks;
}
