/**
 * Runs the tasks of a study by several processes on this machine, one a GPU where there are some.
 *
 * @module
 */
import { join } from "node:path";
import { InputError, shellWord } from "../errors.ts";
import { requireFolder } from "../fs.ts";
import { cardEnvironment } from "./devices.ts";
import { Interrupted, signalNames } from "./interruption.ts";
import { spawnCommand } from "./launcher.ts";
import { isAlive, Lease, machineName, readLease } from "./lease.ts";
import type { TaskStatus } from "./status.ts";

/** Folder of what tasks print, within a study's. */
export const LOGS = "logs";

/** A task to be run. */
export interface QueuedTask extends Pick<TaskStatus, "task" | "row" | "part"> {
  /** Number of a task that has to be done first; null if there is none, or it is done. */
  readonly needs: number | null;
}

/**
 * Variables of each process that is to compute: GPUs have their turns; without any, or with one, all
 * processes take what WebGPU opens first.
 *
 * @param cards PCI addresses of the GPUs.
 */
export function assignCards(workers: number, cards: readonly string[]): Record<string, string>[] {
  return Array.from(
    { length: workers },
    (_, i) => cards.length > 1 ? cardEnvironment(cards[i % cards.length]) : {},
  );
}

/** Processes for a machine with these GPUs, unless a number is named. */
export function workersFor(named: number | null, cards: readonly string[]): number {
  return named ?? Math.max(1, cards.length);
}

/**
 * Runs tasks until none is left that can be run. What each prints goes to a file of its own.
 *
 * @param options.args Options that every task is given, such as paths of data.
 * @returns the numbers of the tasks that were not finished.
 * @throws {Interrupted} once all have saved, after a signal.
 */
export async function runLocally(
  path: string,
  tasks: readonly QueuedTask[],
  { workers: named, cards, args, log }: {
    workers: number | null;
    /** PCI addresses of the GPUs that the processes share. */
    cards: readonly string[];
    args: readonly string[];
    log: (line: string) => void;
  },
): Promise<number[]> {
  const workers = Math.min(workersFor(named, cards), tasks.length);
  await requireFolder(join(path, LOGS));
  const queue = [...tasks];
  const left = new Set(tasks.map(({ task }) => task));
  const failed: number[] = [];
  const running = new Map<number, Deno.ChildProcess>();
  const stop: { signal: ReturnType<typeof signalNames>[number] | null } = { signal: null };
  let wake = Promise.withResolvers<void>();

  const next = (): QueuedTask | null => {
    const i = queue.findIndex(({ needs }) => needs === null || !left.has(needs));
    return i < 0 ? null : queue.splice(i, 1)[0];
  };
  const run = async (own: QueuedTask, env: Record<string, string>) => {
    const file = join(path, LOGS, `${own.task}.log`);
    log(`Task ${own.task}, ${nameOf(own)}: begun (${file})`);
    // A line that a full disk keeps from a log ends no task.
    const output = await Deno.open(file, { create: true, append: true }).catch(() => null);
    const words = ["experiments", "task", path, `${own.task}`, ...args];
    const child = spawnCommand(words, { env, stdout: "piped" });
    running.set(own.task, child);
    for await (const part of child.stdout) await output?.write(part).catch(() => {});
    output?.close();
    const { code } = await child.status;
    running.delete(own.task);
    if (code === 0) left.delete(own.task);
    else failed.push(own.task);
    log(`Task ${own.task}, ${nameOf(own)}: ${code === 0 ? "finished" : `ended with code ${code}`}`);
  };
  const work = async (env: Record<string, string>) => {
    while (stop.signal === null) {
      const own = next();
      if (own) {
        await run(own, env);
        wake.resolve();
        wake = Promise.withResolvers();
      } else if (queue.length === 0 || running.size === 0) return;
      else await wake.promise; // what is left needs one that is under way
    }
  };
  const listeners = signalNames().map((name) => {
    const pass = () => {
      stop.signal ??= name;
      for (const child of running.values()) {
        try {
          child.kill(name === "SIGBREAK" ? "SIGTERM" : name);
        } catch {
          // It has ended by itself.
        }
      }
      wake.resolve();
    };
    Deno.addSignalListener(name, pass);
    return [name, pass] as const;
  });
  try {
    await Promise.all(assignCards(workers, cards).map(work));
  } finally {
    for (const [name, pass] of listeners) Deno.removeSignalListener(name, pass);
  }
  if (stop.signal !== null) {
    throw new Interrupted(
      stop.signal,
      `; what is done is kept: ./run experiments submit ${shellWord(path)} --engine local goes on`,
    );
  }
  return [...left].sort((a, b) => a - b);
}

/** Folder of the lease of the process that runs a study's tasks on this machine. */
function engineFolder(path: string, machine: string): string {
  return join(path, LOGS, machine);
}

/**
 * Takes the part of the one process that runs a study's tasks on this machine.
 *
 * @throws {InputError} if another has it.
 */
export async function takeEngine(path: string): Promise<Lease> {
  return await Lease.take(engineFolder(path, machineName() ?? "here"));
}

/** Process that runs a study's tasks on some machine. */
export interface LocalEngine {
  readonly machine: string;
  readonly pid: number;
  readonly isHere: boolean;
}

/** Processes that run a study's tasks. */
export async function localEngines(path: string): Promise<LocalEngine[]> {
  const engines: LocalEngine[] = [];
  const entries = await Array.fromAsync(Deno.readDir(join(path, LOGS))).catch(() => []);
  for (const { name: machine } of entries.filter(({ isDirectory }) => isDirectory)) {
    const folder = engineFolder(path, machine);
    const found = await readLease(folder);
    if (!found?.holder || !await isAlive(folder, found)) continue;
    engines.push({ machine, pid: found.holder.pid, isHere: machine === machineName() });
  }
  return engines;
}

/** Asks a process of this machine to stop; its tasks save first. */
export async function stopEngine({ pid }: LocalEngine): Promise<void> {
  await new Deno.Command("/bin/sh", { args: ["-c", 'kill -TERM "$0"', `${pid}`] }).output();
}

/** Part and row of a task. */
function nameOf({ part, row }: QueuedTask): string {
  return part === "" ? row : `${row} in ${part}`;
}

/**
 * Says which tasks were not finished.
 *
 * @throws {InputError} naming them and their files.
 */
export function requireFinished(path: string, left: readonly number[]): void {
  if (left.length === 0) return;
  throw new InputError(
    `${left.length} tasks were not finished: ${left.join(", ")}; ${
      join(path, LOGS)
    } says why, and ./run experiments submit ${shellWord(path)} --engine local runs them again`,
  );
}
