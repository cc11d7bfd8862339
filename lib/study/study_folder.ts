/**
 * The folder of a study while it is worked on: one process holds its lock, and `resume.json` says what
 * the study is made of. Both go when the study is whole.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import { isTemporary, makeFolder, removeTemporaries, syncFolder, writeFileAtomic } from "../fs.ts";
import { configSchema } from "./schema.ts";
import { experimentSchema } from "./experiment.ts";

const LOCK = "lock";

/** Says what a study is made of, as long as it is not whole. */
export const RECORD = "resume.json";

/** Says of which studies a folder of several is made. */
export const PARTS = "cross_validation.json";

/** Folder of a run's checkpoints within the run's folder, while the study is not whole. */
export const CHECKPOINT_FOLDER = "checkpoint";

/** Folder of a study with the trained weights of every row in half precision, a folder each. */
export const ADAPTERS = "adapters";

const recordSchema = v.strictObject({
  /** Every row that is trained or scored. */
  experiments: v.array(experimentSchema),
  /** With the paths of this machine. */
  config: configSchema,
  /** The slice whose masks are drawn. */
  sample: v.string(),
  /** How the study was started. */
  command: v.string(),
  /** Minutes between checkpoints. */
  checkpointMinutes: v.number(),
  /** Version and hash of the sources. */
  code: v.string(),
  /** The pretrained weights: a package with its version, or a file's SHA-256. */
  weights: v.string(),
  /** Each case's slices, by a hash of what training sees of them. */
  data: v.record(v.string(), v.string()),
  /** What it is computed on. */
  machine: v.string(),
});

/** What a study is made of: enough to go on with it, and to see whether it would be the same. */
export type StudyRecord = v.InferOutput<typeof recordSchema>;

/** A study's folder, locked. A process that ends in whatever way gives the lock back. */
export class StudyFolder implements Disposable {
  /** Its path. */
  readonly path: string;
  readonly #lock: Deno.FsFile;
  readonly #inode: number | null;

  private constructor(path: string, lock: { file: Deno.FsFile; inode: number | null }) {
    this.path = path;
    this.#lock = lock.file;
    this.#inode = lock.inode;
  }

  /**
   * Takes a folder for a new study.
   *
   * @throws {InputError} if another process has it, it cannot be made or it holds something.
   */
  static async create(path: string): Promise<StudyFolder> {
    try {
      await makeFolder(path);
    } catch {
      throw unusable(path);
    }
    const folder = new StudyFolder(path, await lock(path));
    try {
      await requireEmpty(path); // by now: another study may have come and gone
      await removeTemporaries(path);
    } catch (error) {
      folder[Symbol.dispose]();
      throw error;
    }
    return folder;
  }

  /**
   * Takes the folder of a study that was begun, and removes what killed writes left in it.
   *
   * @throws {InputError} if there is no such folder or another process has it.
   */
  static async open(path: string): Promise<StudyFolder> {
    const isFolder = await Deno.stat(path).then((entry) => entry.isDirectory, () => false);
    if (!isFolder) throw notAStudy(path);
    const folder = new StudyFolder(path, await lock(path));
    await removeTemporaries(path);
    for (const parent of [".", ADAPTERS]) {
      for (const run of await foldersOf(join(path, parent))) {
        for (const within of [".", "adapter", CHECKPOINT_FOLDER]) {
          await removeTemporaries(join(run, within));
        }
      }
    }
    return folder;
  }

  /**
   * Writes a file of the study.
   *
   * @param path Relative to the study's folder.
   * @throws {InputError} if the folder cannot be written to, or is no longer the one that was locked.
   */
  async write(path: string, content: Uint8Array | string): Promise<void> {
    await this.check();
    await writeFileAtomic(join(this.path, path), content);
  }

  /**
   * Checks that the folder is still there: a new one in its place would lack what was written before.
   *
   * @throws {InputError} if it is not.
   */
  async check(): Promise<void> {
    const there = await Deno.stat(join(this.path, LOCK)).catch(() => null);
    if (!there || there.ino !== this.#inode) {
      throw new InputError(
        `${this.path} was removed or replaced while the study was writing to it: start the study again`,
      );
    }
  }

  /** Writes down what the study is made of. */
  async writeRecord(record: StudyRecord): Promise<void> {
    await this.write(RECORD, JSON.stringify(record, null, 2) + "\n");
  }

  /** As {@linkcode readRecord}. */
  readRecord(): Promise<StudyRecord | null> {
    return readRecord(this.path);
  }

  /** Removes what only an unfinished study needs. */
  async finish(): Promise<void> {
    await this.check();
    const remove = (...parts: string[]) =>
      Deno.remove(join(this.path, ...parts), { recursive: true }).catch((error) => {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
    await remove(RECORD); // first: without it the study counts as whole
    await syncFolder(this.path);
    for await (const { name, isDirectory } of Deno.readDir(this.path)) {
      if (isDirectory) await remove(name, CHECKPOINT_FOLDER);
    }
    await remove(LOCK);
  }

  /** Gives the folder back; an empty one is removed. */
  [Symbol.dispose](): void {
    this.#lock.close();
    const entries = () => [...Deno.readDirSync(this.path)].map(({ name }) => name);
    try {
      if (entries().every((name) => name === LOCK)) Deno.removeSync(this.path, { recursive: true });
    } catch {
      // It is gone, or somebody else's by now.
    }
  }
}

/**
 * Reads what the study in a folder is made of; null if it is whole.
 *
 * @throws {InputError} if the folder is not that of a study, or the record is damaged.
 */
export async function readRecord(folder: string): Promise<StudyRecord | null> {
  const path = join(folder, RECORD);
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch {
    const has = (name: string) => Deno.stat(join(folder, name)).then(() => true, () => false);
    if (await has(PARTS)) {
      throw new InputError(
        `${folder} holds several studies: give the command that is in its ${PARTS} again, with --out ${folder}, and what is done is kept`,
      );
    }
    if (await has("table.json")) return null;
    throw notAStudy(folder);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  const result = v.safeParse(recordSchema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  throw new InputError(
    `${path} is damaged at ${
      excerpt(v.getDotPath(issue) ?? "its start")
    }: the study cannot go on, start it again`,
  );
}

/** The paths of the folders in a folder; none if it is not there. */
async function foldersOf(path: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(path)).catch(() => []);
  return entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => join(path, name));
}

/** Locks a folder by a file in it: the lock is the system's and goes with the process. */
async function lock(folder: string): Promise<{ file: Deno.FsFile; inode: number | null }> {
  const path = join(folder, LOCK);
  for (;;) {
    const file = await Deno.open(path, { read: true, write: true, create: true }).catch(() => {
      throw unusable(folder);
    });
    const isLocked = await file.tryLock(true).catch((error) => {
      file.close();
      throw new InputError(
        `${folder} lies on a file system without locks (${error.message}): name another folder`,
      );
    });
    if (!isLocked) {
      file.close();
      throw new InputError(
        `another process is writing to ${folder}: wait until it ends, or name another folder`,
      );
    }
    const { ino } = await file.stat();
    // Whoever had the lock before may have removed the file after we had opened it.
    const there = await Deno.stat(path).catch(() => null);
    if (there?.ino === ino) return { file, inode: ino };
    file.close();
  }
}

/**
 * Refuses a results folder that holds something.
 *
 * @throws {InputError} if it does, or cannot be read.
 */
export async function requireEmpty(folder: string): Promise<void> {
  let entries: string[] = [];
  try {
    entries = (await Array.fromAsync(Deno.readDir(folder))).map(({ name }) => name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw unusable(folder);
  }
  if (entries.includes(RECORD)) {
    throw new InputError(
      `${folder} already holds results of a study that is not finished: go on with --resume ${folder}, or name another folder with --out`,
    );
  }
  if (entries.some((name) => name !== LOCK && !isTemporary(name))) {
    throw new InputError(
      `${folder} already holds results: name another folder with --out, or remove it`,
    );
  }
}

/** The complaint about a folder that cannot be written to. */
export function unusable(folder: string): InputError {
  return new InputError(`cannot write results to ${folder}: name another folder with --out`);
}

function notAStudy(folder: string): InputError {
  return new InputError(
    `${folder} is not the folder of a study that was begun: name one, such as results/…`,
  );
}
