/**
 * A study as reports see it: its table, and each of its models with trainings, scores and masks.
 *
 * @module
 */
import { join } from "node:path";
import type { RunLengths } from "../formats/run_length.ts";
import { InputError } from "../errors.ts";
import {
  type PromptSummary,
  type ProtocolSummary,
  summarizeProtocol,
} from "../evaluate/protocol_summary.ts";
import type { EpochMetrics } from "../train/training.ts";
import { choiceOf } from "./choice.ts";
import {
  computeTable,
  experimentsOf,
  firstParts,
  type PooledRow,
  type PooledRows,
  poolRows,
  UNSCORED,
} from "./comparison.ts";
import { displayName, type Experiment } from "./experiment.ts";
import { DERIVED, Manifest } from "./manifest.ts";
import { readRecords, type Records } from "./records.ts";
import {
  type ChosenPresence,
  type ComparisonTable,
  type Environment,
  FILES,
  type MadeChoice,
  type Notes,
  type PlacedPart,
  readContext,
  readNotes,
  readRuns,
  readTable,
  type Run,
} from "./results.ts";

/** One training of a model: a study has one, a cross-validation one for each fold and seed. */
export interface Training {
  /** Part of a cross-validation, such as `seed_0-fold_1`; empty in a study of one part. */
  readonly part: string;
  readonly epochs: readonly EpochMetrics[];
  /** True if training ended before its last epoch. */
  readonly stoppedEarly: boolean;
  /** Epoch after which patience had run out, whether training ended there or went on; null if none. */
  readonly earlyStoppingEpoch: number | null;
}

/** Dice of a slice by prompt. */
export interface SliceScores {
  readonly id: string;
  readonly patient: string;
  readonly tumourPixels: number;
  readonly scores: Readonly<Record<string, { readonly dice: number }>>;
}

/** A row of a study: an experiment with what is known of it. */
export interface StudyModel {
  /** As tables call it. */
  readonly name: string;
  /** Name of the experiment. */
  readonly experiment: string;
  /** Rank of its adapters. */
  readonly rank?: number;
  /** The trained weights' share, where they are another model's, drawn back to the pretrained ones. */
  readonly wiseFt?: number;
  readonly trainableParameters: number;
  readonly placement: readonly PlacedPart[];
  readonly protocol: Omit<ProtocolSummary, "prompts"> & {
    readonly prompts: Readonly<Record<string, PromptSummary>>;
  };
  /** Every value that it depends on. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly trainings: readonly Training[];
  /** Scores of the test slices, averaged over training seeds. */
  readonly slices: readonly SliceScores[];
  /**
   * Predicted masks under the primary prompt by slice, of the first training seed, with their own Dice;
   * empty where none were kept.
   */
  readonly masks: ReadonlyMap<string, RunLengths & { readonly dice?: number }>;
  /** Values that were chosen among several, of each part that chose. */
  readonly choices: readonly { readonly part: string; readonly choice: MadeChoice }[];
  /** Rule by which masks without a prompt count, of each part that has one. */
  readonly presences: readonly (ChosenPresence & { readonly part: string })[];
}

/** Content of a study's files. */
export interface StudyFiles {
  readonly table: ComparisonTable;
  readonly runs: readonly Run[];
  readonly records: readonly Records[];
  readonly notes: Notes;
}

/** A finished study. */
export interface Study {
  /** Path of its folder. */
  readonly folder: string;
  readonly table: ComparisonTable;
  /** In the order of the table. */
  readonly models: readonly StudyModel[];
  readonly notes: Notes;
  /** Runs that a guard has ended. */
  readonly stopped: readonly {
    readonly experiment: string;
    readonly guard: string;
    readonly message: string;
    readonly step: number;
  }[];
  /** Of the first run. */
  readonly environment: Environment;
  /** Of the first run. */
  readonly split: Run["split"];
  /** Tumour that the crop of the slices lost. */
  readonly crop: Run["data"]["crop"];
  /** Names of the parts of a cross-validation; a study of one part has none. */
  readonly parts: readonly string[];
}

function trainingOf({ part, epochs, summary }: Run): Training {
  const { stoppedEarly = false, earlyStoppingEpoch } = summary!;
  return {
    part,
    epochs,
    stoppedEarly,
    earlyStoppingEpoch: earlyStoppingEpoch ?? (stoppedEarly ? epochs.at(-1)!.epoch : null),
  };
}

function modelOf(
  experiment: Experiment,
  { runs, pooled }: { runs: readonly Run[]; pooled: PooledRow },
): StudyModel {
  const own = runs.filter((run) => run.experiment.name === experiment.name);
  const { trainableParameters, placement } = own[0].summary!;
  return {
    name: displayName(experiment),
    experiment: experiment.name,
    rank: experiment.rank,
    wiseFt: experiment.wiseFt?.alpha,
    trainableParameters,
    placement,
    protocol: summarizeProtocol(pooled.scores) as StudyModel["protocol"],
    config: own[0].config,
    trainings: own.filter(({ epochs }) => epochs.length > 0).map(trainingOf),
    slices: pooled.scores.slices as readonly SliceScores[],
    masks: pooled.masks,
    choices: own.flatMap((run) => {
      const choice = choiceOf(run);
      return choice && choice.tried.length > 0 ? [{ part: run.part, choice }] : [];
    }),
    presences: own.flatMap(({ part, presence }) => presence ? [{ part, ...presence }] : []),
  };
}

/**
 * Describes a study by the content of its files.
 *
 * @throws {InputError} if none of its runs is a row of its table.
 */
export function describeStudy(folder: string, files: StudyFiles): Study {
  return describeRows(folder, { ...files, rows: poolRows(files) });
}

/**
 * Describes a study whose rows are pooled.
 *
 * @throws {InputError} as {@linkcode describeStudy}.
 */
export function describeRows(
  folder: string,
  { table, runs, rows, notes }: Omit<StudyFiles, "records"> & { readonly rows: PooledRows },
): Study {
  const parts = firstParts(runs);
  const first = runs.filter(({ part }) => parts.has(part));
  const order = table.rows.map(({ model }) => model);
  const models = experimentsOf(runs)
    .filter((experiment) => order.includes(displayName(experiment)))
    .filter(({ name }) => runs.every((run) => run.experiment.name !== name || run.summary))
    .map((experiment) =>
      modelOf(experiment, { runs: first, pooled: rows.get(experiment.name) ?? UNSCORED })
    )
    .sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
  if (models.length === 0) {
    throw new InputError(`${folder} holds no run of its table: name the folder of a whole study`);
  }
  const [{ environment, split, data: { crop } }] = runs;
  return {
    folder,
    table,
    models,
    notes,
    stopped: runs.flatMap(({ part, experiment: { name }, guard }) =>
      guard ? [{ experiment: part ? `${name} (${part})` : name, ...guard }] : []
    ),
    environment,
    split,
    crop,
    parts: [...new Set(runs.map(({ part }) => part))].filter((part) => part !== ""),
  };
}

/** Refuses a folder without one of a study's files. */
function refuseMissing(folder: string, file: string): never {
  throw new InputError(
    `${join(folder, file)} is missing: name the folder of a whole study, such as results/…`,
  );
}

/**
 * Reads what the table is computed from, and the notes.
 *
 * @throws {InputError} if a file is not as the study left it.
 */
async function readParts(
  folder: string,
  { areChecked = true }: { areChecked?: boolean } = {},
): Promise<Omit<StudyFiles, "table">> {
  if (areChecked) await (await Manifest.open(folder)).require((path) => !DERIVED.test(path));
  const runs = await readRuns(folder);
  if (!runs) {
    const hasTable = await Deno.stat(join(folder, FILES.table)).then(() => true, () => false);
    if (!hasTable) refuseMissing(folder, FILES.table);
    throw new InputError(
      `${folder} has no ${FILES.runs}, as studies of earlier versions have none: run its command again, or read it with the version that made it`,
    );
  }
  return {
    runs,
    records: await readRecords(join(folder, FILES.records)),
    notes: await readNotes(folder),
  };
}

/**
 * Reads the files of a finished study.
 *
 * @throws {InputError} in one sentence, naming the file that is missing or damaged.
 */
export async function readStudyFiles(folder: string): Promise<StudyFiles> {
  const parts = await readParts(folder);
  const table = await readTable(folder) ?? refuseMissing(folder, FILES.table);
  return { table, ...parts };
}

/**
 * Reads the files of a finished study, and computes its table anew from runs and records.
 *
 * @throws {InputError} in one sentence, naming the file that is missing or damaged.
 */
export async function recomputeStudyFiles(folder: string): Promise<StudyFiles> {
  const parts = await readParts(folder);
  const context = await readContext(folder) ?? refuseMissing(folder, FILES.table);
  const { accepted } = await Manifest.open(folder);
  const notes = [...new Set([...context.notes ?? [], ...accepted])];
  const table = computeTable({ ...context, ...(notes.length > 0 && { notes }) }, parts);
  return { table, ...parts };
}

/**
 * Reads the files of a finished study as they are, whether or not they were changed.
 *
 * @throws {InputError} in one sentence, naming the file that is missing or damaged.
 */
export async function requireReadable(folder: string): Promise<void> {
  const parts = await readParts(folder, { areChecked: false });
  const context = await readContext(folder) ?? refuseMissing(folder, FILES.table);
  computeTable(context, parts);
}

/**
 * Reads a finished study.
 *
 * @throws {InputError} in one sentence, naming the file that is missing or damaged.
 */
export async function readStudy(folder: string): Promise<Study> {
  return describeStudy(folder, await readStudyFiles(folder));
}
