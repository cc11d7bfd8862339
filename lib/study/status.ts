/**
 * State of each task of a study, read from the files that tasks keep: by any machine, while others compute.
 *
 * @module
 */
import { join } from "node:path";
import { isAlive, readLease } from "./lease.ts";
import { type Plan, type PlannedTask, readTasksFile, type TaskEstimate, tasksOf } from "./plan.ts";
import { configOf } from "./experiment.ts";
import { trainingsOf } from "./forecast.ts";
import { FILES } from "./results.ts";
import { hasPrefix, PREFIX, sharesPrefix } from "./shared_prefix.ts";
import { METRICS, RUN, taskFolder } from "./task_files.ts";

/** States of a task, those that end it last. */
export const STATES = [
  "waiting",
  "running",
  "stopped",
  "lost",
  "failed",
  "guarded",
  "finished",
] as const;

/**
 * State of a task: nobody has begun it; a process computes it; one was asked to stop; one was not heard of
 * any more; one ended with an error; a guard has ended its training; it is finished.
 */
export type TaskState = typeof STATES[number];

/** A task as its files tell of it. */
export interface TaskStatus {
  /** Its number, from 1. */
  readonly task: number;
  readonly row: string;
  readonly part: string;
  readonly state: TaskState;
  /** Epochs that are done, and those that it has; of several candidates, of the one under way. */
  readonly epoch: number;
  readonly epochs: number;
  /** Validation Dice of the last epoch; null before its end. */
  readonly dice: number | null;
  /** Seconds that it has left; null where that is not known. */
  readonly secondsLeft: number | null;
  readonly machine: string | null;
  readonly device: string | null;
  /** Number of the scheduler's job. */
  readonly job: string | null;
  /** Sentence on a failure. */
  readonly message: string | null;
}

/** Tasks whose files are read at a time. */
const AT_ONCE = 32;

/** Reads the state of every task. */
export async function readStatus(path: string, plan: Plan): Promise<TaskStatus[]> {
  const estimates = await readTasksFile(path);
  const tasks = tasksOf(plan);
  const found = new Array<TaskStatus>(tasks.length);
  let next = 0;
  const reader = async () => {
    while (next < tasks.length) {
      const i = next++;
      found[i] = await statusOf(path, tasks[i], estimates?.[i]?.estimate ?? null);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, reader));
  return found;
}

/** Reads the state of what the tasks share, as task 0; null if they share nothing. */
export async function readPrefixStatus(path: string, plan: Plan): Promise<TaskStatus | null> {
  if (!sharesPrefix(plan)) return null;
  const folder = join(path, PREFIX);
  const found = await readLease(folder);
  const { machine = null, device = null, job = null, outcome = null, message = null } =
    found?.holder ?? {};
  const state: TaskState = await hasPrefix(path)
    ? "finished"
    : found === null
    ? "waiting"
    : outcome ?? (await isAlive(folder, found) ? "running" : "lost");
  return {
    task: 0,
    row: "what all share",
    part: "",
    state,
    epoch: 0,
    epochs: 0,
    dice: null,
    secondsLeft: null,
    machine,
    device,
    job,
    message,
  };
}

/** Metrics of the epochs of a task, as far as they are needed here. */
interface Progress {
  readonly epochs: number;
  readonly dice: number | null;
  readonly secondsAnEpoch: number | null;
}

async function statusOf(
  path: string,
  { number, part, experiment }: PlannedTask,
  estimate: TaskEstimate | null,
): Promise<TaskStatus> {
  const folder = join(path, taskFolder(part.name, experiment.name));
  const found = await readLease(folder);
  const isChosen = part.chosenBy !== null;
  const [training] = trainingsOf(experiment, {
    config: configOf(experiment, part.config),
    isChosen,
  });
  const epochs = training?.epochs ?? 0;
  const of = (state: TaskState, more: Partial<TaskStatus> = {}): TaskStatus => ({
    task: number,
    row: experiment.name,
    part: part.name,
    state,
    epoch: 0,
    epochs,
    dice: null,
    secondsLeft: null,
    machine: found?.holder?.machine ?? null,
    device: found?.holder?.device ?? null,
    job: found?.holder?.job ?? null,
    message: found?.holder?.message ?? null,
    ...more,
  });
  if (found === null) return of("waiting", { secondsLeft: estimate?.seconds ?? null });
  const progress = await progressOf(folder);
  const { epochs: epoch, dice, secondsAnEpoch } = progress;
  const isFinished = await Deno.stat(join(folder, FILES.records)).then(() => true, () => false);
  if (isFinished) return of("finished", { epoch, dice, secondsLeft: 0 });
  const { outcome = null } = found.holder ?? {};
  if (outcome === "finished") {
    return of("guarded", { epoch, dice, secondsLeft: 0, message: await guardMessage(folder) });
  }
  if (outcome !== null) return of(outcome, { epoch, dice });
  if (!await isAlive(folder, found)) return of("lost", { epoch, dice });
  const since = (Date.now() - Date.parse(found.holder?.since ?? "")) / 1000;
  const secondsLeft = secondsAnEpoch !== null
    ? (epochs - epoch) * secondsAnEpoch
    : estimate && Number.isFinite(since)
    ? Math.max(0, estimate.seconds - since)
    : null;
  return of("running", { epoch, dice, secondsLeft });
}

async function progressOf(folder: string): Promise<Progress> {
  const text = await Deno.readTextFile(join(folder, METRICS)).catch(() => "");
  const lines = text.trim() === "" ? [] : text.trim().split("\n");
  try {
    const epochs: { validationDice: number; seconds: number }[] = lines.map((line) =>
      JSON.parse(line)
    );
    const seconds = epochs.map(({ seconds }) => seconds).sort((a, b) => a - b);
    return {
      epochs: epochs.length,
      dice: epochs.at(-1)?.validationDice ?? null,
      secondsAnEpoch: seconds[seconds.length >> 1] ?? null,
    };
  } catch {
    return { epochs: lines.length, dice: null, secondsAnEpoch: null };
  }
}

async function guardMessage(folder: string): Promise<string | null> {
  try {
    return JSON.parse(await Deno.readTextFile(join(folder, RUN))).guard?.message ?? null;
  } catch {
    return null;
  }
}

/**
 * Tasks that are to be run: all that are not done and that no process computes.
 *
 * @param options.failedAlone Leave out what was never begun.
 */
export function tasksLeft(
  status: readonly TaskStatus[],
  { failedAlone }: { failedAlone: boolean },
): TaskStatus[] {
  const wanted: readonly TaskState[] = ["stopped", "lost", "failed"];
  return status.filter(({ state }) =>
    wanted.includes(state) || !failedAlone && state === "waiting"
  );
}
