import { createInterface } from "node:readline";
import { Readable } from "node:stream";

/** Milliseconds after an answer in which a peer's idle threads may still spin. */
const SPIN_MILLISECONDS = 250;

/** Milliseconds after which a peer that does not answer is given up. */
const PATIENCE_MILLISECONDS = 600_000;

/** Lines of the error output that are kept to say why a peer ended. */
const ERROR_LINES = 20;

/** A process that answers a line by a line of JSON. */
export class Peer implements Disposable {
  readonly #process: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #lines: AsyncIterator<string>;
  readonly #errors: Promise<string[]>;
  readonly #pause: number;

  /**
   * Starts a program.
   *
   * @param options.threaded Its threads may spin for a while after an answer: wait for them to sleep.
   */
  constructor(
    command: string,
    args: readonly string[],
    options: { env?: Readonly<Record<string, string>>; threaded?: boolean } = {},
  ) {
    this.#process = new Deno.Command(command, {
      args: [...args],
      env: { ...options.env },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#input = this.#process.stdin.getWriter();
    this.#lines = linesOf(this.#process.stdout)[Symbol.asyncIterator]();
    this.#errors = lastLines(this.#process.stderr);
    this.#pause = options.threaded ? SPIN_MILLISECONDS : 0;
  }

  /**
   * The next line that is JSON; libraries print others too.
   *
   * @throws {Error} if the process ended, with its reason, or does not answer.
   */
  async read<T>(): Promise<T> {
    const timer = setTimeout(() => this[Symbol.dispose](), PATIENCE_MILLISECONDS);
    try {
      while (true) {
        const { value, done } = await this.#lines.next();
        if (done) throw new Error(reason(await this.#errors));
        if (value.startsWith("{")) return JSON.parse(value) as T;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Sends a line and waits for the answer. */
  async ask<T>(line: string): Promise<T> {
    await this.#input.write(new TextEncoder().encode(line + "\n")).catch(() => {});
    const answer = await this.read<T>();
    if (this.#pause > 0) await new Promise((done) => setTimeout(done, this.#pause));
    return answer;
  }

  /** Ends the process. */
  [Symbol.dispose](): void {
    try {
      this.#process.kill("SIGKILL");
    } catch (error) {
      // It has ended by itself.
      if (!(error instanceof TypeError)) throw error;
    }
  }
}

function linesOf(stream: ReadableStream<Uint8Array>): AsyncIterable<string> {
  // deno-lint-ignore no-explicit-any
  return createInterface({ input: Readable.fromWeb(stream as any) });
}

async function lastLines(stream: ReadableStream<Uint8Array>): Promise<string[]> {
  const last: string[] = [];
  for await (const line of linesOf(stream)) {
    last.push(line);
    if (last.length > ERROR_LINES) last.shift();
  }
  return last;
}

/** The line that names the error, without colours. */
function reason(lines: readonly string[]): string {
  // deno-lint-ignore no-control-regex
  const plain = lines.map((line) => line.replaceAll(/\x1b\[[0-9;]*m/g, "").trim());
  return plain.find((line) => /error/i.test(line)) ?? plain.findLast((line) => line) ??
    "it gave no reason";
}
