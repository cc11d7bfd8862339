/**
 * Lease on a folder that processes write to, on one machine or on several that share a file system. The
 * holder touches its file every few seconds; one that was not heard of for long enough is succeeded, and
 * writes nothing more from then on.
 *
 * Leases are numbered files: making `000002` where the newest is `000001` succeeds for one process alone on
 * every file system, NFS included. Clocks of machines are not compared: whoever waits watches for a change.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import { cannotWrite, requireFolder } from "../fs.ts";
import type { Keeping } from "./lease_keeper.ts";

/** Folder of the leases within the one that they are on. */
export const LEASES = "lease";

/** Seconds without a sign of life after which a holder on another machine is succeeded. */
export const LEASE_SECONDS = 60;

/** Signs of life in the time after which a holder is succeeded. */
const BEATS = 12;

/** Variable in which the launcher tells a command the name of this machine. */
export const MACHINE = "SAMLORA_MACHINE";

/** Variables by which a scheduler says where a process runs, and which of its jobs that is. */
export const SCHEDULER = {
  node: "SLURMD_NODENAME",
  job: "SLURM_JOB_ID",
  array: "SLURM_ARRAY_JOB_ID",
  task: "SLURM_ARRAY_TASK_ID",
  gpus: "SLURM_JOB_GPUS",
} as const;

const OUTCOMES = ["finished", "stopped", "failed"] as const;

/** End of a holder's work. */
export type Outcome = typeof OUTCOMES[number];

const holderSchema = v.object({
  /** Name of the machine; null if it is not known. */
  machine: v.nullable(v.string()),
  pid: v.number(),
  /** Number of the scheduler's job; null for a process that none has started. */
  job: v.nullable(v.string()),
  /** Name of the device that it computes on; null as long as none is open. */
  device: v.nullable(v.string()),
  /** When it began, ISO 8601. */
  since: v.string(),
  /** Seconds without a sign of life after which it is succeeded. */
  seconds: v.pipe(v.number(), v.gtValue(0)),
  /** End of its work; null while it works, and for one that was killed. */
  outcome: v.nullable(v.picklist(OUTCOMES)),
  /** Sentence on a failure. */
  message: v.nullable(v.string()),
});

/** Process that holds a folder, or held it last. */
export type Holder = v.InferOutput<typeof holderSchema>;

/** Newest lease of a folder. */
export interface FoundLease {
  /** Counted from 1. */
  readonly number: number;
  /** Null while the holder is about to write who it is. */
  readonly holder: Holder | null;
  /** Last sign of life, in milliseconds since 1970 by the file system's clock. */
  readonly beat: number;
}

/** Variable of the environment; null if it is empty or may not be read. */
export function variable(name: string): string | null {
  const { state } = Deno.permissions.querySync({ name: "env", variable: name });
  return state === "granted" ? Deno.env.get(name) || null : null;
}

/** Name of this machine as its scheduler, else its launcher, calls it; null if it may not be known. */
export function machineName(): string | null {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "hostname" });
  const own = state === "granted" ? Deno.hostname() : null;
  return variable(SCHEDULER.node) ?? variable(MACHINE) ?? own;
}

/** The scheduler's number of the job that this process is; null if none has started it. */
function jobName(): string | null {
  const array = variable(SCHEDULER.array);
  return array === null ? variable(SCHEDULER.job) : `${array}_${variable(SCHEDULER.task)}`;
}

function fileOf(folder: string, number: number): string {
  return join(folder, LEASES, String(number).padStart(6, "0"));
}

/** Number of the newest lease; 0 if there is none. */
function newestNumber(folder: string): number {
  try {
    const names = [...Deno.readDirSync(join(folder, LEASES))].map(({ name }) => name);
    return Math.max(0, ...names.filter((name) => /^\d{6,}$/.test(name)).map(Number));
  } catch {
    return 0;
  }
}

/** The newest lease of a folder; null if nobody has held it. */
export async function readLease(folder: string): Promise<FoundLease | null> {
  for (let attempt = 0; attempt < 3; attempt++) {
    const number = newestNumber(folder);
    if (number === 0) return null;
    try {
      // Opening a file makes NFS ask the server for its times.
      using file = await Deno.open(fileOf(folder, number));
      const bytes = await new Response(file.readable).bytes();
      const { mtime } = await Deno.stat(fileOf(folder, number));
      return { number, holder: parseHolder(bytes), beat: mtime?.getTime() ?? 0 };
    } catch {
      // It was succeeded meanwhile.
    }
  }
  return null;
}

function parseHolder(bytes: Uint8Array): Holder | null {
  try {
    const result = v.safeParse(holderSchema, JSON.parse(new TextDecoder().decode(bytes)));
    return result.success ? result.output : null;
  } catch {
    return null;
  }
}

/** True if the file of a lease is locked by a process of this machine; null where files have no locks. */
async function isLocked(path: string): Promise<boolean | null> {
  try {
    using file = await Deno.open(path, { read: true, write: true });
    return !await file.tryLock(true);
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? false : null;
  }
}

/** True if a lease is certainly over: given back, or of a process of this machine that has ended. */
async function isOver(folder: string, { number, holder }: FoundLease): Promise<boolean> {
  if (holder === null) return false;
  if (holder.outcome !== null) return true;
  const isHere = holder.machine !== null && holder.machine === machineName();
  return isHere && await isLocked(fileOf(folder, number)) === false;
}

/** True if a holder has given a sign of life lately, by the clocks of both machines. */
export async function isAlive(folder: string, found: FoundLease): Promise<boolean> {
  if (await isOver(folder, found)) return false;
  return Date.now() - found.beat < 1000 * (found.holder?.seconds ?? LEASE_SECONDS);
}

/** True if a process certainly, or perhaps, writes to a folder; nothing is waited for. */
export async function mayBeHeld(folder: string): Promise<boolean> {
  const found = await readLease(folder);
  return found !== null && !await isOver(folder, found);
}

/**
 * Waits until a lease is over, or its holder was not heard of for long enough.
 *
 * @throws {InputError} if the holder is alive.
 */
async function outlive(folder: string, found: FoundLease): Promise<void> {
  const { number, holder, beat } = found;
  if (await isOver(folder, found)) return;
  const isHere = holder !== null && holder.machine !== null && holder.machine === machineName();
  if (isHere && await isLocked(fileOf(folder, number))) throw held(folder, holder);
  const seconds = holder?.seconds ?? LEASE_SECONDS;
  const end = performance.now() + 1000 * seconds;
  while (performance.now() < end) {
    await new Promise((done) => setTimeout(done, 1000 * seconds / BEATS / 2));
    const now = await readLease(folder);
    if (now === null) continue; // it cannot be read, or was removed: whoever takes it will see
    if (now.number !== number || now.holder?.outcome) return;
    if (now.beat !== beat) throw held(folder, now.holder);
  }
}

function held(folder: string, holder: Holder | null): InputError {
  const { pid, machine, job } = holder ?? {};
  const place = [
    ...(pid ? [`process ${pid}`] : []),
    ...(machine ? [`on ${excerpt(machine)}`] : []),
    ...(job ? [`of job ${excerpt(job)}`] : []),
  ].join(" ");
  return new InputError(
    `another process is writing to ${folder}: wait until it ends, or name another folder${
      place && ` (${place})`
    }`,
  );
}

/** A folder that this process writes to, and no other. */
export class Lease implements Disposable {
  readonly #folder: string;
  readonly #number: number;
  readonly #file: Deno.FsFile;
  readonly #inode: number | null;
  readonly #keeper: Worker;
  #holder: Holder;

  private constructor(
    folder: string,
    { number, file, holder }: { number: number; file: Deno.FsFile; holder: Holder },
  ) {
    this.#folder = folder;
    this.#number = number;
    this.#file = file;
    this.#inode = file.statSync().ino;
    this.#holder = holder;
    // Compiling a kernel holds the main thread for seconds.
    this.#keeper = new Worker(new URL("./lease_keeper.ts", import.meta.url), { type: "module" });
    const every = 1000 * holder.seconds / BEATS;
    this.#keeper.postMessage({ path: fileOf(folder, number), every } satisfies Keeping);
    globalThis.addEventListener("unload", this.#leave);
  }

  /** Gives the folder back if that was not done, such as by a signal before there is anything to save. */
  readonly #leave = (): void => {
    if (this.#holder.outcome === null) this.end("stopped");
  };

  /**
   * Takes a folder, which is made if it is missing. Of a holder on another machine, whose end cannot be
   * seen, its signs of life are waited for.
   *
   * @param options.seconds Seconds without a sign of life after which others may succeed this process.
   * @throws {InputError} if another process has it, or its file system cannot be written to.
   */
  static async take(
    folder: string,
    { seconds = LEASE_SECONDS }: { seconds?: number } = {},
  ): Promise<Lease> {
    await requireFolder(join(folder, LEASES));
    for (;;) {
      const found = await readLease(folder);
      if (found) await outlive(folder, found);
      const number = (found?.number ?? 0) + 1;
      const path = fileOf(folder, number);
      let file: Deno.FsFile;
      try {
        file = await Deno.open(path, { createNew: true, read: true, write: true });
      } catch (error) {
        if (error instanceof Deno.errors.AlreadyExists) continue;
        throw cannotWrite(path, error);
      }
      await file.tryLock(true).catch(() => {}); // where files have no locks, signs of life alone count
      const holder: Holder = {
        machine: machineName(),
        pid: process.pid,
        job: jobName(),
        device: null,
        since: new Date().toISOString(),
        seconds,
        outcome: null,
        message: null,
      };
      try {
        write(file, holder);
      } catch (error) {
        file.close();
        await Deno.remove(path).catch(() => {});
        throw cannotWrite(path, error);
      }
      for (let older = number - 1; older > 0 && older > number - 4; older--) {
        await Deno.remove(fileOf(folder, older)).catch(() => {});
      }
      return new Lease(folder, { number, file, holder });
    }
  }

  /**
   * Checks, before something is written, that the folder is still this process's.
   *
   * @throws {InputError} if it was removed, or another process has taken over.
   */
  check(): void {
    const newest = newestNumber(this.#folder);
    if (newest > this.#number) {
      throw new InputError(
        `another process has taken over ${this.#folder}, since this one was not heard of for ${this.#holder.seconds} s: it writes nothing more`,
      );
    }
    let inode: number | null | undefined;
    try {
      inode = Deno.statSync(fileOf(this.#folder, this.#number)).ino;
    } catch {
      // Removed.
    }
    if (inode !== undefined && inode === this.#inode) return;
    throw new InputError(
      `${this.#folder} was removed or replaced while the study was writing to it: start the study again`,
    );
  }

  /** Tells whoever asks for the state of the folder on what this process computes. */
  computesOn(device: string): void {
    this.#write({ device });
  }

  /** Gives the folder back: the next process need not wait. */
  end(outcome: Outcome, message: string | null = null): void {
    this.#write({ outcome, message });
  }

  #write(changed: Partial<Holder>): void {
    this.#holder = { ...this.#holder, ...changed };
    try {
      if (newestNumber(this.#folder) === this.#number) write(this.#file, this.#holder);
    } catch {
      // The lock that goes with the process, or the time, says the same.
    }
  }

  /** Stops the signs of life, and gives the folder back if that was not done. */
  [Symbol.dispose](): void {
    this.#keeper.terminate();
    globalThis.removeEventListener("unload", this.#leave);
    this.#leave();
    this.#file.close();
  }
}

/** Bytes of a lease's file: a full disk still takes what replaces as many bytes. */
const SIZE = 1024;

function write(file: Deno.FsFile, { message, ...holder }: Holder): void {
  const text = JSON.stringify({ ...holder, message: message && message.slice(0, 400) });
  const bytes = new TextEncoder().encode(text.padEnd(SIZE));
  file.seekSync(0, Deno.SeekMode.Start);
  for (let done = 0; done < bytes.length;) done += file.writeSync(bytes.subarray(done));
}
