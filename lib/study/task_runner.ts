/**
 * Runs tasks of a study one after the other in this process, each under a lease of its own.
 *
 * @module
 */
import { GuardError } from "../evaluate/guards.ts";
import type { SliceRef } from "../data/slices.ts";
import { InputError } from "../errors.ts";
import { weightsFile } from "../files/pretrained.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { lossOf, withVersion } from "./device.ts";
import { describeEnvironment } from "./environment.ts";
import { displayName } from "./experiment.ts";
import { StudyFolder } from "./folder.ts";
import { Forecast, passesOf, type PlannedRow } from "./forecast.ts";
import { Interrupted, type Interruption } from "./interruption.ts";
import { activationCache } from "./model.ts";
import { openPrefix } from "./shared_prefix.ts";
import type { Part, Plan, PlannedTask } from "./plan.ts";
import { chooseSample, openStudyData, type StudyData } from "./study_data.ts";
import { type PartContext, runTask } from "./task.ts";
import { TaskFiles, taskFolder } from "./task_files.ts";

/** Device, data and folder that tasks are run with. */
export interface RunnerTools {
  /** Folder of the study. */
  readonly path: string;
  readonly gpu: Gpu;
  /** Data of the first task's part. */
  readonly data: StudyData;
  readonly interruption: Interruption;
  readonly log: (line: string) => void;
  /** Command that goes on, for the end of a sentence. */
  readonly hint: string;
  /** Called after the tasks of a part. */
  readonly onPart?: (part: Part, data: StudyData) => Promise<void>;
}

/** Tasks under way in this process. */
export class TaskRunner {
  readonly #plan: Plan;
  readonly #tools: RunnerTools;
  /** True if the study's folder holds something to go on with. */
  #kept: boolean;

  /**
   * @param isKept False for a study that was only just begun, and that leaves nothing if it comes to nothing.
   */
  constructor(plan: Plan, tools: RunnerTools, isKept: boolean) {
    this.#plan = plan;
    this.#tools = tools;
    this.#kept = isKept;
    tools.interruption.hint = tools.hint;
  }

  /**
   * Runs tasks.
   *
   * @throws {InputError} if one cannot be run, or another process runs it.
   */
  async run(tasks: readonly PlannedTask[]): Promise<void> {
    const { data, onPart } = this.#tools;
    const byPart = [...Map.groupBy(tasks, ({ part }) => part.name).values()];
    const isAlone = tasks[0].part.name === "";
    const sample = isAlone ? chooseSample(data, this.#plan.sample) : null;
    const forecast = new Forecast(
      tasks.map(({ part, experiment }): PlannedRow => ({
        part: part.name,
        name: experiment.name,
        kind: experiment.kind,
        // Parts are about as large as the first.
        passes: passesOf(experiment, {
          ...data,
          config: part.config,
          isChosen: part.chosenBy !== null,
        }),
      })),
    );
    for (const own of byPart) {
      const [{ part }] = own;
      const found = await this.#runPart(own, { isFirst: own === byPart[0], sample, forecast });
      await this.orEnd(async () => await onPart?.(part, found));
    }
  }

  async #runPart(
    tasks: readonly PlannedTask[],
    { isFirst, sample, forecast }: {
      isFirst: boolean;
      sample: SliceRef | null;
      forecast: Forecast;
    },
  ): Promise<StudyData> {
    const { path, gpu, interruption, log } = this.#tools;
    const { command, code, checkpointMinutes, tensorboard } = this.#plan;
    const [{ part }] = tasks;
    if (part.name !== "") log(`Part ${part.name}`);
    const data = isFirst
      ? this.#tools.data
      : await this.orEnd(() => openStudyData(part.config, log, this.#tools.data));
    const weights = await weightsFile(part.config);
    using stored = await this.orEnd(() => openPrefix(path, gpu));
    using cache = activationCache(part.config, stored);
    const context: Omit<PartContext, "folder"> = {
      part,
      gpu,
      data,
      environment: await describeEnvironment(withVersion(gpu.info), { command, weights, code }),
      cache,
      sample,
      log,
      forecast,
      interruption,
      checkpointSeconds: 60 * checkpointMinutes,
      tensorboard,
      onKept: () => {
        this.#kept = true;
        interruption.kept();
      },
    };
    for (const task of tasks) await this.#runTask(task, context);
    return data;
  }

  /** Runs a task; one that a guard ends is left out. */
  async #runTask(
    { part, experiment }: PlannedTask,
    context: Omit<PartContext, "folder">,
  ): Promise<void> {
    const { path, gpu, log } = this.#tools;
    const { leaseSeconds: seconds } = this.#plan;
    const name = taskFolder(part.name, experiment.name);
    using folder = await this.orEnd(() => StudyFolder.openTask(path, name, { seconds }));
    try {
      folder.computesOn(gpu.info.name);
      await runTask(experiment, { ...context, folder });
      folder.end("finished");
    } catch (error) {
      if (error instanceof GuardError && !await lossOf(gpu)) {
        folder.end("finished");
        log(`${displayName(experiment)} is left out: ${error.message}\n`);
        return;
      }
      const end = await this.#endOf(
        error,
        folder,
        new TaskFiles(folder, part.name, experiment.name),
      );
      const sentence = error instanceof Interrupted ? null : String((end as Error)?.message ?? end);
      folder.end(sentence === null ? "stopped" : "failed", sentence);
      throw end;
    }
  }

  /** Does a piece of work; an error that ends it says in a sentence how to go on. */
  async orEnd<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw await this.#endOf(error);
    }
  }

  /**
   * The error that tells a user of one that ended the study before its time. What was done is kept; what
   * has come to nothing yet leaves nothing that looks like a result.
   */
  async #endOf(error: unknown, folder?: StudyFolder, files?: TaskFiles): Promise<unknown> {
    const { path, gpu, hint } = this.#tools;
    const lost = await lossOf(gpu);
    if (!lost && !(error instanceof InputError)) return error;
    if (!this.#kept) {
      await Deno.remove(path, { recursive: true }).catch(() => {});
    } else if (folder) {
      try {
        folder.check();
      } catch (gone) {
        return gone;
      }
      if (!await files!.isKept()) await folder.clear().catch(() => {});
    }
    const reason = lost ?? (error as Error).message;
    if (!this.#kept && lost) return new InputError(`${reason}: start the study again`);
    return new InputError(this.#kept ? reason + hint : reason);
  }
}
