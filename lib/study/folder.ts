/**
 * Folder of a study while it is worked on. `resume.json` says what the study is made of, and each task has a
 * folder of its own. One process at a time holds the study as a whole, to plan or to gather it, and one each
 * of its tasks, by leases. All of that goes when the study is finished; the manifest of what is left stays.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { type Adapter, ADAPTER_FILES, encodeAdapter } from "../adapters/adapter.ts";
import { InputError, shellWord } from "../errors.ts";
import { isTemporary, makeFolder, removeTemporaries, syncFolder } from "../fs.ts";
import { Lease, LEASES, mayBeHeld, type Outcome } from "./lease.ts";
import { type Content, MANIFEST, Manifest, requireStudy, rowOf } from "./manifest.ts";
import { PLAN, TASKS } from "./plan.ts";
import { FILES } from "./results.ts";

/** A study's folder, or what one of its tasks writes of it: every file of a study is written through it. */
export class StudyFolder implements Disposable {
  /** Its path. */
  readonly path: string;
  /** Folder of the task that it is held for, within the study's; empty for the study as a whole. */
  readonly task: string;
  readonly #lease: Lease;
  #manifest!: Manifest;

  private constructor(path: string, task: string, lease: Lease) {
    this.path = path;
    this.task = task;
    this.#lease = lease;
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
    return await StudyFolder.#held(path, "", {
      take: async () => {
        try {
          await makeFolder(path);
          return await Lease.take(path);
        } catch (error) {
          throw error instanceof InputError ? error : unusable(path);
        }
      },
      open: async () => {
        await requireEmpty(path); // by now: another study may have come and gone
        await removeTemporaries(path);
        return await Manifest.create(path);
      },
    });
  }

  /**
   * Takes the folder of a study that was begun, and removes what killed writes left in it.
   *
   * @throws {InputError} if there is no such folder, another process has it, or one of its files is not
   * as the study left it.
   */
  static async open(path: string): Promise<StudyFolder> {
    await requireStudy(path);
    return await StudyFolder.#held(path, "", {
      take: () => Lease.take(path),
      open: async () => {
        await removeTemporariesBelow(path, "");
        const manifest = await Manifest.open(path);
        await manifest.require();
        return manifest;
      },
    });
  }

  /**
   * Takes what a task writes of a study, and removes what killed writes left of it.
   *
   * @param task Folder of the task within the study's.
   * @param options.seconds Seconds without a sign of life after which others may take it.
   * @throws {InputError} if another process has it, or one of its files is not as the task left it.
   */
  static async openTask(
    path: string,
    task: string,
    options: { seconds?: number } = {},
  ): Promise<StudyFolder> {
    return await StudyFolder.#held(path, task, {
      take: () => Lease.take(join(path, task), options),
      open: async () => {
        for (const own of [task, join(FILES.adapters, task), join(FILES.events, task)]) {
          await removeTemporariesBelow(path, task, own).catch(ignoreMissing);
        }
        const name = join(task, MANIFEST);
        const found = await Manifest.open(path, name);
        await found.require();
        return found.isThere ? found : await Manifest.create(path, name);
      },
    });
  }

  static async #held(
    path: string,
    task: string,
    { take, open }: { take: () => Promise<Lease>; open: () => Promise<Manifest> },
  ): Promise<StudyFolder> {
    const folder = new StudyFolder(path, task, await take());
    try {
      folder.#manifest = await open();
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
   * @throws {InputError} if the folder cannot be written to, or is no longer this process's.
   */
  async write(path: string, content: Content): Promise<void> {
    this.check();
    await this.#manifest.write(path, content, () => this.check());
  }

  /**
   * Writes trained weights as a PEFT folder among the study's.
   *
   * @param path Relative to the study's folder.
   */
  async writeAdapter(path: string, adapter: Adapter): Promise<void> {
    const { weights, config } = encodeAdapter(adapter);
    // First: beside weights that are listed, a config that is not would count as slipped in (Manifest.changes).
    if (config !== null) await this.write(join(path, ADAPTER_FILES.config), config);
    await this.write(join(path, ADAPTER_FILES.weights), weights);
  }

  /** Removes a file or folder of the study, if it is there. */
  async remove(path: string): Promise<void> {
    await this.#manifest.remove(path);
  }

  /**
   * Checks that the folder is still there and this process's: a new one in its place would lack what was
   * written before.
   *
   * @throws {InputError} if it is not.
   */
  check(): void {
    this.#lease.check();
  }

  /** Tells whoever asks for the state of the task on what it is computed. */
  computesOn(device: string): void {
    this.#lease.computesOn(device);
  }

  /** Notes what the work came to, for whoever asks. */
  end(outcome: Outcome, message: string | null = null): void {
    this.#lease.end(outcome, message);
  }

  /** Removes what a task has written, so that nothing looks like a result; its lease tells what became of it. */
  async clear(): Promise<void> {
    for (const { name } of [...Deno.readDirSync(join(this.path, this.task))]) {
      if (name !== LEASES && name !== MANIFEST) await this.remove(join(this.task, name));
    }
  }

  /**
   * Removes what an unfinished study alone needs.
   *
   * @param tasks Folders of its tasks, relative to the study's.
   */
  async finish(tasks: Iterable<string>): Promise<void> {
    this.check();
    await Deno.remove(join(this.path, PLAN)).catch(ignoreMissing); // first: the study counts as finished
    await syncFolder(this.path);
    const left = [...tasks, ...PASSING];
    await this.#manifest.forget(PLAN, ...left); // at once: a list cut short would name what is gone
    await Promise.all(
      [...left, LEASES].map((path) =>
        Deno.remove(join(this.path, path), { recursive: true }).catch(ignoreMissing)
      ),
    );
  }

  /** Gives the folder back; an empty one is removed. */
  [Symbol.dispose](): void {
    this.#lease[Symbol.dispose]();
    if (this.task !== "") return;
    const entries = () => [...Deno.readDirSync(this.path)].map(({ name }) => name);
    try {
      if (entries().every((name) => name === LEASES || name === MANIFEST)) {
        Deno.removeSync(this.path, { recursive: true });
      }
    } catch {
      // It is gone, or somebody else's by now.
    }
  }
}

/** Files of a study beside its plan and tasks that go when it is finished. */
const PASSING = [TASKS, "jobs.json", "partial.md", "logs", "prefix"];

function ignoreMissing(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

/**
 * Removes what killed writes have left in a folder of a study and in those below it that no other process
 * writes to.
 *
 * @param own Folder within the study that this process holds.
 */
async function removeTemporariesBelow(study: string, own: string, within = own): Promise<void> {
  let isLeft = false;
  for await (const { name, isDirectory } of Deno.readDir(join(study, within))) {
    if (isDirectory && name !== LEASES) {
      await removeTemporariesBelow(study, own, join(within, name));
    }
    isLeft ||= isTemporary(name);
  }
  if (!isLeft) return;
  // A task writes to its own folder, and to those of its adapter and events.
  const row = rowOf(join(within, PLAN)) ?? "";
  for (let task = row; task !== "" && task !== "." && task !== own; task = dirname(task)) {
    if (await mayBeHeld(join(study, task))) return;
  }
  await removeTemporaries(join(study, within));
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
      `${folder} already holds results of a study that is not finished: go on with --resume ${
        shellWord(folder)
      }, or name another folder with --out`,
    );
  }
  if (entries.some((name) => name !== LEASES && name !== MANIFEST && !isTemporary(name))) {
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
