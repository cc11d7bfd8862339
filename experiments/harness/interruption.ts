import process from "node:process";

/** Exit codes as a shell counts them: 128 and the signal's number. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

/** Milliseconds that saving may take after a signal. */
const PATIENCE = 4500;

/** Thrown when a signal asked the program to stop and its state was kept. */
export class Interrupted extends Error {
  /** Tells it from other errors in messages. */
  override readonly name = "Interrupted";
  /** The exit code that goes with the signal. */
  readonly exitCode: number;

  /** Names the signal. */
  constructor(signal: keyof typeof EXIT_CODES, hint: string) {
    super(`stopped by ${signal}${hint}`);
    this.exitCode = EXIT_CODES[signal];
  }
}

/**
 * Listens for SIGINT and SIGTERM until it is disposed of. While something runs that can save its
 * state, the first signal asks it to; otherwise the program exits. The second signal, whatever goes
 * on, finds no listener and so ends the program at once.
 */
export class Interruption implements Disposable {
  /** What is said of how to go on, after the signal's name. */
  hint = "";
  readonly #controller = new AbortController();
  readonly #listeners: (readonly [keyof typeof EXIT_CODES, () => void])[];
  #saves = false;

  /** Starts to listen. */
  constructor() {
    const names: (keyof typeof EXIT_CODES)[] = Deno.build.os === "windows"
      ? ["SIGINT"]
      : ["SIGINT", "SIGTERM"];
    this.#listeners = names.map((name) => [name, () => this.#stop(name)]);
    for (const [name, listener] of this.#listeners) Deno.addSignalListener(name, listener);
  }

  /** Aborted, with an {@linkcode Interrupted}, when a signal came while something can save. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Runs what saves its state when {@linkcode signal} is aborted, and then throws its reason. */
  async saving<T>(work: () => Promise<T>): Promise<T> {
    this.#saves = true;
    try {
      return await work();
    } finally {
      this.#saves = false;
    }
  }

  #stop(name: keyof typeof EXIT_CODES): void {
    this[Symbol.dispose]();
    const reason = new Interrupted(name, this.hint);
    const exit = () => {
      console.error(reason.message);
      process.exit(reason.exitCode);
    };
    if (!this.#saves) exit();
    console.error(`\n${name}: saving; once more stops at once`);
    this.#controller.abort(reason);
    // Should the disk hang, the checkpoint before this one counts.
    Deno.unrefTimer(setTimeout(exit, PATIENCE));
  }

  /** Stops to listen. */
  [Symbol.dispose](): void {
    for (const [name, listener] of this.#listeners) Deno.removeSignalListener(name, listener);
  }
}
