import { join } from "node:path";
import { crc32 } from "node:zlib";
import { cacheDir, writeFileAtomic } from "../fs.ts";

/** Content of a lock of ours: a file of that name alone may be anybody's, and so may the folder. */
const MARK = new TextEncoder().encode("samlora activations\n");

/** Name of a lock of ours, after the folder that it stands for. */
const LOCK = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.lock$/;

/** A file that was written. */
interface Entry {
  readonly path: string;
  readonly bytes: number;
  readonly checksum: number;
}

/** Options of {@linkcode ActivationFiles}. */
export interface ActivationFilesOptions {
  /** Bytes that the files may take. */
  readonly budget: number;
  /** Folder that the folders of all running processes lie in. Default: `activations` in the cache. */
  readonly folder?: string;
}

/**
 * Activations on disk for as long as one model is trained: the keys are known to this object alone and
 * its folder goes with it, so that no other weights, input side or adapters can be mistaken for these.
 * A process that is killed leaves its folder to the next one, which removes it.
 *
 * A file that cannot be written or read, or was damaged, is as if it had never been kept.
 */
export class ActivationFiles implements Disposable {
  readonly #budget: number;
  readonly #parent: string;
  readonly #entries = new Map<string, Entry>();
  #lease: { readonly folder: string; readonly lock: Deno.FsFile } | null = null;
  #bytes = 0;
  #written = 0;
  #failed = false;

  /** Nothing is written before the first activation is. */
  constructor(options: ActivationFilesOptions) {
    this.#budget = options.budget;
    this.#parent = options.folder ?? cacheDir("activations");
  }

  /** Bytes of the files. */
  get bytes(): number {
    return this.#bytes;
  }

  /** True if so many bytes more stay within the budget. */
  hasRoom(bytes: number): boolean {
    return !this.#failed && this.#bytes + bytes <= this.#budget;
  }

  /** Writes what belongs to a key, unless there is no room for it. */
  async write(key: string, content: Uint8Array): Promise<void> {
    if (!this.hasRoom(content.length) || this.#entries.has(key)) return;
    try {
      this.#lease ??= lease(this.#parent);
      const path = join(this.#lease.folder, `${this.#written++}.bin`);
      await writeFileAtomic(path, content);
      this.#entries.set(key, { path, bytes: content.length, checksum: crc32(content) });
      this.#bytes += content.length;
    } catch {
      this.#failed = true; // a full disk costs time, not the training
    }
  }

  /** The content of a key; null if there is none, or it is no longer what was written. */
  read(key: string): Uint8Array<ArrayBuffer> | null {
    const entry = this.#entries.get(key);
    if (!entry) return null;
    try {
      const content = Deno.readFileSync(entry.path);
      if (content.length === entry.bytes && crc32(content) === entry.checksum) return content;
    } catch {
      // It is gone, or cannot be read.
    }
    this.#entries.delete(key);
    this.#bytes -= entry.bytes;
    remove(entry.path);
    return null;
  }

  /** Removes the files. */
  [Symbol.dispose](): void {
    this.#entries.clear();
    this.#bytes = 0;
    if (!this.#lease) return;
    release(this.#lease);
    this.#lease = null;
  }
}

/**
 * Makes a folder that is this process's as long as it holds the lock on the file beside it: the system
 * drops the lock of a process that is killed. Folders whose lock is free and bears our mark are removed.
 */
function lease(parent: string): { folder: string; lock: Deno.FsFile } {
  Deno.mkdirSync(parent, { recursive: true });
  for (const { name, isFile } of [...Deno.readDirSync(parent)]) {
    const own = LOCK.exec(name);
    if (!own || !isFile) continue;
    let lock;
    try {
      lock = Deno.openSync(join(parent, name), { read: true, write: true });
    } catch {
      continue; // another process removed it
    }
    if (lock.tryLockSync(true) && isMarked(lock)) release({ folder: join(parent, own[1]), lock });
    else lock.close();
  }
  const folder = join(parent, crypto.randomUUID());
  const lock = Deno.openSync(`${folder}.lock`, { createNew: true, write: true });
  lock.lockSync(true);
  lock.writeSync(MARK);
  Deno.mkdirSync(folder);
  return { folder, lock };
}

/** True if a lock file holds our mark and nothing else. */
function isMarked(lock: Deno.FsFile): boolean {
  const content = new Uint8Array(MARK.length + 1);
  return lock.readSync(content) === MARK.length && MARK.every((byte, i) => byte === content[i]);
}

function release({ folder, lock }: { folder: string; lock: Deno.FsFile }): void {
  remove(folder);
  remove(`${folder}.lock`);
  lock.close();
}

/** Removes a file or folder; one that cannot be removed stays until the next process tries. */
function remove(path: string): void {
  try {
    Deno.removeSync(path, { recursive: true });
  } catch {
    // It is gone already, or not ours to remove.
  }
}
