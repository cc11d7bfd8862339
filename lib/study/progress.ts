/** Stream that progress is written to: `Deno.stdout` is one. */
export interface ProgressStream {
  /** True if a line can be redrawn in place. */
  isTerminal(): boolean;
  /** Writes bytes at once and returns how many it took. */
  writeSync(bytes: Uint8Array): number;
}

/** Work that a {@link Progress} follows. */
export interface ProgressOptions {
  /** Name of the work under way, for example "LoRA-16 epoch 3/50". */
  label: string;
  /** Slices in all. */
  total: number;
  /** Unit that is counted, if not slices. */
  unit?: string;
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
  /** Default: slices done since the start over the time they took. */
  slicesPerSecond?: number;
}

const barWidth = 24;
const redrawMilliseconds = 100;
const linesWithoutTerminal = 10;
const clearLine = "\r\x1b[2K";
const eighths = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/** Seconds as "0:07", "12:34" or "3:04:05". */
function clock(seconds: number): string {
  const whole = Math.round(seconds);
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const tail = String(whole % 60).padStart(2, "0");
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

/** A bar that fills by eighths of a character. */
function bar(share: number): string {
  const units = Math.floor(share * barWidth * 8);
  return ("█".repeat(units >> 3) + eighths[units & 7]).padEnd(barWidth, " ");
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
 * Progress of a training or scoring pass: loss, Dice, slices a second and time left. On a terminal
 * one line is redrawn in place, at most ten times a second; elsewhere (a pipe, a log) it is plain
 * lines, one for each tenth of the way.
 *
 * @example
 * ```ts
 * const progress = new Progress({ label: "LoRA-16 epoch 1/3", total: 441 });
 * progress.update({ done: 4, loss: 1.21, dice: 0.62 });
 * progress.finish("LoRA-16 epoch 1/3: validation Dice 0.874");
 * ```
 */
export class Progress {
  readonly #label: string;
  readonly #total: number;
  readonly #unit: string;
  readonly #stream: ProgressStream;
  readonly #now: () => number;
  readonly #terminal: boolean;
  readonly #start: number;
  #lastDraw = -Infinity;
  #tenthsPrinted = 0;

  /** Starts the clock; nothing is written before the first update. */
  constructor(
    { label, total, unit = "slices", stream = Deno.stdout, now = () => performance.now() }:
      ProgressOptions,
  ) {
    this.#label = label;
    this.#total = total;
    this.#unit = unit;
    this.#stream = stream;
    this.#now = now;
    this.#terminal = stream.isTerminal();
    this.#start = now();
  }

  /** Shows the state, unless it was shown too recently. */
  update(update: ProgressUpdate): void {
    const share = Math.min(1, update.done / this.#total);
    if (this.#terminal) {
      const now = this.#now();
      if (now - this.#lastDraw < redrawMilliseconds && share < 1) return;
      this.#lastDraw = now;
      const line = this.#line(update, ` ${bar(share)} `);
      this.#write(clearLine + line.slice(0, terminalColumns())); // a wrapped line cannot be cleared
    } else {
      // 1e-9: 3 of 10 slices are three tenths whatever floating point makes of it
      const tenths = Math.floor(share * linesWithoutTerminal + 1e-9);
      if (tenths === this.#tenthsPrinted) return;
      this.#tenthsPrinted = tenths;
      this.#write(`${this.#line(update, " ")}\n`);
    }
  }

  /** Takes the bar away and, if given, writes a line that stays. */
  finish(summary?: string): void {
    if (this.#terminal) this.#write(clearLine);
    if (summary !== undefined) this.#write(`${summary}\n`);
  }

  #line({ done, loss, dice, slicesPerSecond }: ProgressUpdate, separator: string): string {
    const seconds = (this.#now() - this.#start) / 1000;
    const rate = slicesPerSecond ?? (seconds > 0 ? done / seconds : 0);
    const parts = [`${String(done).padStart(String(this.#total).length)}/${this.#total}`];
    if (loss !== undefined) parts.push(`loss ${loss.toFixed(4)}`);
    if (dice !== undefined) parts.push(`Dice ${dice.toFixed(3)}`);
    if (rate > 0) {
      const digits = rate >= 100 ? rate.toFixed(0) : rate.toPrecision(3);
      parts.push(`${digits} ${this.#unit}/s`, `${clock((this.#total - done) / rate)} left`);
    }
    return this.#label + separator + parts.join("  ");
  }

  #write(text: string): void {
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += this.#stream.writeSync(bytes.subarray(at));
  }
}
