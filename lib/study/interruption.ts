import process from "node:process";
import { dropWrites } from "../fs.ts";

/** Exit codes as a shell counts them: 128 and the signal's number. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129, SIGBREAK: 149 } as const;

/** A signal that asks a program to stop. */
export type SignalName = keyof typeof EXIT_CODES;

/** Variable of the environment with the process id of the launcher, which tells signals on. */
export const LAUNCHER = "SAMLORA_LAUNCHER";

/** Milliseconds that saving may take after a signal. */
const PATIENCE = 9000;

/** Process id of the launcher that started this program; null if none did, or it may not be known. */
export function launcherOf(): number | null {
  const { state } = Deno.permissions.querySync({ name: "env", variable: LAUNCHER });
  return state === "granted" ? Number(Deno.env.get(LAUNCHER)) || null : null;
}

/** The signals that ask a program of this system to stop. */
export function signalNames(): readonly SignalName[] {
  return Deno.build.os === "windows"
    ? ["SIGINT", "SIGBREAK", "SIGHUP"]
    : ["SIGINT", "SIGTERM", "SIGHUP"];
}

/** Thrown when a signal asked the program to stop and its state was kept. */
export class Interrupted extends Error {
  /** Tells it from other errors in messages. */
  override readonly name = "Interrupted";
  /** The exit code that goes with the signal. */
  readonly exitCode: number;

  /** Names the signal. */
  constructor(signal: SignalName, hint: string) {
    super(`stopped by ${signal}${hint}`);
    this.exitCode = EXIT_CODES[signal];
  }
}

/** Message to the worker that hears signals. */
export interface Listening {
  /** Signals to hear. */
  readonly names: readonly SignalName[];
  /** One number in shared memory: that of the signal that was heard, from 1; 0 before. */
  readonly heard: Int32Array;
  /** Process id of the launcher, whose end counts as a SIGHUP; null if there is none. */
  readonly launcher: number | null;
}

/**
 * Listens for signals until it is disposed of. While something runs that can save its state, the first
 * signal asks it to; otherwise the program exits. Signals within 0.3 seconds are one: a terminal sends
 * each to every process of a command, and the launcher passes its own on. The second says what is lost if
 * the program ends now, the third ends it.
 *
 * Work that holds the event loop for long calls {@linkcode poll} now and then: a worker hears signals.
 */
export class Interruption implements Disposable {
  /** Advice on going on, told after the signal's name. */
  hint = "";
  readonly #controller = new AbortController();
  readonly #worker: Worker;
  readonly #names = signalNames();
  readonly #heard = new Int32Array(new SharedArrayBuffer(4));
  #stopping = false;
  #saves = false;

  private constructor() {
    const script = new URL("./signal_listener.ts", import.meta.url);
    this.#worker = new Worker(script, { type: "module" });
  }

  /** Starts to listen. */
  static async start(): Promise<Interruption> {
    const interruption = new Interruption();
    const worker = interruption.#worker;
    await new Promise<void>((listening) => {
      worker.onmessage = () => listening();
      const [names, heard] = [interruption.#names, interruption.#heard];
      worker.postMessage({ names, heard, launcher: launcherOf() } satisfies Listening);
    });
    worker.onmessage = () => interruption.#stop();
    return interruption;
  }

  /** Aborted, with an {@linkcode Interrupted}, when a signal came while something can save. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /**
   * Looks, without a turn of the event loop, whether a signal has come.
   *
   * @throws {Interrupted} once, after one has come while something can save.
   */
  readonly poll = (): void => {
    if (this.#stopping || Atomics.load(this.#heard, 0) === 0) return;
    this.#stop();
    this.signal.throwIfAborted();
  };

  /** Runs what saves its state when {@linkcode signal} is aborted, and then throws its reason. */
  async saving<T>(work: () => Promise<T>): Promise<T> {
    this.#saves = true;
    this.kept();
    try {
      return await work();
    } finally {
      this.#saves = false;
      this.#worker.postMessage(null);
    }
  }

  /** Notes that what has been done so far is kept. */
  kept(): void {
    if (this.#saves) this.#worker.postMessage(new Date().toTimeString().slice(0, 8));
  }

  #stop(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    const name = this.#names[Atomics.load(this.#heard, 0) - 1];
    const reason = new Interrupted(name, this.hint);
    const exit = () => {
      console.error(reason.message);
      process.exit(reason.exitCode);
    };
    if (!this.#saves) {
      dropWrites();
      exit();
    }
    this.#controller.abort(reason);
    // Should the disk hang, the checkpoint before this one counts.
    Deno.unrefTimer(setTimeout(exit, PATIENCE));
  }

  /** Stops to listen. */
  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}
