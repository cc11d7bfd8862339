/**
 * A study from its command line to its results: planned, its tasks run one after the other, and gathered.
 *
 * @module
 */
import { join, resolve } from "node:path";
import { weightsFile } from "../files/pretrained.ts";
import type { SliceRef } from "../data/slices.ts";
import { InputError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { GuardError } from "../evaluate/guards.ts";
import { forgetBegun, noteBegun, PATH_FIELDS } from "./begun.ts";
import type { Config } from "./schema.ts";
import { lossOf, withGpu, withVersion } from "./device.ts";
import { describeEnvironment } from "./environment.ts";
import { configOf, displayName, type Experiment } from "./experiment.ts";
import { requireNew, StudyFolder } from "./folder.ts";
import { Forecast, passesOf, type PlannedRow } from "./forecast.ts";
import { gather, requireNoneCaught, scoreTrivial, taskFolders } from "./gather.ts";
import { Interruption } from "./interruption.ts";
import { unverifiable } from "./manifest.ts";
import { activationCache, buildModel } from "./model.ts";
import type { Options } from "./schema.ts";
import { type Part, partsOf, PLAN, type Plan, planJson, readPlan } from "./plan.ts";
import type { Publish } from "./publish.ts";
import { readRuns, readTable } from "./results.ts";
import { changePlan, present, requireNamed, requirePresent } from "./resume.ts";
import { openStudyData, type StudyData } from "./study_data.ts";
import { type PartContext, runTask } from "./task.ts";
import { TaskFiles } from "./task_files.ts";

/** Minutes between checkpoints within an epoch, unless the command line says otherwise. */
const CHECKPOINT_MINUTES = 5;

const log = (line: string) => console.log(line);

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
  { options, command, publish }: { options: Options; command: string; publish: Publish },
): Promise<string> {
  const { config, seeds, splitSeeds, out } = options;
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
    const path = out ?? join("results", `${data.name}-${stamp(new Date())}`);
    if (out === null) await requireNew(path);
    const plan: Plan = {
      experiments: experiments as Plan["experiments"],
      config: absolute(config),
      seeds: seeds && [...seeds],
      splitSeeds: [...splitSeeds],
      sample: options.sample,
      command,
      checkpointMinutes: options.checkpointMinutes ?? CHECKPOINT_MINUTES,
      ...await present(gpu, { config, data, command }),
    };
    using folder = await StudyFolder.create(path);
    await noteBegun(path, plan.config);
    await folder.write(PLAN, planJson(plan));
    log(`Results: ${path}\n`);
    await new Study(plan, { folder, gpu, data, interruption, publish }).finish();
    return path;
  });
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
  if (begun === null) {
    if (!folder.manifest.isThere) log(unverifiable(path));
    await folder.finish(taskFolders(await readRuns(path) ?? []));
    log(`${path} is whole: nothing is left to do.`);
    return path;
  }
  interruption.hint = goOn(path);
  requireNamed(path, { begun, given: options.given });
  const changed = changePlan(path, { begun, options });
  return await withGpu(options, interruption, async (gpu) => {
    const [{ config }] = partsOf(changed);
    const data = await openStudyData(config, log);
    const now = await present(gpu, { config, data, command: begun.command });
    requirePresent(path, { begun, now, force: options.force });
    if (!folder.manifest.isThere) {
      const accept = `./run verify ${path} --accept-changes takes them as they are`;
      throw new InputError(`${unverifiable(path)} ${accept}`);
    }
    if (now.machine !== begun.machine) {
      log(`The study began on ${begun.machine}: on another device the last bits may differ.`);
    }
    const plan: Plan = { ...changed, ...now, config: absolute(changed.config) };
    await noteBegun(path, plan.config);
    await folder.write(PLAN, planJson(plan));
    log(`Going on with ${path}\n`);
    await new Study(plan, { folder, gpu, data, interruption, publish }, true).finish();
    return path;
  });
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
function goOn(path: string): string {
  return `; what is done is kept: ./run experiments --resume ${path} goes on`;
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

/** Slice that `--sample` names, by itself or by its case; else the test slice of median area. */
function chooseSample(data: StudyData, name: string | null): SliceRef {
  const byArea = (refs: readonly SliceRef[]) =>
    [...refs].sort((a, b) => a.tumourVoxels - b.tumourVoxels || a.id.localeCompare(b.id));
  if (name === null) {
    const sorted = byArea(data.parts.test);
    return sorted[sorted.length >> 1];
  }
  const matching = data.slices.refs.filter(({ id, caseId }) => id === name || caseId === name);
  if (matching.length === 0) {
    throw new InputError(
      `--sample ${name} is no case or slice of ${data.name}: name one such as ${
        data.parts.test[0].id
      }`,
    );
  }
  return byArea(matching).at(-1)!;
}

/** A date as part of a folder name, in UTC. */
function stamp(date: Date): string {
  return date.toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
}

/** Device, data and folder that a study is worked on with. */
interface StudyTools {
  readonly folder: StudyFolder;
  readonly gpu: Gpu;
  /** Data of the first part. */
  readonly data: StudyData;
  readonly interruption: Interruption;
  readonly publish: Publish;
}

/** A study under way. */
class Study {
  readonly #plan: Plan;
  readonly #tools: StudyTools;
  /** True if the folder holds something to go on with. */
  #kept: boolean;

  constructor(plan: Plan, tools: StudyTools, kept = false) {
    this.#plan = plan;
    this.#tools = tools;
    this.#kept = kept;
  }

  /**
   * Runs the tasks that are left, and gathers what all of them come to.
   *
   * @throws {GuardError} if a guard has ended a run; everything is written by then.
   */
  async finish(): Promise<void> {
    const { folder, data, interruption, publish } = this.#tools;
    interruption.hint = goOn(folder.path);
    const parts = partsOf(this.#plan);
    const sample = parts[0].name === "" ? chooseSample(data, this.#plan.sample) : null;
    const forecast = new Forecast(
      parts.flatMap(({ name: part, config, chosenBy }) =>
        this.#plan.experiments.map((experiment): PlannedRow => ({
          part,
          name: experiment.name,
          kind: experiment.kind,
          // Parts are about as large as the first.
          passes: passesOf(experiment, { ...data, config, isChosen: chosenBy !== null }),
        }))
      ),
    );
    for (const part of parts) {
      await this.#runPart(part, { isFirst: part === parts[0], sample, forecast });
    }
    const runs = await this.#orEnd(() =>
      gather(this.#plan, { folder, data, sample, publish, log })
    );
    await forgetBegun(folder.path, this.#plan.config);
    requireNoneCaught(folder.path, runs);
  }

  async #runPart(
    part: Part,
    { isFirst, sample, forecast }: {
      isFirst: boolean;
      sample: SliceRef | null;
      forecast: Forecast;
    },
  ): Promise<void> {
    const { folder, gpu, interruption } = this.#tools;
    const { command, code, experiments, checkpointMinutes } = this.#plan;
    if (part.name !== "") log(`Part ${part.name}`);
    const data = isFirst
      ? this.#tools.data
      : await this.#orEnd(() => openStudyData(part.config, log));
    const weights = await weightsFile(part.config);
    using cache = activationCache(part.config);
    const context: PartContext = {
      part,
      gpu,
      data,
      environment: await describeEnvironment(withVersion(gpu.info), { command, weights, code }),
      cache,
      sample,
      log,
      forecast,
      folder,
      interruption,
      checkpointSeconds: 60 * checkpointMinutes,
      onKept: () => {
        this.#kept = true;
        interruption.kept();
      },
    };
    for (const experiment of experiments) {
      const task = new TaskFiles(folder, part.name, experiment.name);
      await this.#orEnd(() => this.#runTask(experiment, context), task);
    }
    await this.#orEnd(() => scoreTrivial(folder, { part, data }));
  }

  /** Runs a task; one that a guard ends is left out. */
  async #runTask(experiment: Experiment, context: PartContext): Promise<void> {
    try {
      await runTask(experiment, context);
    } catch (error) {
      if (!(error instanceof GuardError) || await lossOf(context.gpu)) throw error;
      log(`${displayName(experiment)} is left out: ${error.message}\n`);
    }
  }

  /** Does a piece of work; an error that ends it says in a sentence how to go on. */
  async #orEnd<T>(work: () => Promise<T>, task?: TaskFiles): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw await this.#endOf(error, task);
    }
  }

  /**
   * The error that tells a user of one that ended the study before its time. What was done is kept; what
   * has come to nothing yet leaves nothing that looks like a result.
   */
  async #endOf(error: unknown, task?: TaskFiles): Promise<unknown> {
    const { folder, gpu } = this.#tools;
    const lost = await lossOf(gpu);
    if (!lost && !(error instanceof InputError)) return error;
    if (!this.#kept) {
      await Deno.remove(folder.path, { recursive: true }).catch(() => {});
    } else if (task && !await task.isKept()) {
      await folder.remove(task.path).catch(() => {});
    }
    const gone = this.#kept ? await folder.check().then(() => null, (reason) => reason) : null;
    if (gone) return gone;
    const hint = this.#kept ? goOn(folder.path) : "";
    const what = lost ?? (error as Error).message;
    return new InputError(hint === "" && lost ? `${what}: start the study again` : what + hint);
  }
}
