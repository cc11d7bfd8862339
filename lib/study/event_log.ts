/**
 * Event files for TensorBoard: of a training under way, and of a row that is scored.
 *
 * @module
 */
import { join } from "node:path";
import process from "node:process";
import { joinBytes } from "../byte_source.ts";
import {
  encodeEvent,
  eventFileHead,
  type HyperParameter,
  type TrainingEvent,
} from "../formats/event_file.ts";
import type { EpochMetrics } from "../train/training.ts";
import { FILES, type Run } from "./results.ts";

/** First part of the names of event files, by which TensorBoard finds them. */
const EVENTS = "events.out.tfevents";

/** Path within a study of the event file that stays: of a row in a part, or of the study as a whole. */
export function eventFilePath(part = "", row = ""): string {
  return join(FILES.events, part, row, `${EVENTS}.samlora`);
}

/** The metrics of an epoch as an event. */
function epochEvent(metrics: EpochMetrics, time: number): TrainingEvent {
  const { epoch, steps, seconds } = metrics;
  const scalars = {
    "loss/train": metrics.trainLoss,
    "loss/validation": metrics.validationLoss,
    "dice/train": metrics.trainDice,
    "dice/validation": metrics.validationDice,
    "learning rate": metrics.learningRate,
    "seconds a step": seconds / steps,
  };
  return { time, step: epoch, scalars };
}

/** The values of a config that are numbers, words or lists of them, by name. */
function hyperParametersOf(
  config: Readonly<Record<string, unknown>>,
): Record<string, HyperParameter> {
  return Object.fromEntries(
    Object.entries(config).flatMap(([name, value]): [string, HyperParameter][] => {
      if (value === null || value === undefined) return [];
      if (Array.isArray(value)) return [[name, value.join(",")]];
      return [[name, typeof value === "object" ? JSON.stringify(value) : value as HyperParameter]];
    }),
  );
}

/**
 * Event file of a row that is trained and scored: its epochs, hyper-parameters and test scores. Time runs from
 * the run's date by the seconds of its epochs.
 *
 * @param scores Mean test Dice by prompt.
 */
export function rowEvents(run: Run, scores: Readonly<Record<string, number>>): Uint8Array {
  const { part, experiment, config, epochs } = run;
  let time = Math.floor(Date.parse(run.environment.date) / 1000);
  const hyperParameters = {
    ...hyperParametersOf(config),
    row: experiment.name,
    ...(part !== "" && { part }),
  };
  const tests = Object.entries(scores).map(([prompt, dice]) => [`test dice/${prompt}`, dice]);
  return joinBytes([
    eventFileHead(time),
    encodeEvent({ time, step: 0, hyperParameters }),
    ...epochs.map((epoch) => encodeEvent(epochEvent(epoch, time += epoch.seconds))),
    encodeEvent({
      time,
      step: epochs.at(-1)?.epoch ?? 0,
      scalars: Object.fromEntries(tests),
      isEnd: true,
    }),
  ]);
}

/**
 * Event file of a training. TensorBoard reads on where it has stopped, so that a file only ever grows; a
 * process that goes on with a training begins a file that holds all, in place of the one before.
 */
export class EventLog {
  readonly #folder: string;
  readonly #hyperParameters: Readonly<Record<string, HyperParameter>>;
  /** Null before the first epoch. */
  #path: string | null = null;
  #written = 0;

  /**
   * @param folder Folder of the training.
   * @param config Values that it depends on.
   */
  constructor(folder: string, config: Readonly<Record<string, unknown>>) {
    this.#folder = folder;
    this.#hyperParameters = hyperParametersOf(config);
  }

  /** Adds the epochs that are new. A file that cannot be written is a watcher's loss alone. */
  async write(epochs: readonly EpochMetrics[]): Promise<void> {
    try {
      const time = Date.now() / 1000;
      const parts: Uint8Array[] = [];
      if (this.#path === null) {
        await this.#removeOlder();
        this.#path = join(this.#folder, `${EVENTS}.${Math.floor(time)}.samlora.${process.pid}`);
        parts.push(eventFileHead(time));
        parts.push(encodeEvent({ time, step: 0, hyperParameters: this.#hyperParameters }));
      }
      parts.push(
        ...epochs.slice(this.#written).map((epoch) => encodeEvent(epochEvent(epoch, time))),
      );
      for (const part of parts) await Deno.writeFile(this.#path, part, { append: true });
      this.#written = epochs.length;
    } catch {
      // metrics.jsonl says the same, and whether the disk has room.
    }
  }

  async #removeOlder(): Promise<void> {
    for await (const { name } of Deno.readDir(this.#folder)) {
      if (name.startsWith(EVENTS)) await Deno.remove(join(this.#folder, name));
    }
  }
}
