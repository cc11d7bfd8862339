/**
 * Gathers what the tasks of a study come to: its table over all parts, and its few files in place of a
 * folder a task.
 *
 * @module
 */
import { join } from "node:path";
import type { SliceRef } from "../data/slices.ts";
import { decodeRunLengths } from "../formats/run_length.ts";
import { evaluationPrompt } from "../evaluate/scored_prompts.ts";
import { InputError, shellWord } from "../errors.ts";
import { GuardError } from "../evaluate/guards.ts";
import { scoreTrivialPredictors } from "../evaluate/trivial_predictors.ts";
import { experimentsOf, type PooledRow, type PooledRows, poolRow, tableOf } from "./comparison.ts";
import { dataSeed } from "./schema.ts";
import { displayName } from "./experiment.ts";
import type { StudyFolder } from "./folder.ts";
import { rowOf } from "./manifest.ts";
import { MODELS } from "../sam/models.ts";
import { type Part, partsOf, type Plan, type PlannedTask, tasksOf } from "./plan.ts";
import type { Publish, SampleMasks } from "./publish.ts";
import { describeRows } from "./read_study.ts";
import { encodeRecords, joinRecords, readRecords, type Records, rounded } from "./records.ts";
import {
  type ComparisonContext,
  FILES,
  jsonPieces,
  readNotes,
  type Run,
  tableJson,
} from "./results.ts";
import { primaryOf } from "./statistics.ts";
import {
  describeParts,
  openStudyData,
  SAMPLE_NOTE,
  type StudyData,
  TRAINED_ON_ALL,
} from "./study_data.ts";
import { guardOf, taskFolder, TaskRecord } from "./task_files.ts";

/** Folder of a part's scores of what needs no model: all ones, and the box and its ellipse filled in. */
const TRIVIAL = "trivial";

function trivialPath({ name }: Part): string {
  return join(name, TRIVIAL, FILES.records);
}

/** True if the trivial predictors of a part were scored before. */
async function hasTrivial(folder: StudyFolder, part: Part): Promise<boolean> {
  return await Deno.stat(join(folder.path, trivialPath(part))).then(() => true, () => false);
}

/** Scores the trivial predictors on the test slices of a part, once. */
export async function scoreTrivial(
  folder: StudyFolder,
  { part, data }: { part: Part; data: StudyData },
): Promise<void> {
  if (await hasTrivial(folder, part)) return;
  await folder.write(trivialPath(part), await encodeRecords(await trivialRecords(part, data)));
}

/** Scores of the trivial predictors on the test slices of a part. */
async function trivialRecords(part: Part, data: StudyData): Promise<Records[]> {
  const tested = { reader: data.slices, refs: data.parts.test };
  const found = await scoreTrivialPredictors(tested, { seed: dataSeed(part.config) });
  return Object.entries(found).map(([row, { slices }]): Records => ({
    part: part.name,
    row,
    trivial: true,
    slices: rounded(slices),
    cases: [],
    masks: [],
    sample: null,
  }));
}

/** Folders of tasks' files that stay. */
const STAYING = [FILES.adapters, FILES.events];

/** Tasks whose files are read at a time. */
const AT_ONCE = 32;

/** Results of some work on each item, in order. */
async function* inTurn<T, R>(
  items: readonly T[],
  work: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  for (let i = 0; i < items.length; i += AT_ONCE) {
    yield* await Promise.all(items.slice(i, i + AT_ONCE).map(work));
  }
}

/** Values of which many are alike, one object for all of those. */
class Shared {
  readonly #known = new Map<string, unknown>();

  of<T>(value: T): T {
    const key = JSON.stringify(value);
    if (!this.#known.has(key)) this.#known.set(key, value);
    return this.#known.get(key) as T;
  }

  /** A run with what it has in common with others. */
  run(run: Run): Run {
    const { experiment, config, data, split, environment, summary } = run;
    return {
      ...run,
      experiment: this.of(experiment),
      config: this.of(config),
      split: this.of(split),
      data: this.of(data),
      environment: { ...this.of({ ...environment, date: "" }), date: environment.date },
      ...(summary && { summary: { ...summary, placement: this.of(summary.placement) } }),
    };
  }
}

/** Files that tasks have left, but for their records, of which a large study has more than memory. */
interface Found {
  readonly runs: readonly Run[];
  /** Tasks that are done, those that a guard has ended apart. */
  readonly scored: readonly PlannedTask[];
  /** Tasks that are not done. */
  readonly missing: readonly PlannedTask[];
  /** Sentences on changes that were taken knowingly. */
  readonly accepted: readonly string[];
  /** Hashes of the tasks' files that stay. */
  readonly staying: Readonly<Record<string, string>>;
}

/** Reads what every task has left, and checks that it is as the task left it. */
async function readTasks(folder: StudyFolder, plan: Plan): Promise<Found> {
  const found = {
    runs: [] as Run[],
    scored: [] as PlannedTask[],
    missing: [] as PlannedTask[],
    accepted: [...folder.manifest.accepted],
    staying: {} as Record<string, string>,
  };
  const shared = new Shared();
  const isStaying = (path: string) => STAYING.some((folder) => path.startsWith(`${folder}/`));
  const read = async (task: PlannedTask) => {
    const files = await TaskRecord.of(folder.path, task.part.name, task.experiment.name);
    return { task, files, run: await files.readDone() };
  };
  for await (const { task, files, run } of inTurn(tasksOf(plan), read)) {
    if (run === null) {
      found.missing.push(task);
      continue;
    }
    found.runs.push(shared.run(run));
    found.accepted.push(...files.manifest.accepted);
    Object.assign(found.staying, files.manifest.hashes(isStaying));
    if (!run.guard) found.scored.push(task);
  }
  return found;
}

/** Records of the trivial predictors by part, or the file of those that were scored before. */
type Trivial = ReadonlyMap<string, string | readonly Records[]>;

/** Scores the trivial predictors of the parts that lack them; those of another training seed are alike. */
async function readTrivial(
  folder: StudyFolder,
  { parts, data, log }: {
    parts: readonly Part[];
    data: StudyData;
    log: (line: string) => void;
  },
): Promise<Trivial> {
  const found = new Map<string, string | readonly Records[]>();
  const scored = new Map<string, readonly Records[]>();
  for (const part of parts) {
    const path = trivialPath(part);
    if (await hasTrivial(folder, part)) {
      await folder.manifest.require((file) => rowOf(file) === rowOf(path));
      found.set(part.name, join(folder.path, path));
      continue;
    }
    const split = JSON.stringify([dataSeed(part.config), part.config.fold]);
    const records = scored.get(split) ??
      await trivialRecords(part, await openStudyData(part.config, log, data));
    scored.set(split, records);
    found.set(part.name, records.map((one) => ({ ...one, part: part.name })));
  }
  return found;
}

/** Path of the records of a finished task. */
function recordsOf(folder: StudyFolder, { part, experiment }: PlannedTask): string {
  return join(folder.path, taskFolder(part.name, experiment.name), FILES.records);
}

/** Pools the records of one row after the other. */
async function poolTasks(
  folder: StudyFolder,
  { runs, scored, trivial }: Pick<Found, "runs" | "scored"> & { trivial: Trivial },
): Promise<PooledRows> {
  const rows = new Map<string, PooledRow>();
  const read = async (task: PlannedTask) => {
    const records = await readRecords(recordsOf(folder, task));
    const isFirst = task.part.chosenBy === null; // masks of other training seeds are not shown
    return records.map((one) => ({
      ...one,
      masks: isFirst ? one.masks : [],
      unpromptedMasks: undefined,
    }));
  };
  for (const [row, own] of Map.groupBy(scored, ({ experiment }) => experiment.name)) {
    rows.set(row, poolRow((await Array.fromAsync(inTurn(own, read))).flat(), runs));
  }
  const ofTrivial: Records[] = [];
  for (const one of trivial.values()) {
    ofTrivial.push(...typeof one === "string" ? await readRecords(one) : one);
  }
  for (const [row, own] of Map.groupBy(ofTrivial, ({ row }) => row)) {
    rows.set(row, poolRow(own, runs));
  }
  return rows;
}

/** "3, 17-20": numbers in ascending order. */
export function rangesOf(numbers: readonly number[]): string {
  const ranges: [first: number, last: number][] = [];
  for (const number of numbers) {
    const range = ranges.at(-1);
    if (range && range[1] === number - 1) range[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([first, last]) => first === last ? `${first}` : `${first}-${last}`).join(",");
}

/** Sentence on the tasks that a table is not made of. */
function missingNote(missing: readonly PlannedTask[], all: number): string {
  const numbers = rangesOf(missing.map(({ number }) => number));
  return `${missing.length} of ${all} tasks are missing: ${numbers}`;
}

/** Sentences on the runs that are left out of the table, and on what crops lose. */
function notesOf(runs: readonly Run[]): string[] {
  const caught = runs.flatMap(({ experiment, guard }) =>
    guard
      ? [
        `${
          displayName(experiment)
        } is left out, ended by the guard ${guard.guard}: ${guard.message}`,
      ]
      : []
  );
  const crops = runs.flatMap(({ summary, part }) =>
    part === runs[0].part ? summary?.crop ?? [] : []
  );
  return [...new Set([...caught, ...crops])];
}

/** Context that all rows of the table share. */
function contextOf(
  plan: Plan,
  { runs, rows, data, accepted }: {
    runs: readonly Run[];
    rows: PooledRows;
    data: StudyData;
    /** Further sentences, such as on changed files that were taken knowingly. */
    accepted: readonly string[];
  },
): ComparisonContext {
  const parts = partsOf(plan);
  const [{ config }] = parts;
  const seeds = [...new Set(parts.map(({ config }) => config.seed))];
  const folds = new Set(parts.map(({ config }) => config.fold)).size;
  const { scores: { slices } } = [...rows.values()].find(({ trivial }) => trivial)!;
  const { adapter } = runs[0].environment;
  const isSeen = config.trainOnAll ? [TRAINED_ON_ALL] : [];
  const notes = [
    ...isSeen,
    ...notesOf(runs),
    ...accepted,
    ...(config.data === null ? [SAMPLE_NOTE] : []),
  ];
  return {
    dataset: data.name,
    baseModel: MODELS[config.model].label,
    side: config.side,
    seed: config.seed,
    epochs: Math.max(...config.epochs),
    adapter: `${adapter.name} (${adapter.type})`,
    command: plan.command,
    ...(parts[0].name !== "" && {
      pooled: `${folds > 1 ? `${folds} folds, ` : ""}training seed${seeds.length > 1 ? "s" : ""} ` +
        `${seeds.join(", ")}, split seed ${dataSeed(config)}`,
    }),
    splits: parts[0].name === "" ? describeParts(data) : {
      test: {
        patients: new Set(slices.map(({ patient }) => patient)).size,
        slices: slices.length,
      },
    },
    scoredOn: config.trainOnAll ? "train" : "test",
    primaryPrompt: primaryOf(config.testPrompts),
    ...(notes.length > 0 && { notes }),
  };
}

/** The sample with every model's mask of it. */
async function sampleMasks(
  sample: SliceRef,
  { data, runs, rows }: { data: StudyData; runs: readonly Run[]; rows: PooledRows },
): Promise<SampleMasks> {
  const slice = await data.slices.read(sample);
  const part = (["train", "validation", "test"] as const).find((name) =>
    data.parts[name].some(({ id }) => id === sample.id)
  );
  return {
    ...sample,
    image: slice.image,
    truth: slice.mask,
    predictions: experimentsOf(runs).flatMap((experiment) => {
      const found = rows.get(experiment.name)?.sample;
      return found
        ? [{ name: displayName(experiment), mask: decodeRunLengths(found), dice: found.dice }]
        : [];
    }),
    box: evaluationPrompt("tight-box", slice, 0).box,
    caption: `${sample.caseId}, slice ${sample.index}${part ? `, ${part} split` : ""}`,
  };
}

/**
 * Writes a study's files from those of its tasks, lets them be published, and closes the study. Whatever
 * stops it, the tasks are there until everything is written. While tasks are missing, a table of the others
 * is published alone.
 *
 * @returns the study's runs.
 * @throws {InputError} naming the tasks that are missing.
 */
export async function gather(
  plan: Plan,
  { folder, data, sample, publish, log }: {
    readonly folder: StudyFolder;
    /** Data of the first part. */
    readonly data: StudyData;
    /** Slice whose masks are drawn; null if none are. */
    readonly sample: SliceRef | null;
    readonly publish: Publish;
    readonly log: (line: string) => void;
  },
): Promise<readonly Run[]> {
  folder.check();
  const found = await readTasks(folder, plan);
  const { runs, scored, missing, accepted, staying } = found;
  const all = runs.length + missing.length;
  const notes = missing.length > 0 ? [`${missingNote(missing, all)}.`, ...accepted] : accepted;
  const refuse = () => {
    throw new InputError(
      `${missingNote(missing, all)}; ./run experiments submit ${
        shellWord(folder.path)
      } runs those, with --engine local or slurm`,
    );
  };
  if (runs.length === 0) refuse();
  const begun = new Set(runs.map(({ part }) => part));
  const parts = partsOf(plan).filter(({ name }) => begun.has(name));
  const trivial = await readTrivial(folder, { parts, data, log });
  const rows = await poolTasks(folder, { runs, scored, trivial });
  const table = tableOf(contextOf(plan, { runs, rows, data, accepted: notes }), { runs, rows });
  const { tensorboard } = plan;
  const published = { table, files: folder, log, tensorboard };
  if (missing.length > 0) {
    await publish({ ...published, study: null, sample: null, isPartial: true });
    refuse();
  }
  await folder.write(FILES.runs, jsonPieces(runs));
  const tasks = Map.groupBy(scored, ({ part }) => part.name);
  const records = parts.flatMap(({ name }) => [
    ...(tasks.get(name) ?? []).map((task) => recordsOf(folder, task)),
    trivial.get(name)!,
  ]);
  await folder.write(FILES.records, joinRecords(records));
  await folder.write(FILES.table, tableJson(table));
  const hasModel = table.rows.some(({ kind }) => kind !== "trivial");
  const ownNotes = await readNotes(folder.path);
  await publish({
    ...published,
    study: hasModel ? describeRows(folder.path, { table, runs, rows, notes: ownNotes }) : null,
    sample: sample && await sampleMasks(sample, { data, runs, rows }),
    isPartial: false,
  });
  await folder.manifest.adopt(staying);
  await folder.finish(taskFolders(runs));
  return runs;
}

/** Folders of a study's tasks at its top. */
export function taskFolders(runs: readonly Run[]): Set<string> {
  return new Set([
    TRIVIAL,
    ...runs.map(({ part, experiment }) => part === "" ? experiment.name : part),
  ]);
}

/**
 * Ends a study of which everything is written.
 *
 * @throws {GuardError} if a guard has ended a run.
 */
export function requireNoneCaught(folder: string, runs: readonly Run[]): void {
  const caught = new Map(
    runs.filter(({ guard }) => guard).map((run) => [displayName(run.experiment), run]),
  );
  const [first, ...others] = caught.keys();
  if (first === undefined) return;
  const { guard, message, step } = guardOf(caught.get(first)!)!;
  const more = others.length > 0 ? `; ${others.join(", ")} ended likewise` : "";
  throw new GuardError(guard, `${message} (${first}, in ${join(folder, FILES.runs)}${more})`, step);
}
