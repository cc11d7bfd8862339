import type { Partition } from "../data/split.ts";
import { healthyBatches } from "../train/plan.ts";
import { configOf, type Experiment, type ExperimentKind } from "./experiment.ts";
import { duration } from "./progress.ts";
import { trainingChoices } from "./choice.ts";
import { type Config, settled, type SettledConfig } from "./schema.ts";

/** Kinds of passes over slices: training, the validation after an epoch, and scoring. */
export type Pass = "train" | "validation" | "test";

/** Slices of each kind of pass, those of all epochs together. */
export type Passes = Readonly<Record<Pass, number>>;

/** Slices by part, with tumour and without. */
export interface PartSlices {
  readonly parts: Partition<unknown>;
  /** Tumour-free ones; default none. */
  readonly healthy?: Partition<unknown>;
}

/** Slices of an epoch, about: tumour-free ones are counted by whole batches. */
export function slicesOfEpoch(
  train: number,
  { healthyShare, batchSize }: Pick<Config, "healthyShare" | "batchSize">,
): number {
  return train + batchSize * healthyBatches(train, { healthyShare, batchSize });
}

/**
 * Validation slices that are passed over once a training has ended.
 *
 * @param shares Shares of WiSE-FT that are scored.
 */
export function validationsAfter(
  shares: number,
  { parts: { validation }, healthy }: PartSlices,
): number {
  const free = healthy?.validation.length ?? 0;
  const presence = free > 0 ? validation.length + free : 0;
  return shares * (validation.length + presence) + presence;
}

/** Passes of one training with its validations, if nothing ends it early. */
export function trainingPasses(
  config: Pick<Config, "healthyShare" | "batchSize"> & { readonly epochs: number },
  { shares, ...slices }: PartSlices & { readonly shares: number },
): Pick<Passes, "train" | "validation"> {
  const { train, validation } = slices.parts;
  return {
    train: config.epochs * slicesOfEpoch(train.length, config),
    validation: config.epochs * validation.length + validationsAfter(shares, slices),
  };
}

/** Trainings of a row: one for each candidate, where the part chooses itself. */
export function trainingsOf(
  experiment: Experiment,
  { config, isChosen = false }: { readonly config: Config; readonly isChosen?: boolean },
): SettledConfig[] {
  if (experiment.kind === "vanilla") return [];
  const own = configOf(experiment, config);
  const all = trainingChoices(own).map((choice) => settled(own, choice));
  // The chosen one is not known before: no other takes longer than that of most epochs.
  return isChosen ? [all.toSorted((a, b) => b.epochs - a.epochs)[0]] : all;
}

/**
 * The slices that a row passes over, if nothing ends its training early.
 *
 * @param options.isChosen True where another part has chosen among the candidates.
 */
export function passesOf(
  experiment: Experiment,
  { config, isChosen = false, ...slices }: PartSlices & {
    readonly config: Config;
    readonly isChosen?: boolean;
  },
): Passes {
  const { parts: { test }, healthy } = slices;
  const trainings = trainingsOf(experiment, { config, isChosen });
  const { wiseFt } = configOf(experiment, config);
  const isCompared = trainings.length > 1 || wiseFt.length > 1;
  const shares = isCompared && !isChosen ? wiseFt.length : 0;
  const passes = trainings.map((own) => trainingPasses(own, { ...slices, shares }));
  const sum = (pass: "train" | "validation") => passes.reduce((sum, own) => sum + own[pass], 0);
  return {
    train: sum("train"),
    validation: trainings.length > 0 ? sum("validation") : validationsAfter(0, slices),
    test: test.length + (healthy?.test.length ?? 0),
  };
}

/** One row of one part, and the slices that it will pass over. */
export interface PlannedRow {
  /** Part of the study; empty where it has one. */
  readonly part: string;
  /** Name of the experiment. */
  readonly name: string;
  /** Rows that train the same kind of thing take about the same time. */
  readonly kind: ExperimentKind;
  /** Slices that it passes over. */
  readonly passes: Passes;
}

/** A pass under way. */
interface Current {
  readonly pass: Pass;
  readonly total: number;
  readonly start: { readonly done: number; readonly at: number };
  /** The first figures that came. */
  first: { readonly done: number; readonly at: number } | null;
  done: number;
}

/** Everything that a {@linkcode Forecast} takes from its surroundings. */
export interface ForecastClock {
  /** Milliseconds since some moment; default `performance.now`. */
  readonly now?: () => number;
  /** Time of day; default the system's. */
  readonly date?: () => Date;
}

/**
 * Rows that a study has left, and when they will be done by the passes that this run has timed. A kind of
 * row that it has not trained yet may take any time, so that nothing is said of the end before.
 *
 * @example
 * ```ts
 * const forecast = new Forecast(rows);
 * forecast.begin("", "lora_16");
 * forecast.start("train", 32);
 * forecast.advance(12);
 * console.log(`${forecast.place} ${forecast}`); // "row 3 of 6", "row done in 1 min 40 s, …"
 * ```
 */
export class Forecast {
  readonly #rows: readonly PlannedRow[];
  readonly #left: Record<Pass, number>[];
  readonly #now: () => number;
  readonly #date: () => Date;
  /** Seconds a slice by kind of row and pass; scoring costs all kinds about the same. */
  readonly #pace = new Map<string, number>();
  #row = 0;
  #current: Current | null = null;

  /** Takes the rows in the order in which they are run. */
  constructor(rows: readonly PlannedRow[], clock: ForecastClock = {}) {
    this.#rows = rows;
    this.#left = rows.map(({ passes }) => ({ ...passes }));
    this.#now = clock.now ?? (() => performance.now());
    this.#date = clock.date ?? (() => new Date());
  }

  /** "row 3 of 6"; empty where there is one. */
  get place(): string {
    return this.#rows.length > 1 ? `row ${this.#row + 1} of ${this.#rows.length}` : "";
  }

  /** Begins a row: those before it are done, whatever became of them. */
  begin(part: string, name: string): void {
    this.#row = this.#rows.findIndex((row) => row.part === part && row.name === name);
    for (const left of this.#left.slice(0, this.#row)) Object.assign(left, NOTHING);
    this.#current = null;
  }

  /** Replaces what the row under way, or only one kind of its passes, has left. */
  leave(passes: Partial<Passes>): void {
    Object.assign(this.#left[this.#row], passes);
  }

  /** Starts a pass, of which some slices may be done already. */
  start(pass: Pass, total: number, done = 0): void {
    this.#current = { pass, total, start: { done, at: this.#now() }, first: null, done };
  }

  /** Counts the slices of the pass that are done. */
  advance(done: number): void {
    const current = this.#current!;
    const left = this.#left[this.#row];
    left[current.pass] = Math.max(0, left[current.pass] - (done - current.done));
    current.done = done;
    const [own, at] = [this.#key(this.#rows[this.#row], current.pass), this.#now()];
    const since = current.first ?? current.start;
    // The first figures of a pass hold the time that its kernels took to compile.
    const isBetter = current.first !== null || done >= current.total || !this.#pace.has(own);
    if (isBetter && done > since.done) {
      this.#pace.set(own, (at - since.at) / 1000 / (done - since.done));
    }
    current.first ??= { done, at };
  }

  /** "row done in 1 min 40 s, all at about 14:32": as much of it as can be known. */
  toString(): string {
    const [row, ...others] = this.#rows.slice(this.#row).map((_, i) =>
      this.#secondsOf(this.#row + i)
    );
    const training = this.#secondsOf(this.#row, ["train", "validation"]);
    const parts: string[] = [];
    if (row) parts.push(`row done in ${duration(row)}`);
    else if (training) parts.push(`training done in ${duration(training)}`);
    const all = [row, ...others];
    if (this.#rows.length > 1 && all.every((seconds) => seconds !== null)) {
      parts.push(`all at about ${this.#timeIn(all.reduce((sum, seconds) => sum + seconds, 0))}`);
    }
    return parts.join(", ");
  }

  /** Seconds that a row has left; null if a pass of its kind was not timed. */
  #secondsOf(
    row: number,
    passes: readonly Pass[] = ["train", "validation", "test"],
  ): number | null {
    let sum = 0;
    for (const pass of passes) {
      const slices = this.#left[row][pass];
      if (slices === 0) continue;
      const pace = this.#pace.get(this.#key(this.#rows[row], pass)) ??
        // Validation is a part of what a training step does.
        (pass === "validation" ? this.#pace.get(this.#key(this.#rows[row], "train")) : undefined);
      if (pace === undefined) return null;
      sum += slices * pace;
    }
    return sum;
  }

  #key({ kind }: PlannedRow, pass: Pass): string {
    return pass === "test" ? pass : `${kind} ${pass}`;
  }

  /** Time of day so many seconds from now, with the day if that is another. */
  #timeIn(seconds: number): string {
    const now = this.#date();
    const then = new Date(now.getTime() + 1000 * seconds);
    const time = then.toTimeString().slice(0, 5);
    if (then.toDateString() === now.toDateString()) return time;
    const [, month, day] = then.toDateString().split(" ");
    return `${time} on ${Number(day)} ${month}`;
  }
}

const NOTHING: Passes = { train: 0, validation: 0, test: 0 };
