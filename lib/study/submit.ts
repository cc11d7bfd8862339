/**
 * Hands the tasks of a study that are left to an engine: processes of this machine, or a cluster's scheduler.
 *
 * @module
 */
import { InputError, shellWord } from "../errors.ts";
import { PATH_FIELDS } from "./begun.ts";
import { gpuCards } from "./devices.ts";
import { codeVersion } from "./environment.ts";
import { StudyFolder } from "./folder.ts";
import { type QueuedTask, requireFinished, runLocally, takeEngine } from "./local_engine.ts";
import { readTasksFile, tasksOf } from "./plan.ts";
import type { Publish } from "./publish.ts";
import { changePlan, requireNamed, requirePresent } from "./resume.ts";
import { configFields, deviceFields, type Options, type SubmitOptions } from "./schema.ts";
import { type Queue, queueOf, readJobs, submitToSlurm } from "./slurm_engine.ts";
import { hasPrefix, sharesPrefix } from "./shared_prefix.ts";
import { readStatus, tasksLeft, type TaskStatus } from "./status.ts";
import { gatherStudy, requirePlan } from "./study.ts";

const log = (line: string) => console.log(line);

/** Options by which each task opens the device that was named. */
export function deviceArgs(devices: SubmitOptions["devices"]): string[] {
  return Object.entries(deviceFields).flatMap(([name, { flag }]) => {
    const value = devices[name as keyof typeof devices];
    return value == null ? [] : [`--${flag}=${value}`];
  });
}

/** The complaint that there is nothing to submit. */
function nothingLeft(
  path: string,
  { status, queue, failedAlone }: {
    status: readonly TaskStatus[];
    /** Null of an engine that has none. */
    queue: Queue | null;
    failedAlone: boolean;
  },
): InputError {
  const waiting = queue === null ? 0 : queue.tasks.size + queue.gather.length;
  const running = status.filter(({ state }) => state === "running").length;
  const isDone = tasksLeft(status, { failedAlone: false }).length === 0 && running === 0;
  const study = shellWord(path);
  return new InputError(
    isDone && waiting === 0
      ? `all tasks of ${path} are done: ./run experiments gather ${study} pools them`
      : failedAlone
      ? `no task of ${path} has failed; ./run experiments status ${study} shows them`
      : waiting > 0
      ? `no task of ${path} is left to submit: ${waiting} jobs wait or run`
      : `no task of ${path} is left to submit: ${running} run; ./run experiments gather ${study} pools them when they are done`,
  );
}

/**
 * Runs or submits the tasks of a study that are not done and that nobody computes, and what gathers them.
 *
 * @param options.failedAlone Leave out what was never begun.
 * @throws {InputError} if nothing is left to submit, the scheduler refuses, or tasks were not finished.
 * @throws {GuardError} if a guard has ended a run; everything is written by then.
 */
export async function submitStudy(
  path: string,
  { options, engine, failedAlone, publish }: {
    options: Options;
    engine: SubmitOptions;
    failedAlone: boolean;
    publish: Publish;
  },
): Promise<void> {
  const begun = await requirePlan(path);
  if (begun === null) return log(`${path} is whole: nothing is left to do.`);
  requireNamed(path, { begun, given: options.given });
  const plan = changePlan(path, { begun, options });
  // Else every task would say it, once it has its turn.
  const now = { ...begun, code: await codeVersion() };
  requirePresent(path, { begun, now, force: options.force });
  const status = await readStatus(path, plan);
  const states = new Map(status.map(({ task, state }) => [task, state]));
  const isDone = (task: number) => ["finished", "guarded"].includes(states.get(task)!);
  const tasks = tasksOf(plan);
  const wanted = tasksLeft(status, { failedAlone }).map((own): QueuedTask => {
    const { needs } = tasks[own.task - 1];
    return { ...own, needs: needs !== null && !isDone(needs) ? needs : null };
  });
  const isPrefixed = wanted.length > 1 && sharesPrefix(plan) && !await hasPrefix(path);
  const prefix: QueuedTask[] = isPrefixed
    ? [{ task: 0, row: "what all share", part: "", needs: null }]
    : [];
  const args = [
    ...PATH_FIELDS.flatMap((name) => {
      const value = plan.config[name];
      return value === null ? [] : [`--${configFields[name].flag}=${value}`];
    }),
    ...(options.force ? ["--force"] : []),
  ];
  const { devices } = engine;
  const taskArgs = [...args, ...deviceArgs(devices)];
  if (engine.engine === "slurm") {
    // Nobody else submits meanwhile.
    using _folder = await StudyFolder.open(path);
    const before = await readJobs(path);
    const queue = await queueOf(before);
    const left = wanted.filter(({ task }) => !queue.tasks.has(task));
    if (left.length === 0) throw nothingLeft(path, { status, queue, failedAlone });
    const estimates = (await readTasksFile(path))?.flatMap(({ estimate }) =>
      estimate?.seconds ?? []
    );
    const seconds = estimates && estimates.length > 0 ? Math.max(...estimates) : null;
    const jobs = await submitToSlurm(path, left, {
      options: engine,
      args,
      taskArgs,
      seconds,
      before,
      queue,
      isPrefixed,
    });
    if (jobs.prefix) log(`Submitted job ${jobs.prefix}: what the tasks share`);
    for (const { job, tasks, offset } of jobs.arrays) {
      log(`Submitted job ${job}: tasks ${tasks}${offset > 0 ? `, each and ${offset}` : ""}`);
    }
    return log(
      `Submitted job ${jobs.gather}, which gathers them; ./run experiments status ${
        shellWord(path)
      } shows them`,
    );
  }
  using _engine = await takeEngine(path);
  if (wanted.length === 0 && status.some(({ task }) => !isDone(task))) {
    throw nothingLeft(path, { status, queue: null, failedAlone });
  }
  if (wanted.length > 0) {
    const { workers } = engine;
    const cards = devices.device == null ? gpuCards() : []; // all take the one that is named
    // Without it each task computes as much: its failure ends nothing.
    await runLocally(path, prefix, { workers: 1, cards, args: taskArgs, log });
    requireFinished(path, await runLocally(path, wanted, { workers, cards, args: taskArgs, log }));
  }
  await gatherStudy(path, { options, publish });
}
