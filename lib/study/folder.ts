/**
 * Folder of a study while it is worked on. One process holds its lock, `resume.json` says what the study
 * is made of, and each task has a folder of its own. All three go when the study is finished; the
 * manifest of what is left stays.
 *
 * @module
 */
import { join } from "node:path";
import { type Adapter, ADAPTER_FILES, encodeAdapter } from "../adapters/adapter.ts";
import { InputError } from "../errors.ts";
import { isTemporary, makeFolder, removeTemporaries, syncFolder } from "../fs.ts";
import { MANIFEST, Manifest } from "./manifest.ts";
import { notAStudy, PLAN } from "./plan.ts";

const LOCK = "lock";

/**
 * A study's folder, locked; every file of a study is written through it. A process that ends in whatever
 * way gives the lock back.
 */
export class StudyFolder implements Disposable {
  /** Its path. */
  readonly path: string;
  readonly #lock: Deno.FsFile;
  readonly #inode: number | null;
  #manifest!: Manifest;

  private constructor(path: string, lock: { file: Deno.FsFile; inode: number | null }) {
    this.path = path;
    this.#lock = lock.file;
    this.#inode = lock.inode;
  }

  /** Hashes of its files. */
  get manifest(): Manifest {
    return this.#manifest;
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
      folder.#manifest = await Manifest.create(path);
    } catch (error) {
      folder[Symbol.dispose]();
      throw error;
    }
    return folder;
  }

  /**
   * Takes the folder of a study that was begun, and removes what killed writes left in it.
   *
   * @throws {InputError} if there is no such folder, another process has it, or one of its files is not
   * as the study left it.
   */
  static async open(path: string): Promise<StudyFolder> {
    const isFolder = await Deno.stat(path).then((entry) => entry.isDirectory, () => false);
    if (!isFolder) throw notAStudy(path);
    const folder = new StudyFolder(path, await lock(path));
    try {
      await removeTemporariesBelow(path);
      folder.#manifest = await Manifest.open(path);
      await folder.#manifest.forgetRemovedRows();
      await folder.#manifest.require();
    } catch (error) {
      folder[Symbol.dispose]();
      throw error;
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
    await this.#manifest.write(path, content);
  }

  /**
   * Writes trained weights as a PEFT folder among the study's.
   *
   * @param path Relative to the study's folder.
   */
  async writeAdapter(path: string, adapter: Adapter): Promise<void> {
    const { weights, config } = encodeAdapter(adapter);
    await this.write(join(path, ADAPTER_FILES.weights), weights);
    if (config !== null) await this.write(join(path, ADAPTER_FILES.config), config);
  }

  /** Removes a file or folder of the study, if it is there. */
  async remove(path: string): Promise<void> {
    await this.#manifest.remove(path);
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

  /**
   * Removes what an unfinished study alone needs.
   *
   * @param tasks Folders of its tasks, relative to the study's.
   */
  async finish(tasks: Iterable<string>): Promise<void> {
    await this.check();
    await Deno.remove(join(this.path, PLAN)).catch(ignoreMissing); // first: the study counts as finished
    await syncFolder(this.path);
    await this.#manifest.forget(PLAN, ...tasks); // at once: a list cut short would name what is gone
    for (const task of tasks) await this.remove(task);
    await this.remove(LOCK);
  }

  /** Gives the folder back; an empty one is removed. */
  [Symbol.dispose](): void {
    this.#lock.close();
    const entries = () => [...Deno.readDirSync(this.path)].map(({ name }) => name);
    try {
      if (entries().every((name) => name === LOCK || name === MANIFEST)) {
        Deno.removeSync(this.path, { recursive: true });
      }
    } catch {
      // It is gone, or somebody else's by now.
    }
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

/** Removes what killed writes have left in a folder and in those below it. */
async function removeTemporariesBelow(folder: string): Promise<void> {
  await removeTemporaries(folder);
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) await removeTemporariesBelow(join(folder, name));
  }
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
  if (entries.includes(PLAN)) {
    throw new InputError(
      `${folder} already holds results of a study that is not finished: go on with --resume ${folder}, or name another folder with --out`,
    );
  }
  if (entries.some((name) => name !== LOCK && name !== MANIFEST && !isTemporary(name))) {
    throw new InputError(
      `${folder} already holds results: name another folder with --out, or remove it`,
    );
  }
}

/**
 * Refuses a results folder that holds something, or that cannot be written to; makes nothing. That is
 * found out before training, and in the folder itself: nothing else may be written to.
 *
 * @throws {InputError} if it does, or cannot.
 */
export async function requireNew(folder: string): Promise<void> {
  const isThere = await Deno.stat(folder).then(() => true, () => false);
  await requireEmpty(folder);
  try {
    await Deno.mkdir(folder, { recursive: true });
    await Deno.remove(await Deno.makeTempFile({ dir: folder, suffix: ".0.0.tmp" }));
    if (!isThere) await Deno.remove(folder);
  } catch {
    throw unusable(folder);
  }
}

function unusable(folder: string): InputError {
  return new InputError(`cannot write results to ${folder}: name another folder with --out`);
}
