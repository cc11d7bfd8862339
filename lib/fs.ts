import { createHash } from "node:crypto";
import { basename, dirname, join, relative } from "node:path";
import process from "node:process";
import { allBytes, type ByteSource, endsEarly } from "./byte_source.ts";
import { InputError } from "./errors.ts";

/** A file that stays open until it is disposed of. */
class FileBytes implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #file: Deno.FsFile;
  #isOpen = true;

  constructor(name: string, file: Deno.FsFile) {
    this.name = name;
    this.#file = file;
    this.size = file.statSync().size;
  }

  // In one step, so that no other read moves the file's position in between.
  read(at: number, target: Uint8Array): void {
    this.#file.seekSync(at, Deno.SeekMode.Start);
    for (let done = 0; done < target.length;) {
      const count = this.#file.readSync(target.subarray(done));
      if (count === null) endsEarly(this.name, target.length - done);
      done += count;
    }
  }

  [Symbol.dispose](): void {
    if (this.#isOpen) this.#file.close();
    this.#isOpen = false;
  }
}

/**
 * Opens a file for reading from anywhere.
 *
 * @throws {InputError} if it cannot be opened, or is no file: a pipe would be waited for.
 */
export function openBytes(path: string): ByteSource {
  let reason: string;
  try {
    if (Deno.statSync(path).isFile) return new FileBytes(path, Deno.openSync(path));
    reason = "it is not a file";
  } catch (error) {
    reason = error instanceof Error ? error.message : String(error);
  }
  throw new InputError(`cannot read ${path} (${reason}): check the path`);
}

/**
 * Reads a whole file.
 *
 * @throws {InputError} as {@linkcode openBytes}.
 */
export function readBytes(path: string): Uint8Array<ArrayBuffer> {
  using file = openBytes(path);
  return allBytes(file);
}

/**
 * Reads a whole file; null if there is none.
 *
 * @throws {InputError} as {@linkcode openBytes}.
 */
export async function readIfThere(path: string): Promise<Uint8Array<ArrayBuffer> | null> {
  const isMissing = await Deno.stat(path).then(
    () => false,
    (error) => error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory,
  );
  return isMissing ? null : readBytes(path);
}

/**
 * SHA-256 of a file in hexadecimal digits, read piece by piece.
 *
 * @throws {InputError} as {@linkcode openBytes}.
 */
export async function sha256(path: string): Promise<string> {
  const hash = createHash("sha256");
  using file = openBytes(path);
  const piece = new Uint8Array(Math.min(file.size, 2 ** 23));
  for (let at = 0; at < file.size; at += piece.length) {
    const part = piece.subarray(0, file.size - at);
    file.read(at, part);
    hash.update(part);
    // Signals are heard between turns of the event loop.
    if (at + piece.length < file.size) await new Promise((done) => setTimeout(done));
  }
  return hash.digest("hex");
}

let serial = 0;

/** Temporary names of the writes under way. */
const underWay = new Set<string>();

/**
 * Writes a whole file or nothing: the content goes to a temporary name in the same folder, which is
 * created if needed, and is renamed onto `path` once it is complete and on the disk. After a crash, of
 * the program or of the machine, `path` has its old content or its new one. A process that may not write
 * to the folder, but to this file, writes to a folder of its own beside it first, named after it.
 *
 * @param before Called just before the file gets its name; if it throws, nothing has changed.
 * @throws {InputError} if the folder cannot be written to.
 */
export async function writeFileAtomic(
  path: string,
  content: Uint8Array | string,
  before?: () => void,
): Promise<void> {
  const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
  await writeAtomic(path, (output) => output.getWriter().write(bytes), before);
}

/**
 * Writes a file in parts, whole or not at all, as {@linkcode writeFileAtomic} does.
 *
 * @param write Writes the content; the stream need not be closed.
 * @param before Called just before the file gets its name.
 * @throws {InputError} if the folder cannot be written to.
 */
export async function writeAtomic(
  path: string,
  write: (output: WritableStream<Uint8Array>) => Promise<void>,
  before?: () => void,
): Promise<void> {
  const folder = mayWrite(dirname(path)) ? null : `${path}.tmp`;
  const name = `${basename(path)}.${process.pid}.${serial++}.tmp`;
  const temporary = join(folder ?? dirname(path), name);
  underWay.add(temporary);
  try {
    await makeFolder(folder ?? dirname(path));
    {
      using file = await Deno.open(temporary, { write: true, create: true, truncate: true });
      await write(
        new WritableStream({
          write: async (part) => {
            for (let done = 0; done < part.length;) done += await file.write(part.subarray(done));
          },
        }),
      );
      await file.sync();
    }
    before?.();
    await Deno.rename(temporary, path);
    if (folder === null) await syncFolder(dirname(path));
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    if (error instanceof InputError || error instanceof RangeError) throw error;
    throw cannotWrite(path, error);
  } finally {
    underWay.delete(temporary);
    if (folder !== null) await Deno.remove(folder).catch(() => {}); // unless another process writes there
  }
}

/** The complaint about a file or folder that could not be written. */
export function cannotWrite(path: string, error: unknown): InputError {
  const { reason, needsRoom } = writeFailure(error);
  const choose = isCached(path)
    ? "another folder for the cache by SAMLORA_CACHE"
    : "a folder that can be written to";
  const room = needsRoom ? "make room on the disk, or " : "";
  return new InputError(`cannot write ${path} (${reason}): ${room}choose ${choose}`);
}

/** Reason of a write that failed, in words that name no flag of Deno's, and true if room on the disk may help. */
export function writeFailure(error: unknown): { reason: string; needsRoom: boolean } {
  // Of the system's own folders (/proc, /sys, /dev) Deno asks for all permissions.
  if (error instanceof Deno.errors.NotCapable) {
    return { reason: "the folder is the system's, or not this program's", needsRoom: false };
  }
  if (error instanceof Deno.errors.NotADirectory) {
    return { reason: "a file is in the place of a folder", needsRoom: false };
  }
  return { reason: error instanceof Error ? error.message : String(error), needsRoom: true };
}

/** True if the process may write to a folder as a whole. */
function mayWrite(path: string): boolean {
  return Deno.permissions.querySync({ name: "write", path }).state === "granted";
}

/** Removes what the writes under way have written so far: for a program that exits amid them. */
export function dropWrites(): void {
  for (const temporary of underWay) {
    try {
      Deno.removeSync(temporary);
    } catch {
      // Not there yet, or renamed since.
    }
  }
}

/** Makes a folder with those above it, and brings the names of the new ones to the disk. */
export async function makeFolder(path: string): Promise<void> {
  const isMissing = (folder: string) =>
    Deno.stat(folder).then(() => false, (error) => error instanceof Deno.errors.NotFound);
  const parents: string[] = [];
  for (let folder = path; dirname(folder) !== folder && await isMissing(folder);) {
    parents.push(folder = dirname(folder));
  }
  await Deno.mkdir(path, { recursive: true });
  for (const parent of parents) {
    await syncFolder(parent).catch((error) => {
      // Beyond the folders that the program may read: the system does it in its own time.
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
    });
  }
}

/**
 * Makes a folder as {@linkcode makeFolder} does.
 *
 * @throws {InputError} if it cannot be made.
 */
export async function requireFolder(path: string): Promise<void> {
  try {
    await makeFolder(path);
  } catch (error) {
    throw cannotWrite(path, error);
  }
}

/** Brings a folder's names to the disk; Windows, which opens no folders, does so by itself. */
export async function syncFolder(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using folder = await Deno.open(path);
  await folder.sync();
}

/** True if a file bears the name of a write that is under way, or was killed. */
export function isTemporary(name: string): boolean {
  return /\.\d+\.\d+\.tmp$/.test(name);
}

/** Removes what writes that were killed have left in a folder, which may be missing. */
export async function removeTemporaries(folder: string): Promise<void> {
  try {
    for await (const { name, isFile } of Deno.readDir(folder)) {
      if (isFile && isTemporary(name)) await Deno.remove(join(folder, name));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/**
 * The folder for files that can be made again: `$SAMLORA_CACHE`, else `$XDG_CACHE_HOME/samlora`, else
 * `~/.cache/samlora`.
 */
export function cacheDir(...parts: string[]): string {
  const own = Deno.env.get("SAMLORA_CACHE");
  if (own) return join(own, ...parts);
  const base = Deno.env.get("XDG_CACHE_HOME") || join(Deno.env.get("HOME") ?? ".", ".cache");
  return join(base, "samlora", ...parts);
}

/** True for a path within the cache; false where the environment may not be read. */
function isCached(path: string): boolean {
  try {
    return !/^\.\.|^\//.test(relative(cacheDir(), path));
  } catch {
    return false;
  }
}
