/**
 * What a study's folder holds, read and checked for a report.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import type { RunLengths } from "../formats/run_length.ts";
import { excerpt, InputError } from "../errors.ts";
import { MASK_METRICS, type MaskMetric } from "../metrics/metrics.ts";
import type { EpochMetrics } from "../train/training.ts";
import type { PlacedPart } from "./placement.ts";

const number = v.pipe(v.number(), v.finite());
const count = v.pipe(v.number(), v.integer(), v.minValue(0));
const interval = v.optional(v.nullable(v.tuple([number, number])));
const score = v.object({ mean: number, sd: number, n: count, interval });
const byPrompt = v.record(v.string(), score);
const metrics = v.partial(v.object(
  Object.fromEntries(MASK_METRICS.map((name) => [name, score])) as Record<MaskMetric, typeof score>,
));
const test = v.object({
  p: number,
  pHolm: number,
  interval: v.nullable(v.tuple([number, number])),
  patients: count,
});

const tableSchema = v.object({
  context: v.object({
    dataset: v.string(),
    simulated: v.boolean(),
    baseModel: v.string(),
    side: count,
    seed: count,
    pooled: v.optional(v.string()),
    epochs: count,
    adapter: v.string(),
    command: v.string(),
    splits: v.record(v.string(), v.object({ patients: count, slices: count })),
    scoredOn: v.string(),
    primaryPrompt: v.string(),
  }),
  rows: v.array(v.looseObject({
    model: v.string(),
    kind: v.string(),
    dice: byPrompt,
    iou: v.optional(byPrompt),
    metrics: v.optional(metrics),
    tests: v.optional(v.object({ vanilla: v.optional(test), peft: v.optional(test) })),
    trainableParameters: v.optional(count),
    secondsPerStep: v.optional(number),
    trainSeconds: v.optional(number),
    peakGpuBytes: v.optional(number),
    bestEpoch: v.optional(count),
  })),
});

const placementSchema = v.array(v.object({
  part: v.string(),
  parameters: count,
  trained: count,
  adapters: v.record(v.string(), count),
}));

const summarySchema = v.looseObject({
  experiment: v.looseObject({
    name: v.string(),
    kind: v.string(),
    rank: v.optional(count),
    wiseFt: v.optional(v.looseObject({ of: v.string(), alpha: v.number() })),
  }),
  trainableParameters: count,
  stoppedEarly: v.optional(v.boolean()),
  earlyStoppingEpoch: v.optional(v.nullable(count)),
  placement: v.optional(placementSchema),
  protocol: v.optional(v.object({
    prompts: v.record(
      v.string(),
      v.object({ slices: metrics, cases: metrics, strata: v.record(v.string(), score) }),
    ),
    clicks: v.array(score),
    strataEdges: v.nullable(v.tuple([number, number])),
  })),
});

const statisticsSchema = v.array(v.object({
  prompt: v.string(),
  metric: v.string(),
  comparisons: v.array(v.object({
    model: v.string(),
    reference: v.string(),
    difference: number,
    interval: v.nullable(v.tuple([number, number])),
    patients: count,
    p: number,
    pHolm: number,
  })),
}));

const verdictsSchema = v.array(v.object({
  experiment: v.string(),
  hypothesis: v.string(),
  than: v.string(),
  prompt: v.string(),
  metric: v.picklist(MASK_METRICS),
  expected: v.string(),
  margin: v.optional(number, 0),
  difference: v.nullable(number),
  interval: v.nullable(v.tuple([number, number])),
  p: v.nullable(number),
  pHolm: v.nullable(number),
  patients: count,
  paired: v.optional(count),
  unpaired: v.optional(count, 0),
  verdict: v.picklist(["supported", "refuted", "undecided"]),
}));

const notesSchema = v.strictObject({
  /** Sentences that the report repeats: where the data come from, what a reader must know. */
  notes: v.optional(v.array(v.string()), []),
  /** Figures from elsewhere to compare with. */
  references: v.optional(
    v.array(v.strictObject({
      name: v.string(),
      dice: v.pipe(number, v.minValue(0), v.maxValue(1)),
      source: v.string(),
    })),
    [],
  ),
});

const guardSchema = v.object({ guard: v.string(), message: v.string(), step: v.optional(count) });

const environmentSchema = v.object({
  adapter: v.object({ name: v.string(), type: v.string(), driver: v.optional(v.string()) }),
  deno: v.string(),
  os: v.string(),
  samlora: v.string(),
  commit: v.nullable(v.string()),
  weights: v.string(),
  command: v.string(),
  date: v.string(),
});

const splitSchema = v.object({
  seed: count,
  train: v.array(v.string()),
  validation: v.array(v.string()),
  test: v.array(v.string()),
});

const epochSchema = v.object({
  epoch: count,
  trainLoss: v.nullable(v.number()),
  trainDice: v.nullable(v.number()),
  validationLoss: v.nullable(v.number()),
  validationDice: v.nullable(v.number()),
});

const configSchema = v.object({
  config: v.record(v.string(), v.unknown()),
  data: v.optional(v.object({
    cases: v.optional(count),
    crop: v.optional(v.object({ tumourVoxels: count, lostVoxels: count, lostSlices: count })),
  })),
});

const scoresSchema = v.array(v.object({
  id: v.string(),
  patient: v.string(),
  tumourPixels: count,
  scores: v.record(v.string(), v.object({ dice: number })),
}));

const masksSchema = v.array(v.object({
  id: v.string(),
  size: v.tuple([count, count]),
  counts: v.array(count),
}));

/** The comparison, as table.json holds it. */
export type StudyTable = v.InferOutput<typeof tableSchema>;

/** A row of the comparison. */
export type StudyRow = StudyTable["rows"][number];

/** A hypothesis and what came of it. */
export type Verdict = v.InferOutput<typeof verdictsSchema>[number];

/** Where and with what a run was computed. */
export type RunEnvironment = v.InferOutput<typeof environmentSchema>;

/** A slice's Dice by prompt. */
export type SliceScores = v.InferOutput<typeof scoresSchema>[number];

/** One training of a model: a study has one, a cross-validation one for each fold and seed. */
export interface Training {
  /** The part of a cross-validation, such as `seed_0-fold_1`; empty in a study. */
  readonly part: string;
  readonly epochs: readonly EpochMetrics[];
  /** Whether training ended before its last epoch. */
  readonly stoppedEarly: boolean;
  /** The epoch after which patience had run out, whether training ended there or went on; null if none. */
  readonly earlyStoppingEpoch: number | null;
}

/** A row of a study: an experiment with what is known of it. */
export interface StudyModel {
  /** As tables call it. */
  readonly name: string;
  /** Its folder. */
  readonly experiment: string;
  /** Rank of its adapters. */
  readonly rank?: number;
  /** The trained weights' share, where they are another model's, drawn back to the pretrained ones. */
  readonly wiseFt?: number;
  readonly trainableParameters: number;
  readonly placement?: readonly PlacedPart[];
  readonly protocol?: NonNullable<v.InferOutput<typeof summarySchema>["protocol"]>;
  /** Every value that it depends on. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly trainings: readonly Training[];
  readonly slices: readonly SliceScores[];
  /** Predicted masks under the primary prompt by slice; empty where none were kept. */
  readonly masks: ReadonlyMap<string, RunLengths>;
}

/** A study's folder. */
export interface Study {
  /** Its path. */
  readonly folder: string;
  readonly table: StudyTable;
  /** In the order of the table. */
  readonly models: readonly StudyModel[];
  readonly statistics: v.InferOutput<typeof statisticsSchema>;
  /** Absent if no hypotheses were stated. */
  readonly verdicts: readonly Verdict[];
  readonly notes: v.InferOutput<typeof notesSchema>;
  /** Rows that a guard has stopped. */
  readonly stopped: readonly {
    readonly experiment: string;
    readonly guard: string;
    readonly message: string;
    readonly step?: number;
  }[];
  /** Of the first run. */
  readonly environment: RunEnvironment | null;
  readonly split: v.InferOutput<typeof splitSchema> | null;
  /** What the crop of the slices lost, if it is known. */
  readonly crop: { tumourVoxels: number; lostVoxels: number; lostSlices: number } | null;
  /** Names of the parts of a cross-validation; a study has none. */
  readonly parts: readonly string[];
}

/** How a study is read. */
export interface ReadStudyOptions {
  /** What tables call an experiment of a summary. */
  readonly nameOf: (
    experiment: { name: string; kind: string; rank?: number },
    path: string,
  ) => string;
}

async function readText(path: string): Promise<string | null> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) {
      return null;
    }
    throw new InputError(`${path} cannot be read: see that it is a file and may be read`);
  }
}

function check<T>(schema: v.GenericSchema<unknown, T>, value: unknown, path: string): T {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const where = v.getDotPath(issue);
  throw new InputError(
    `${path} is damaged (${where ? `${excerpt(where)}: ` : ""}${
      excerpt(issue.message.toLowerCase())
    }): restore it, or run that part of the study again`,
  );
}

function parse(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new InputError(
      `${path} is damaged (it is no JSON): restore it, or run that part of the study again`,
    );
  }
}

/** A file that may be absent. */
async function readOptional<T>(
  schema: v.GenericSchema<unknown, T>,
  path: string,
): Promise<T | null> {
  const text = await readText(path);
  return text === null ? null : check(schema, parse(text, path), path);
}

/** A file without which there is no report. */
async function readRequired<T>(schema: v.GenericSchema<unknown, T>, path: string): Promise<T> {
  const found = await readOptional(schema, path);
  if (found === null) {
    throw new InputError(`${path} is missing: name the folder of a whole study, such as results/…`);
  }
  return found;
}

/** A training's epochs; what was not finite is null in the file and NaN here. */
async function readEpochs(path: string): Promise<EpochMetrics[]> {
  const text = await readText(path);
  const lines = (text ?? "").split("\n").filter((line) => line.trim() !== "");
  return lines.map((line, i) => {
    const where = `${path}, line ${i + 1},`;
    const found = check(epochSchema, parse(line, where), where);
    const of = (field: keyof typeof found) => found[field] ?? NaN;
    return {
      epoch: found.epoch,
      trainLoss: of("trainLoss"),
      trainDice: of("trainDice"),
      validationLoss: of("validationLoss"),
      validationDice: of("validationDice"),
      learningRate: NaN,
      steps: 0,
      seconds: 0,
    };
  });
}

async function foldersOf(path: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(path)).catch(() => []);
  return entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();
}

/**
 * Reads a study, or a cross-validation's studies together.
 *
 * @throws {InputError} in one sentence, naming the file that is missing or damaged.
 */
export async function readStudy(folder: string, { nameOf }: ReadStudyOptions): Promise<Study> {
  const table = await readRequired(tableSchema, join(folder, "table.json"));
  const names = await foldersOf(folder);
  const isStudy = (name: string) =>
    Deno.stat(join(folder, name, "table.json")).then(() => true, () => false);
  const parts: string[] = [];
  for (const name of names) if (await isStudy(name)) parts.push(name);

  const models: StudyModel[] = [];
  const stopped: Study["stopped"][number][] = [];
  let environment: RunEnvironment | null = null;
  let split: Study["split"] = null;
  let crop: Study["crop"] = null;
  for (const experiment of names) {
    if (parts.includes(experiment)) continue;
    const own = join(folder, experiment);
    const guard = await readOptional(guardSchema, join(own, "guard.json"));
    if (guard) stopped.push({ experiment, ...guard });
    for (const part of parts) {
      const found = await readOptional(guardSchema, join(folder, part, experiment, "guard.json"));
      if (found) stopped.push({ experiment: `${experiment} (${part})`, ...found });
    }
    const path = join(own, "summary.json");
    const summary = await readOptional(summarySchema, path);
    if (!summary) continue;
    // A pooled row has its trainings, and what they depend on, in the parts.
    const runs = parts.length === 0 ? [own] : parts.map((part) => join(folder, part, experiment));
    const config = await readRequired(configSchema, join(runs[0], "config.json"));
    environment ??= await readOptional(environmentSchema, join(runs[0], "environment.json"));
    split ??= await readOptional(splitSchema, join(runs[0], "split.json"));
    crop ??= config.data?.crop ?? null;
    const trainings: Training[] = [];
    const masks = new Map<string, RunLengths>();
    for (const [i, run] of runs.entries()) {
      const epochs = await readEpochs(join(run, "metrics.jsonl"));
      const { stoppedEarly = false, earlyStoppingEpoch } = run === own
        ? summary
        : await readRequired(summarySchema, join(run, "summary.json"));
      if (epochs.length > 0) {
        trainings.push({
          part: parts[i] ?? "",
          epochs,
          stoppedEarly,
          earlyStoppingEpoch: earlyStoppingEpoch ?? (stoppedEarly ? epochs.at(-1)!.epoch : null),
        });
      }
      for (
        const { id, ...mask } of await readOptional(masksSchema, join(run, "masks.json")) ?? []
      ) {
        if (!masks.has(id)) masks.set(id, mask);
      }
    }
    models.push({
      name: nameOf(summary.experiment, path),
      experiment,
      rank: summary.experiment.rank,
      wiseFt: summary.experiment.wiseFt?.alpha,
      trainableParameters: summary.trainableParameters,
      placement: summary.placement,
      protocol: summary.protocol,
      config: config.config,
      trainings,
      slices: await readOptional(scoresSchema, join(own, "scores.json")) ?? [],
      masks,
    });
  }
  const order = table.rows.map(({ model }) => model);
  const known = models.filter(({ name }) => order.includes(name))
    .sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  if (known.length === 0) {
    throw new InputError(`${folder} holds no run of its table: name the folder of a whole study`);
  }
  return {
    folder,
    table,
    models: known,
    statistics: await readOptional(statisticsSchema, join(folder, "statistics.json")) ?? [],
    verdicts: await readOptional(verdictsSchema, join(folder, "verdicts.json")) ?? [],
    notes: await readOptional(notesSchema, join(folder, "notes.json")) ??
      { notes: [], references: [] },
    stopped,
    environment,
    split,
    crop,
    parts,
  };
}
