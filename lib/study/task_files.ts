/**
 * Files of a task while its study goes on, in a folder of its own: `run.json` (its entry of the study's
 * `runs.json`), `metrics.jsonl` to watch a training by, its checkpoints, and at its end `records.json.gz`:
 * a task whose records stand in the study's manifest is finished.
 *
 * @module
 */
import { join } from "node:path";
import type { Adapter } from "../adapters/adapter.ts";
import { removeCheckpoints } from "../train/checkpoint_file.ts";
import { GuardError, type GuardName } from "../evaluate/guards.ts";
import type { EpochMetrics } from "../train/training.ts";
import { eventFilePath } from "./event_log.ts";
import type { StudyFolder } from "./folder.ts";
import { MANIFEST, Manifest, rowOf } from "./manifest.ts";
import { encodeRecords, readRecords, type Records } from "./records.ts";
import { FILES, readJson, type Run, runSchema, trainedSchema } from "./results.ts";
import { loadAdapter } from "./adapter_folder.ts";
import type { TrainedRow } from "./row_training.ts";

/** Entry of `runs.json` while the study goes on. */
export const RUN = "run.json";

/** Metrics of the epochs so far, a line each. */
export const METRICS = "metrics.jsonl";

/** Folder of checkpoints. */
const CHECKPOINTS = "checkpoint";

/** Folder of a training of the row among several, with its checkpoints, result and weights. */
const candidateFolder = (candidate: number) => `choice_${candidate + 1}`;

/** File of what came of a training among several. */
const TRAINED = "trained.json";

/** Folder of a training's checkpoints within the row's; of one among several in a folder of its own. */
export function checkpointsOf(candidate?: number): string {
  return candidate === undefined ? CHECKPOINTS : join(candidateFolder(candidate), CHECKPOINTS);
}

/** Folder of a task within its study's: that of its part, and within it that of its row. */
export function taskFolder(part: string, row: string): string {
  return join(part, row);
}

/** A study's folder with the manifest that lists a task's files. */
interface ReadStudy {
  readonly path: string;
  readonly manifest: Manifest;
}

/** Files of one row in one part of a study, to be read. */
export class TaskRecord {
  /** Folder relative to the study's. */
  readonly path: string;
  /** Folder of the trained weights relative to the study's; it stays. */
  readonly adapter: string;
  readonly #study: ReadStudy;

  /**
   * @param study Folder of the study.
   * @param part Name of the part, empty in a study of one.
   * @param row Name of the experiment.
   */
  constructor(study: ReadStudy, part: string, row: string) {
    this.#study = study;
    this.path = taskFolder(part, row);
    this.adapter = join(FILES.adapters, part, row);
  }

  /**
   * Opens the files of a task that another process may be writing to.
   *
   * @param study Path of the study.
   * @throws {InputError} if its manifest was changed.
   */
  static async of(study: string, part: string, row: string): Promise<TaskRecord> {
    const manifest = await Manifest.open(study, join(taskFolder(part, row), MANIFEST));
    return new TaskRecord({ path: study, manifest }, part, row);
  }

  /** Hashes of its files. */
  get manifest(): Manifest {
    return this.#study.manifest;
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

  /**
   * True if the task is finished, and its files are as it left them.
   *
   * @throws {InputError} if one has changed.
   */
  async isFinished(): Promise<boolean> {
    const { manifest } = this.#study;
    if (!manifest.has(join(this.path, FILES.records))) return false;
    const row = rowOf(join(this.path, RUN));
    await manifest.require((path) => rowOf(path) === row);
    return true;
  }

  /**
   * Entry of `runs.json` of a task that is done: finished, or ended by a guard. Null if it is not.
   *
   * @throws {InputError} if one of its files has changed.
   */
  async readDone(): Promise<Run | null> {
    const { manifest } = this.#study;
    if (!manifest.has(join(this.path, RUN))) return null;
    const isFinished = manifest.has(join(this.path, FILES.records));
    const run = await this.readRun();
    if (!isFinished && !run?.guard) return null;
    const row = rowOf(join(this.path, RUN));
    await manifest.require((path) => rowOf(path) === row);
    return run;
  }

  /** True if there is something that the task can go on with. */
  async isKept(): Promise<boolean> {
    const isThere = (folder: string) => Deno.stat(this.at(folder)).then(() => true, () => false);
    return await isThere(CHECKPOINTS) || await isThere(candidateFolder(0)) ||
      this.#study.manifest.has(join(this.path, FILES.records));
  }
}

/** Files of one row in one part of a study, which this process holds. */
export class TaskFiles extends TaskRecord {
  readonly #study: StudyFolder;
  readonly #name: readonly [part: string, row: string];

  /**
   * @param study Folder of the study.
   * @param part Name of the part, empty in a study of one.
   * @param row Name of the experiment.
   */
  constructor(study: StudyFolder, part: string, row: string) {
    super(study, part, row);
    this.#study = study;
    this.#name = [part, row];
  }

  /** Writes the entry of `runs.json`. */
  async writeRun(run: Run): Promise<void> {
    await this.#write(RUN, JSON.stringify(run, null, 2) + "\n");
  }

  /** Writes the epochs so far, a line each. */
  async writeEpochs(epochs: readonly EpochMetrics[]): Promise<void> {
    await this.#write(METRICS, epochs.map((line) => JSON.stringify(line) + "\n").join(""));
  }

  /** Writes the trained weights. */
  async writeAdapter(adapter: Adapter): Promise<void> {
    await this.#study.writeAdapter(this.adapter, adapter);
  }

  /** Writes the event file of the row, which stays. */
  async writeEvents(events: Uint8Array): Promise<void> {
    const [part, row] = this.#name;
    await this.#study.write(eventFilePath(part, row), events);
  }

  /** Result of a training among several; null if it has not ended. */
  async readCandidate(candidate: number): Promise<TrainedRow | null> {
    const file = join(candidateFolder(candidate), TRAINED);
    const { manifest } = this.#study;
    if (!manifest.has(join(this.path, file))) return null;
    const row = rowOf(join(this.path, file));
    await manifest.require((path) => rowOf(path) === row);
    return await readJson(trainedSchema, this.at(file));
  }

  /** Weights of a training among several. */
  async readCandidateAdapter(candidate: number): Promise<Adapter> {
    return await loadAdapter(this.at(candidateFolder(candidate)));
  }

  /** Writes what came of a training among several, its weights first; it then has no checkpoints. */
  async writeCandidate(candidate: number, trained: TrainedRow, adapter: Adapter): Promise<void> {
    const folder = candidateFolder(candidate);
    await this.#study.writeAdapter(join(this.path, folder), adapter);
    await this.#write(join(folder, TRAINED), JSON.stringify(trained, null, 2) + "\n");
    await removeCheckpoints(this.at(checkpointsOf(candidate)));
  }

  /** Writes what a task comes to; from then on it is finished, and has no checkpoints. */
  async finish(run: Run, records: Records): Promise<void> {
    await this.writeRun(run);
    await this.#write(FILES.records, await encodeRecords([records]));
    await removeCheckpoints(this.at(CHECKPOINTS));
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
