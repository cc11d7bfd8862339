import process from "node:process";
import { dropWrites } from "../fs.ts";

/** Exit codes as a shell counts them: 128 and the signal's number. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

type SignalName = keyof typeof EXIT_CODES;

/** Milliseconds that saving may take after a signal. */
const PATIENCE = 4500;

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

/**
 * Listens for SIGINT and SIGTERM until it is disposed of. While something runs that can save its
 * state, the first signal asks it to; otherwise the program exits. The second signal, whatever goes
 * on, finds no listener and so ends the program at once.
 *
 * What holds the event loop for long calls {@linkcode poll} now and then: signals are heard by a worker.
 */
export class Interruption implements Disposable {
  /** What is said of how to go on, after the signal's name. */
  hint = "";
  readonly #controller = new AbortController();
  readonly #worker: Worker;
  readonly #names: readonly SignalName[];
  /** The number of the signal that was heard, from 1; 0 before. The worker writes it. */
  readonly #heard = new Int32Array(new SharedArrayBuffer(4));
  #stopping = false;
  #saves = false;

  private constructor() {
    this.#names = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
    const script = new URL("./signal_listener.ts", import.meta.url);
    this.#worker = new Worker(script, { type: "module" });
  }

  /** Starts to listen. */
  static async start(): Promise<Interruption> {
    const interruption = new Interruption();
    const worker = interruption.#worker;
    await new Promise<void>((listening) => {
      worker.onmessage = () => listening();
      worker.postMessage({ names: interruption.#names, heard: interruption.#heard });
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
    try {
      return await work();
    } finally {
      this.#saves = false;
    }
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
    console.error(`\n${name}: saving; once more stops at once`);
    this.#controller.abort(reason);
    // Should the disk hang, the checkpoint before this one counts.
    Deno.unrefTimer(setTimeout(exit, PATIENCE));
  }

  /** Stops to listen. */
  [Symbol.dispose](): void {
    this.#worker.terminate();
  }
}
