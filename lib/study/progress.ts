import { visible } from "../errors.ts";

/** Stream that progress is written to: `Deno.stdout` is one. */
export interface ProgressStream {
  /** True if a line can be redrawn in place. */
  isTerminal(): boolean;
  /** Writes bytes at once and returns how many it took. */
  writeSync(bytes: Uint8Array): number;
}

/** Work that a {@link Progress} follows. */
export interface ProgressOptions {
  /** Name of the work under way, for example "LoRA-16, epoch 3/50". */
  label: string;
  /** Slices in all. */
  total: number;
  /** Unit that is counted, if not slices. */
  unit?: string;
  /** Says when more than this work will be done, in place of when this is; empty where it cannot know. */
  forecast?: () => string;
  /** Default: standard output. */
  stream?: ProgressStream;
  /** A clock in milliseconds; default `performance.now`. */
  now?: () => number;
}

/** The state after some slices. */
export interface ProgressUpdate {
  /** Slices done so far. */
  done: number;
  /** Mean loss so far. */
  loss?: number;
  /** Mean Dice so far, 0..1. */
  dice?: number;
}

const redrawMilliseconds = 100;
const logMilliseconds = 60_000;
const clearLine = "\r\x1b[2K";

/** A duration for readers: "7 s", "1 min 40 s", "3 h 05 min", "2 d 4 h". */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = whole < 3600 ? Math.floor(whole / 60) : Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min ${whole % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** The width of the terminal that standard output is, unlimited where that is not known. */
function terminalColumns(): number {
  try {
    return Deno.consoleSize().columns || Infinity; // some terminals say 0
  } catch {
    return Infinity;
  }
}

/**
 * Progress of a training or scoring pass: slices done, time left, loss and Dice. On a terminal one line
 * is redrawn in place, at most ten times a second; elsewhere (a pipe, a log) a line is added a minute.
 *
 * @example
 * ```ts
 * const progress = new Progress({ label: "LoRA-16, epoch 1/3", total: 441 });
 * progress.update({ done: 4, loss: 1.21, dice: 0.62 });
 * progress.finish("LoRA-16 epoch 1/3: validation Dice 0.874");
 * ```
 */
export class Progress {
  readonly #options: Required<Omit<ProgressOptions, "forecast">>;
  readonly #forecast: (() => string) | undefined;
  readonly #terminal: boolean;
  readonly #start: number;
  #lastLine: number;

  /** Starts the clock; nothing is written before the first update. */
  constructor({ forecast, ...options }: ProgressOptions) {
    this.#options = {
      unit: "slices",
      stream: Deno.stdout,
      now: () => performance.now(),
      ...options,
    };
    this.#forecast = forecast;
    this.#terminal = this.#options.stream.isTerminal();
    this.#start = this.#options.now();
    this.#lastLine = this.#terminal ? -Infinity : this.#start;
  }

  /** Shows the state, unless it was shown too recently. */
  update(update: ProgressUpdate): void {
    const now = this.#options.now();
    const isLast = this.#terminal && update.done >= this.#options.total;
    const pause = this.#terminal ? redrawMilliseconds : logMilliseconds;
    if (now - this.#lastLine < pause && !isLast) return;
    this.#lastLine = now;
    const line = this.#line(update, now);
    // A wrapped line cannot be cleared.
    this.#write(this.#terminal ? clearLine + line.slice(0, terminalColumns()) : `${line}\n`);
  }

  /** Takes the line away and, if given, writes one that stays; in a log it says what is to come, too. */
  finish(summary?: string): void {
    if (this.#terminal) this.#write(clearLine);
    if (summary === undefined) return;
    const coming = this.#terminal ? "" : this.#forecast?.() ?? "";
    this.#write(visible(`${summary}${coming && `; ${coming}`}\n`));
  }

  #line({ done, loss, dice }: ProgressUpdate, now: number): string {
    const { label, total, unit } = this.#options;
    const left = done > 0 ? (now - this.#start) / 1000 * (total - done) / done : null;
    return visible(
      [
        label,
        `${done}/${total} ${unit}`,
        this.#forecast ? this.#forecast() : left !== null && `done in ${duration(left)}`,
        loss !== undefined && `loss ${loss.toFixed(4)}`,
        dice !== undefined && `Dice ${dice.toFixed(3)}`,
      ].filter(Boolean).join(", "),
    );
  }

  #write(text: string): void {
    const bytes = new TextEncoder().encode(text);
    try {
      for (let at = 0; at < bytes.length;) {
        at += this.#options.stream.writeSync(bytes.subarray(at));
      }
    } catch (error) {
      // Its reader, such as `head`, has seen enough; the work goes on, as it does after console.log.
      if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
    }
  }
}
