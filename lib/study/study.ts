/**
 * A study from its command line to its results: planned, its tasks run, and gathered. One process may do all
 * three, or several processes and machines, by a command each.
 *
 * @module
 */
import { join, resolve } from "node:path";
import { InputError, shellWord } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { forgetBegun, noteBegun, PATH_FIELDS } from "./begun.ts";
import { withGpu } from "./device.ts";
import type { StudyEstimate } from "./dry_run.ts";
import { configOf, displayName, type Experiment } from "./experiment.ts";
import { requireNew, StudyFolder } from "./folder.ts";
import { gather, requireNoneCaught, scoreTrivial, taskFolders } from "./gather.ts";
import { Interruption } from "./interruption.ts";
import { LEASE_SECONDS } from "./lease.ts";
import { Manifest, unverifiable } from "./manifest.ts";
import { buildModel } from "./model.ts";
import type { Config, Options } from "./schema.ts";
import {
  partsOf,
  PLAN,
  type Plan,
  planJson,
  type PlannedTask,
  readPlan,
  TASKS,
  tasksJson,
  tasksOf,
} from "./plan.ts";
import type { Publish } from "./publish.ts";
import { readRuns, readTable, type Run } from "./results.ts";
import { changePlan, present, requireNamed, requirePresent } from "./resume.ts";
import { computePrefix, hasPrefix, sharesPrefix } from "./shared_prefix.ts";
import { chooseSample, openStudyData, type StudyData } from "./study_data.ts";
import { TaskRecord } from "./task_files.ts";
import { TaskRunner } from "./task_runner.ts";

/** Minutes between checkpoints within an epoch, unless the command line says otherwise. */
const CHECKPOINT_MINUTES = 5;

const log = (line: string) => console.log(line);

/** Rows of a study that is begun, its options, and the command that names them. */
interface Asked {
  readonly options: Options;
  /** Command that the results name. */
  readonly command: string;
}

/**
 * Runs experiments on one data set and writes a results folder. With several folds or seeds every
 * experiment is trained once for each, and the table is over all of them: every slice's scores averaged
 * over seeds, the slices of all folds taken together. What is stopped on the way can be gone on with:
 * see {@linkcode resumeStudy}; a study of several parts also goes on by the same command.
 *
 * @returns the results folder.
 * @throws {InputError} if data, options or the results folder cannot be used.
 * @throws {GuardError} if a guard has ended a run; the others are done and compared by then.
 */
export async function runStudy(
  experiments: readonly Experiment[],
  { options, command, publish }: Asked & { publish: Publish },
): Promise<string> {
  const { config, out } = options;
  const parts = partsOf(options);
  if (out !== null) {
    const state = parts[0].name === "" ? "other" : await stateOf(out, { experiments, command });
    if (state !== "other") {
      return await resumeStudy(
        { ...options, resume: out, given: config, givenRanks: null },
        publish,
      );
    }
    await requireNew(out);
  }
  using interruption = await Interruption.start();
  return await withGpu(options, interruption, async (gpu) => {
    const data = await openStudyData(parts[0].config, log);
    chooseSample(data, options.sample);
    await tryModels(gpu, { experiments, config });
    const path = out ?? newFolder(data);
    if (out === null) await requireNew(path);
    const now = await present(gpu, { config, data });
    const plan: Plan = { ...chosenPlan(experiments, { options, command }), ...now };
    using folder = await begin(path, plan);
    await finish(plan, { folder, gpu, data, interruption, publish }, false);
    return path;
  });
}

/**
 * Plans a study: checks options and data, and writes the list of its tasks.
 *
 * @param options.estimate Measures times and memory, which takes minutes; null where they are not wanted.
 * @returns the results folder.
 * @throws {InputError} if data, options or the results folder cannot be used.
 */
export async function planStudy(
  experiments: readonly Experiment[],
  { options, command, estimate }: Asked & { estimate: (() => Promise<StudyEstimate>) | null },
): Promise<string> {
  const { config, out } = options;
  if (out !== null) await requireNew(out);
  const data = await openStudyData(partsOf(options)[0].config, log);
  chooseSample(data, options.sample);
  const path = out ?? newFolder(data);
  if (out === null) await requireNew(path);
  const now = await present(null, { config, data });
  const measured = await estimate?.() ?? null;
  const machine = measured?.machine ?? null;
  const plan = { ...chosenPlan(experiments, { options, command }), ...now, machine };
  using folder = await begin(path, plan);
  await folder.write(TASKS, tasksJson(plan, measured));
  const { length } = tasksOf(plan);
  const words = `./run experiments task ${shellWord(path)} N`;
  log(`${length} tasks: ${words} runs one of them, N from 1 to ${length}`);
  return path;
}

/**
 * Goes on with a study that was stopped: finished tasks are kept, the one under way goes on from its
 * last checkpoint, and what comes of it is what would have come without the stop.
 *
 * @returns the results folder.
 * @throws {InputError} if the folder is not that of a study or is in use, or, without `--force`, if
 * options, code, weights or data are not those it began with.
 */
export async function resumeStudy(options: Options, publish: Publish): Promise<string> {
  const path = options.resume!;
  using interruption = await Interruption.start();
  using folder = await StudyFolder.open(path);
  const begun = await readPlan(path);
  if (begun === null) return await tidyUp(folder);
  interruption.hint = goOn(path);
  requireNamed(path, { begun, given: options.given });
  const changed = changePlan(path, { begun, options });
  return await withGpu(options, interruption, async (gpu) => {
    const [{ config }] = partsOf(changed);
    const data = await openStudyData(config, log);
    const plan = await checked(changed, { path, begun, gpu, data, force: options.force });
    if (!folder.manifest.isThere) refuseUnverifiable(path);
    await noteBegun(path, plan.config);
    await folder.write(PLAN, planJson(plan));
    log(`Going on with ${path}\n`);
    await finish(plan, { folder, gpu, data, interruption, publish }, true);
    return path;
  });
}

/**
 * Runs one task of a study that was planned, unless it is done. Nothing else of the study is written to, so
 * that other machines run other tasks meanwhile.
 *
 * @param number Number of the task, from 1; 0 for what all share.
 * @throws {InputError} if there is no such task, another process runs it or it needs one that is not done,
 * and as {@linkcode resumeStudy}.
 */
export async function runStudyTask(
  path: string,
  { number, options }: { number: number; options: Options },
): Promise<void> {
  using interruption = await Interruption.start();
  const begun = await requirePlan(path);
  if (begun === null) return log(`${path} is whole: nothing is left to do.`);
  const hint = goOn(path, `task ${shellWord(path)} ${number}`);
  interruption.hint = hint;
  requireNamed(path, { begun, given: options.given });
  const changed = changePlan(path, { begun, options });
  if (number === 0) return await runPrefix(path, { begun, changed, options, interruption });
  const tasks = tasksOf(changed);
  const task = tasks[number - 1];
  if (!task) {
    throw new InputError(`${path} has no task ${number}: name one from 1 to ${tasks.length}`);
  }
  if (await isDone(path, task)) {
    return log(`Task ${number}, ${displayName(task.experiment)}: finished before`);
  }
  const needed = task.needs === null ? null : tasks[task.needs - 1];
  if (needed && !await isDone(path, needed)) {
    throw new InputError(
      `task ${number} trains what task ${needed.number} chooses, which is not finished: run that first`,
    );
  }
  await withGpu(options, interruption, async (gpu) => {
    const data = await openStudyData(task.part.config, log);
    const plan = await checked(changed, { path, begun, gpu, data, force: options.force });
    await new TaskRunner(plan, { path, gpu, data, interruption, log, hint }, true).run([task]);
  });
}

/**
 * Pools what the tasks of a study have come to. If all are done the study is closed.
 *
 * @throws {InputError} saying which tasks are missing, and as {@linkcode resumeStudy}.
 * @throws {GuardError} if a guard has ended a run; everything is written by then.
 */
export async function gatherStudy(
  path: string,
  { options, publish }: { options: Options; publish: Publish },
): Promise<void> {
  using folder = await StudyFolder.open(path);
  const begun = await readPlan(path);
  if (begun === null) return void await tidyUp(folder);
  if (!folder.manifest.isThere) refuseUnverifiable(path);
  requireNamed(path, { begun, given: options.given });
  const changed = changePlan(path, { begun, options });
  const data = await openStudyData(partsOf(changed)[0].config, log);
  const plan = await checked(changed, { path, begun, gpu: null, data, force: options.force });
  requireNoneCaught(path, await close(plan, { folder, data, publish }));
}

/** Computes what the tasks of a study share. */
async function runPrefix(
  path: string,
  { begun, changed, options, interruption }: {
    begun: Plan;
    changed: Plan;
    options: Options;
    interruption: Interruption;
  },
): Promise<void> {
  if (await hasPrefix(path)) return log("What the tasks share was prepared before");
  if (!sharesPrefix(changed)) return log("The tasks share nothing that could be prepared.");
  await withGpu(options, interruption, async (gpu) => {
    const data = await openStudyData(partsOf(changed)[0].config, log);
    const plan = await checked(changed, { path, begun, gpu, data, force: options.force });
    await computePrefix(plan, { path, gpu, data, interruption, log });
  });
}

/** Plan of the options that a user gives, without what is found out. */
function chosenPlan(
  experiments: readonly Experiment[],
  { options, command }: Asked,
): Omit<Plan, "code" | "weights" | "data" | "machine"> {
  const { config, seeds, splitSeeds, sample } = options;
  return {
    experiments: experiments as Plan["experiments"],
    config: absolute(config),
    seeds: seeds && [...seeds],
    splitSeeds: [...splitSeeds],
    sample,
    command,
    tensorboard: options.tensorboard,
    checkpointMinutes: options.checkpointMinutes ?? CHECKPOINT_MINUTES,
    leaseSeconds: options.leaseSeconds ?? LEASE_SECONDS,
  };
}

/** Makes the folder of a study with its plan. */
async function begin(path: string, plan: Plan): Promise<StudyFolder> {
  const folder = await StudyFolder.create(path);
  try {
    await noteBegun(path, plan.config);
    await folder.write(PLAN, planJson(plan));
  } catch (error) {
    folder[Symbol.dispose]();
    throw error;
  }
  log(`Results: ${path}\n`);
  return folder;
}

/** A changed plan with what there is now, if that is what the study was begun with. */
async function checked(
  changed: Plan,
  { path, begun, gpu, data, force }: {
    path: string;
    begun: Plan;
    gpu: Gpu | null;
    data: StudyData;
    force: boolean;
  },
): Promise<Plan> {
  const now = await present(gpu, { config: changed.config, data });
  requirePresent(path, { begun, now, force });
  if (gpu && begun.machine !== null && now.machine !== begun.machine) {
    log(`The study began on ${begun.machine}: on another device the last bits may differ.`);
  }
  const machine = now.machine ?? begun.machine;
  return { ...changed, ...now, machine, config: absolute(changed.config) };
}

/** Runs the tasks that are left in this process, and gathers what all of them come to. */
async function finish(
  plan: Plan,
  { folder, gpu, data, interruption, publish }: {
    folder: StudyFolder;
    gpu: Gpu;
    data: StudyData;
    interruption: Interruption;
    publish: Publish;
  },
  isKept: boolean,
): Promise<void> {
  const { path } = folder;
  const runner = new TaskRunner(plan, {
    path,
    gpu,
    data,
    interruption,
    log,
    hint: goOn(path),
    onPart: (part, data) => scoreTrivial(folder, { part, data }),
  }, isKept);
  await runner.run(tasksOf(plan));
  const runs = await runner.orEnd(() => close(plan, { folder, data, publish }));
  // The study is whole, and nothing goes on.
  requireNoneCaught(path, runs);
}

/** Gathers a study, and forgets that it was begun. */
async function close(
  plan: Plan,
  { folder, data, publish }: { folder: StudyFolder; data: StudyData; publish: Publish },
): Promise<readonly Run[]> {
  const sample = partsOf(plan)[0].name === "" ? chooseSample(data, plan.sample) : null;
  const runs = await gather(plan, { folder, data, sample, publish, log });
  await forgetBegun(folder.path, plan.config);
  return runs;
}

/** Removes what a study that is finished has left of its tasks. */
async function tidyUp(folder: StudyFolder): Promise<string> {
  const { path } = folder;
  if (!folder.manifest.isThere) log(unverifiable(path));
  await folder.finish(taskFolders(await readRuns(path) ?? []));
  log(`${path} is whole: nothing is left to do.`);
  return path;
}

function refuseUnverifiable(path: string): never {
  const accept = `./run verify ${shellWord(path)} --accept-changes takes them as they are`;
  throw new InputError(`${unverifiable(path)} ${accept}`);
}

/**
 * The plan of a study, which other processes may be working on; null if it is finished.
 *
 * @throws {InputError} if the folder is not that of a study, or the plan was changed.
 */
export async function requirePlan(path: string): Promise<Plan | null> {
  const manifest = await Manifest.open(path);
  if (!manifest.isThere && await readPlan(path)) refuseUnverifiable(path);
  await manifest.require((file) => file === PLAN);
  return await readPlan(path);
}

/** True if a task is finished, or a guard has ended it. */
async function isDone(path: string, { part, experiment }: PlannedTask): Promise<boolean> {
  return await (await TaskRecord.of(path, part.name, experiment.name)).readDone() !== null;
}

/** A config whose paths hold from any folder. */
function absolute(config: Config): Config {
  const paths = PATH_FIELDS.map((name) => [name, config[name] && resolve(config[name])]);
  return { ...config, ...Object.fromEntries(paths) };
}

/** State of a folder for a command: begun or finished by the same one, or anything else. */
async function stateOf(
  folder: string,
  { experiments, command }: { experiments: readonly Experiment[]; command: string },
): Promise<"begun" | "finished" | "other"> {
  const exists = (file: string) => Deno.stat(join(folder, file)).then(() => true, () => false);
  if (await exists(PLAN)) {
    const plan = await readPlan(folder);
    const names = (list: readonly Experiment[]) => list.map(({ name }) => name).join();
    const isSame = plan?.command === command && names(plan.experiments) === names(experiments);
    return isSame ? "begun" : "other";
  }
  if (!await readRuns(folder)) return "other";
  return (await readTable(folder))?.context.command === command ? "finished" : "other";
}

/** Command that goes on with a study, for the end of a sentence. */
function goOn(path: string, command = `--resume ${shellWord(path)}`): string {
  return `; what is done is kept: ./run experiments ${command} goes on`;
}

/** Finds out, before anything is trained, if an option fits no model. */
async function tryModels(
  gpu: Gpu,
  { experiments, config }: { experiments: readonly Experiment[]; config: Config },
): Promise<void> {
  for (const experiment of experiments) {
    (await buildModel(gpu, { experiment, config: configOf(experiment, config) })).dispose();
  }
}

/** Folder for a study for which none was named. */
function newFolder({ name }: StudyData): string {
  return join("results", `${name}-${stamp(new Date())}`);
}

/** A date as part of a folder name, in UTC. */
function stamp(date: Date): string {
  return date.toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
}
