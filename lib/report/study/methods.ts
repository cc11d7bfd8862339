/**
 * Data, methods, and all that is needed to make a study again.
 *
 * @module
 */
import type { Block } from "../document.ts";
import { count, plural, promptName } from "../format.ts";
import type { StudyModel } from "../../study/read_study.ts";
import { configFields, methodLabel, type Subject, valueText } from "./subject.ts";

/** Each kind of model: the name of several of it, and a description. */
const KINDS: Readonly<Record<string, { name: string; is: string }>> = {
  vanilla: { name: "Vanilla", is: "as it comes" },
  peft: { name: "PEFT (decoder only)", is: "the mask decoder alone is trained" },
  full: { name: "Full fine-tunes", is: "whole modules are trained" },
  lora: {
    name: "all others",
    is: "adapters, pretrained weights frozen but for what the placement map hatches",
  },
};

/** A value of the configuration that all models share; undefined if they do not. */
function sharedValue(models: readonly StudyModel[], field: string): unknown {
  const values = new Set(models.map(({ config }) => JSON.stringify(config[field])));
  return values.size === 1 ? models[0].config[field] : undefined;
}

/** The prompts of a training: one kind, `mixed`, or the chance of each kind. */
function promptsText(prompt: unknown): string {
  if (prompt === "mixed") return "tight box, box ±20 % and whole image in equal shares";
  if (typeof prompt === "string") return promptName(prompt);
  if (typeof prompt !== "object" || prompt === null) return valueText(prompt);
  const chances = Object.entries(prompt);
  const total = chances.reduce((sum, [, chance]) => sum + Number(chance), 0);
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
    ...(of("precision") === "f16" ? ["products of halves, the loss scaled"] : []),
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
  const { study: { table, notes: { notes: own, references } } } = subject;
  const notes = [...table.context.notes ?? [], ...own];
  const trained = subject.models.filter(({ trainableParameters }) => trainableParameters > 0);
  const items: (readonly [name: string, text: string])[] = [
    ["Data", dataText(subject)],
    ["Model", modelText(subject)],
    ...(trained.length > 0 ? [["Training", trainingText(trained)] as const] : []),
    ...(subject.models.some(({ wiseFt }) => wiseFt !== undefined)
      ? [["WiSE-FT", WISE_FT] as const]
      : []),
    ["Prompts", PROMPTS],
    ["Metrics", METRIC_RULES],
    ["Statistics", statisticsText(subject)],
  ];
  return [
    { kind: "heading", level: 2, text: "Data and methods" },
    { kind: "list", items: items.map(([name, text]) => [{ strong: `${name}. ` }, text]) },
    ...(notes.length > 0 ? [{ kind: "list", items: notes } as const] : []),
    ...(references.length > 0
      ? [
        {
          kind: "table",
          caption: `Figures from elsewhere to compare with.`,
          header: ["Reference", "Dice, %", "Source"],
          rows: references.map(({ name, dice, source }) => [name, (100 * dice).toFixed(1), source]),
        } as const,
      ]
      : []),
  ];
}

const WISE_FT =
  `Models with this name and a share a have the weights of the model they are named after, drawn back towards ` +
  `the pretrained ones without further training: 1 − a of the pretrained, a of the trained weights, and a ` +
  `times an adapter's update (Wortsman et al. 2022, “Robust fine-tuning of zero-shot models”).`;

const PROMPTS =
  `Every model is scored under the same prompts on the same slices with the same fixed seeds. Prompts other than the whole image are made ` +
  `from the truth and give part of it away.`;

const METRIC_RULES =
  `Dice, IoU, 95 % Hausdorff distance and surface Dice at 1 and 2 mm in the scan's own spacing. ` +
  `Of volumes there are distances, lesions and sizes only where every slice was scored; of a scan of one slice ` +
  `its outline in the plane is the boundary. ` +
  `Truth and prediction both empty score as perfect, one of them empty as worst (for distances: the ` +
  `diagonal of the grid), as in the BraTS challenges. A pixel belongs to a mask where its logit is above 0.`;

/** Data set, sizes of its parts, and what the crop loses. */
function dataText({ study: { crop, split }, context }: Subject): string {
  const parts = Object.entries(context.splits).map(([name, size]) =>
    `${name}: ${plural(size.patients, "patient")}, ${plural(size.slices, "slice")}`
  );
  const seed = split ? ` (split seed ${split.seed})` : "";
  const lost = crop && crop.lostVoxels > 0
    ? ` The crop loses ${count(crop.lostVoxels)} of ${count(crop.tumourVoxels)} tumour voxels and ${
      plural(crop.lostSlices, "slice")
    }.`
    : "";
  return `${context.dataset}; ${
    parts.join("; ")
  }. All scans of a patient lie in one part${seed}.${lost}`;
}

/** Pretrained model, its input, and the kinds of rows made of it. */
function modelText({ context, rows, models }: Subject): string {
  const adapted = models.filter(({ rank }) => rank !== undefined);
  const methods = [...new Set(adapted.map(methodLabel))].join(" and ");
  const kinds = Object.entries(KINDS).flatMap(([kind, { name, is }]) => {
    const own = rows.filter((row) => row.kind === kind);
    const what = kind === "lora" ? `${methods} ${is}` : is;
    return own.length === 0 ? [] : [`${own.length === 1 ? own[0].model : name}: ${what}`];
  });
  return `${context.baseModel} at an input side of ${context.side} pixels, up to ${
    plural(context.epochs, "epoch")
  }, ${context.pooled ?? `seed ${context.seed}`}. ${kinds.join("; ")}.`;
}

/** Intervals and tests, and what they do not cover. */
function statisticsText(subject: Subject): string {
  const { context, hasTests, hasIntervals, hasWiseFt } = subject;
  const sentences = [
    `Patients are the unit of means, standard deviations, intervals and tests alike: a patient's score is the ` +
    `mean over their slices (of volumes: over their scans), and over training seeds.`,
    subject.intervalNote,
    ...(hasIntervals ? ["They are not adjusted for the number of comparisons."] : []),
    ...(hasTests
      ? [
        `Tests: two-sided Wilcoxon signed-rank on patients' mean paired differences, exact up to 50 ` +
        `patients; Holm's adjustment over all comparisons under one prompt by one metric.`,
      ]
      : []),
    ...(hasWiseFt
      ? [
        `Models of WiSE-FT are compared with vanilla and with PEFT of the same share, not with others.`,
      ]
      : []),
    ...(hasIntervals
      ? [
        `The intervals describe these trained models on other patients; they do not cover what another ` +
        `training seed would change${context.pooled ? ", beyond the seeds pooled here" : ""}.`,
      ]
      : []),
  ];
  return sentences.join(" ");
}

/** The command, the machine, and every value. */
export function reproductionSection(subject: Subject): Block[] {
  const { models } = subject;
  const { shared, varying } = configFields(models);
  const differing: Block = {
    kind: "table",
    caption: `Values in which the models differ.`,
    header: ["Model", ...varying],
    words: varying.length + 1,
    rows: models.map(({ name, config }) => [
      name,
      ...varying.map((field) => valueText(config[field])),
    ]),
  };
  return [
    { kind: "heading", level: 2, text: "To make it again" },
    { kind: "code", text: subject.context.command },
    ...environmentTable(subject),
    ...(varying.length > 0 ? [differing] : []),
    {
      kind: "details",
      summary: "Every value that the models share",
      blocks: [{
        kind: "table",
        caption: `Values of the configuration; – is none.`,
        header: ["Value", ""],
        words: 2,
        rows: shared.map((field) => [field, valueText(models[0].config[field])]),
      }],
    },
    ...splitTable(subject),
  ];
}

/** Machine, versions and seeds. */
function environmentTable({ study: { environment, parts }, context }: Subject): Block[] {
  if (!environment) return [];
  return [{
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
      ...(parts.length > 0 ? [["Parts", parts.join(", ")]] : []),
    ],
  }];
}

/** Patients of each part of the split. */
function splitTable({ study: { split, parts } }: Subject): Block[] {
  if (!split) return [];
  return [{
    kind: "details",
    summary: "Patients of each part",
    blocks: [{
      kind: "table",
      caption: `The split by patient, seed ${split.seed}${
        parts.length > 0 ? `, of ${parts[0]}` : ""
      }.`,
      header: ["Part", "Patients", ""],
      words: 3,
      rows: (["train", "validation", "test"] as const).map((part) => [
        part,
        count(split[part].length),
        split[part].join(", "),
      ]),
    }],
  }];
}
