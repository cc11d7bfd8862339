/**
 * Files of a task while its study goes on, in a folder of its own: `run.json` (its entry of the study's
 * `runs.json`), `records.json.gz`, `metrics.jsonl` to watch a training by, its checkpoints, and at its end
 * `finished.json` with the hash of all that the study takes of it.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { type Adapter, ADAPTER_FILES } from "../adapters/adapter.ts";
import { excerpt, InputError } from "../errors.ts";
import { removeCheckpoints } from "../train/checkpoint_file.ts";
import { GuardError, type GuardName } from "../evaluate/guards.ts";
import type { EpochMetrics } from "../train/training.ts";
import { sha256 } from "./environment.ts";
import type { StudyFolder } from "./folder.ts";
import { encodeRecords, readRecords, type Records } from "./records.ts";
import { FILES, readJson, type Run, runSchema } from "./results.ts";

/** Entry of `runs.json` while the study goes on. */
export const RUN = "run.json";

/** Folder of checkpoints. */
export const CHECKPOINTS = "checkpoint";

/** Hashes of a task's files, in place once it is finished. */
const FINISHED = "finished.json";

/** Files of one row in one part of a study. */
export class TaskFiles {
  /** Folder relative to the study's. */
  readonly path: string;
  /** Folder of the trained weights relative to the study's; it stays. */
  readonly adapter: string;
  readonly #study: StudyFolder;

  /**
   * @param study Folder of the study.
   * @param part Name of the part, empty in a study of one.
   * @param row Name of the experiment.
   */
  constructor(study: StudyFolder, part: string, row: string) {
    this.#study = study;
    this.path = join(part, row);
    this.adapter = join(FILES.adapters, part, row);
  }

  /** Path of a file or folder within the working directory. */
  at(file: string): string {
    return join(this.#study.path, this.path, file);
  }

  /**
   * The entry of `runs.json` as far as it is known; null before the task was begun.
   *
   * @throws {InputError} if it is damaged.
   */
  readRun(): Promise<Run | null> {
    return readJson(runSchema, this.at(RUN));
  }

  /** Scores of a finished task. */
  async readRecords(): Promise<readonly Records[]> {
    return await readRecords(this.at(FILES.records));
  }

  /** Writes the entry of `runs.json`. */
  async writeRun(run: Run): Promise<void> {
    await this.#write(RUN, JSON.stringify(run, null, 2) + "\n");
  }

  /** Writes the epochs so far, a line each. */
  async writeEpochs(epochs: readonly EpochMetrics[]): Promise<void> {
    await this.#write("metrics.jsonl", epochs.map((line) => JSON.stringify(line) + "\n").join(""));
  }

  /** Writes the trained weights. */
  async writeAdapter(adapter: Adapter): Promise<void> {
    await this.#study.writeAdapter(this.adapter, adapter);
  }

  /** Writes what a task comes to; from then on it is finished, and has no checkpoints. */
  async finish(run: Run, records: Records): Promise<void> {
    await this.#write(FILES.records, await encodeRecords([records]));
    await this.writeRun(run);
    await this.#write(FINISHED, JSON.stringify(await this.#hashes(), null, 2) + "\n");
    await removeCheckpoints(this.at(CHECKPOINTS));
  }

  /**
   * True if the task is finished, and its files are as it left them.
   *
   * @throws {InputError} if one has changed.
   */
  async isFinished(): Promise<boolean> {
    const recorded = await readJson(v.record(v.string(), v.string()), this.at(FINISHED));
    if (!recorded) return false;
    const found = await this.#hashes();
    const changed = Object.keys({ ...recorded, ...found })
      .find((file) => recorded[file] !== found[file]);
    if (changed === undefined) return true;
    throw new InputError(
      `${join(this.#study.path, excerpt(changed))} is damaged: remove ${
        join(this.#study.path, this.path)
      } to make this run again`,
    );
  }

  /** True if there is something that the task can go on with. */
  async isKept(): Promise<boolean> {
    const isThere = await Promise.all(
      [CHECKPOINTS, FINISHED].map((file) => Deno.stat(this.at(file)).then(() => true, () => false)),
    );
    return isThere.includes(true);
  }

  /** SHA-256 of each file that the study takes of the task, by its path within the study's folder. */
  async #hashes(): Promise<Record<string, string>> {
    const files = [
      ...[RUN, FILES.records].map((file) => join(this.path, file)),
      ...Object.values(ADAPTER_FILES).map((file) => join(this.adapter, file)),
    ];
    const hashes = await Promise.all(
      files.map((file) => sha256(join(this.#study.path, file)).catch(() => null)),
    );
    return Object.fromEntries(
      files.flatMap((file, i) => hashes[i] === null ? [] : [[file, hashes[i]]]),
    );
  }

  async #write(file: string, content: Uint8Array | string): Promise<void> {
    await this.#study.write(join(this.path, file), content);
  }
}

/** The error by which a guard has ended a run; null if none has. */
export function guardOf(run: Run | null): GuardError | null {
  if (!run?.guard) return null;
  const { guard, message, step } = run.guard;
  return new GuardError(guard as GuardName, message, step);
}
