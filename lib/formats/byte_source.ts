import { InputError } from "../errors.ts";

/**
 * Bytes that can be read from anywhere: a file on disk or a buffer. Disposing of it twice is the same
 * as once.
 */
export interface ByteSource extends Disposable {
  /** Its name, for messages. */
  readonly name: string;
  /** Bytes in all. */
  readonly size: number;
  /**
   * Fills `target` with the bytes from `at` on.
   *
   * @throws {InputError} if they do not all exist.
   */
  read(at: number, target: Uint8Array): void;
}

function ends(name: string, missing: number): never {
  throw new InputError(`${name} ends ${missing} bytes too early: get the file again`);
}

/** A file that stays open until it is disposed of. */
class FileBytes implements ByteSource {
  readonly name: string;
  readonly size: number;
  readonly #file: Deno.FsFile;
  #isOpen = true;

  constructor(path: string) {
    this.name = path;
    this.#file = Deno.openSync(path);
    const { size, isFile } = this.#file.statSync();
    this.size = size;
    if (isFile) return;
    this.#file.close();
    throw new Error("it is no file");
  }

  // In one step, so that no other read moves the file's position in between.
  read(at: number, target: Uint8Array): void {
    this.#file.seekSync(at, Deno.SeekMode.Start);
    for (let done = 0; done < target.length;) {
      const count = this.#file.readSync(target.subarray(done));
      if (count === null) ends(this.name, target.length - done);
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
 * @throws {InputError} if it cannot be opened.
 */
export function openBytes(path: string): ByteSource {
  try {
    return new FileBytes(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${path} (${reason}): name a file of weights`);
  }
}

/** Lets bytes in memory be read as a file. */
export function bytesOf(content: Uint8Array, options: { source: string }): ByteSource {
  return {
    name: options.source,
    size: content.length,
    read(at, target) {
      const missing = at + target.length - content.length;
      if (missing > 0) ends(options.source, missing);
      target.set(content.subarray(at, at + target.length));
    },
    [Symbol.dispose]() {},
  };
}
