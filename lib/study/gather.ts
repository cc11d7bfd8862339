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
import { GuardError } from "../evaluate/guards.ts";
import { scoreTrivialPredictors } from "../evaluate/trivial_predictors.ts";
import { computeTable, experimentsOf, ofFirstSplit, poolRecords } from "./comparison.ts";
import { dataSeed } from "./schema.ts";
import { displayName } from "./experiment.ts";
import type { StudyFolder } from "./folder.ts";
import { rowOf } from "./manifest.ts";
import { MODELS } from "../sam/models.ts";
import { type Part, partsOf, type Plan } from "./plan.ts";
import type { Publish, SampleMasks } from "./publish.ts";
import { describeStudy } from "./read_study.ts";
import { encodeRecords, readRecords, type Records, rounded } from "./records.ts";
import {
  type ComparisonContext,
  FILES,
  linesJson,
  readNotes,
  type Run,
  tableJson,
} from "./results.ts";
import { primaryOf } from "./statistics.ts";
import { describeParts, SAMPLE_NOTE, type StudyData, TRAINED_ON_ALL } from "./study_data.ts";
import { guardOf, TaskFiles } from "./task_files.ts";

/** Folder of a part's scores of what needs no model: all ones, and the box and its ellipse filled in. */
const TRIVIAL = "trivial";

function trivialPath({ name }: Part): string {
  return join(name, TRIVIAL, FILES.records);
}

/** Scores the trivial predictors on the test slices of a part, once. */
export async function scoreTrivial(
  folder: StudyFolder,
  { part, data }: { part: Part; data: StudyData },
): Promise<void> {
  const path = trivialPath(part);
  if (await Deno.stat(join(folder.path, path)).then(() => true, () => false)) return;
  const tested = { reader: data.slices, refs: data.parts.test };
  const found = await scoreTrivialPredictors(tested, { seed: dataSeed(part.config) });
  const records = Object.entries(found).map(([row, { slices }]): Records => ({
    part: part.name,
    row,
    trivial: true,
    slices: rounded(slices),
    cases: [],
    masks: [],
    sample: null,
  }));
  await folder.write(path, await encodeRecords(records));
}

/** Reads what every task has left. */
async function readTasks(
  folder: StudyFolder,
  plan: Plan,
): Promise<{ runs: Run[]; records: Records[] }> {
  const runs: Run[] = [];
  const records: Records[] = [];
  for (const part of partsOf(plan)) {
    for (const { name } of plan.experiments) {
      const task = new TaskFiles(folder, part.name, name);
      const run = await task.readRun();
      runs.push(run!);
      if (!run!.guard && await task.isFinished()) records.push(...await task.readRecords());
    }
    const trivial = trivialPath(part);
    await folder.manifest.require((path) => rowOf(path) === rowOf(trivial));
    records.push(...await readRecords(join(folder.path, trivial)));
  }
  return { runs, records };
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
  { runs, records, data, accepted }: {
    runs: readonly Run[];
    records: readonly Records[];
    data: StudyData;
    /** Sentences on changed files that were taken knowingly. */
    accepted: readonly string[];
  },
): ComparisonContext {
  const parts = partsOf(plan);
  const [{ config }] = parts;
  const seeds = [...new Set(parts.map(({ config }) => config.seed))];
  const folds = new Set(parts.map(({ config }) => config.fold)).size;
  const { records: tested } = ofFirstSplit({ runs, records });
  const { slices } = poolRecords(tested, tested.find(({ trivial }) => trivial)!.row);
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
  { data, runs, records }: {
    data: StudyData;
    runs: readonly Run[];
    records: readonly Records[];
  },
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
      const found = records.find(({ row, trivial }) => !trivial && row === experiment.name)?.sample;
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
 * stops it, the tasks are there until everything is written.
 *
 * @returns the study's runs.
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
  await folder.check();
  const { runs, records } = await readTasks(folder, plan);
  const { accepted } = folder.manifest;
  const context = contextOf(plan, { runs, records, data, accepted });
  const table = computeTable(context, { runs, records });
  await folder.write(FILES.runs, linesJson(runs));
  await folder.write(FILES.records, await encodeRecords(records));
  await folder.write(FILES.table, tableJson(table));
  const hasModel = table.rows.some(({ kind }) => kind !== "trivial");
  const notes = await readNotes(folder.path);
  await publish({
    study: hasModel ? describeStudy(folder.path, { table, runs, records, notes }) : null,
    table,
    sample: sample && await sampleMasks(sample, { data, runs, records }),
    files: folder,
    log,
  });
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
