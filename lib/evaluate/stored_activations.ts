/**
 * Activations of images on disk that one process has computed for others, in a few large files: a file system
 * that machines share is slow to open many.
 *
 * @module
 */
import { join } from "node:path";
import { crc32 } from "node:zlib";
import * as v from "valibot";
import type { Shape } from "../tensor/shape.ts";

/** Bytes of a file, about. */
const FILE_BYTES = 2 ** 26;

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** Index of the files. */
export interface ActivationIndex {
  /** All that the activations depend on beside the cut, as `ActivationCache.keep` is told. */
  readonly content: string;
  /** Number of stages in front of them. */
  readonly cut: number;
  /** Device and software that computed them: another may differ in the last bits. */
  readonly machine: string;
  /** Shape of one image's, [1, ...]. */
  readonly shape: number[];
  /** Each with its key, file, place in it, length and CRC-32. */
  readonly records: [key: string, file: number, offset: number, length: number, crc32: number][];
}

const indexSchema: v.GenericSchema<unknown, ActivationIndex> = v.object({
  content: v.string(),
  cut: count,
  machine: v.string(),
  shape: v.array(count),
  records: v.array(v.tuple([v.string(), count, count, count, count])),
});

/** Name of the index within the folder. */
export const ACTIVATION_INDEX = "index.json";

function fileName(number: number): string {
  return `${String(number).padStart(6, "0")}.bin`;
}

/** Collects activations, and writes a file whenever there are enough for one. */
export class ActivationWriter {
  readonly #write: (name: string, content: Uint8Array | string) => Promise<void>;
  readonly #records: ActivationIndex["records"] = [];
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #file = 1;
  /** Bytes so far. */
  bytes = 0;

  /**
   * Begins with no file.
   *
   * @param write Writes a file of the folder.
   */
  constructor(write: (name: string, content: Uint8Array | string) => Promise<void>) {
    this.#write = write;
  }

  /** Adds the activation of a key. */
  async add(key: string, content: Uint8Array): Promise<void> {
    this.#records.push([key, this.#file, this.#pendingBytes, content.length, crc32(content)]);
    this.#pending.push(content);
    this.#pendingBytes += content.length;
    this.bytes += content.length;
    if (this.#pendingBytes >= FILE_BYTES) await this.#flush();
  }

  /** Writes what is left, and the index at last: without it nothing is read. */
  async finish(index: Omit<ActivationIndex, "records">): Promise<void> {
    await this.#flush();
    await this.#write(
      ACTIVATION_INDEX,
      JSON.stringify({ ...index, records: this.#records }) + "\n",
    );
  }

  async #flush(): Promise<void> {
    if (this.#pendingBytes === 0) return;
    const content = new Uint8Array(this.#pendingBytes);
    let at = 0;
    for (const part of this.#pending) {
      content.set(part, at);
      at += part.length;
    }
    await this.#write(fileName(this.#file), content);
    this.#pending = [];
    this.#pendingBytes = 0;
    this.#file++;
  }
}

/** Activations that another process has written; one that was damaged is as if it had never been kept. */
export class StoredActivations implements Disposable {
  /** All that they depend on beside the cut. */
  readonly content: string;
  /** Number of stages in front of them. */
  readonly cut: number;
  /** Shape of one image's, [1, ...]. */
  readonly shape: Shape;
  readonly #folder: string;
  readonly #records: ReadonlyMap<string, ActivationIndex["records"][number]>;
  readonly #files = new Map<number, Deno.FsFile>();

  private constructor(folder: string, { content, cut, shape, records }: ActivationIndex) {
    this.content = content;
    this.cut = cut;
    this.shape = shape;
    this.#folder = folder;
    this.#records = new Map(records.map((record) => [record[0], record]));
  }

  /**
   * Opens the activations of a folder; null if there are none, or another kind of machine has computed them.
   *
   * @param machine Device and software of this process.
   */
  static async open(folder: string, machine: string): Promise<StoredActivations | null> {
    try {
      const value = JSON.parse(await Deno.readTextFile(join(folder, ACTIVATION_INDEX)));
      const index = v.parse(indexSchema, value);
      return index.machine === machine ? new StoredActivations(folder, index) : null;
    } catch {
      return null; // each process can compute them
    }
  }

  /** The activation of a key; null if there is none, or it is not what was written. */
  read(key: string): Uint8Array<ArrayBuffer> | null {
    const record = this.#records.get(key);
    if (!record) return null;
    const [, number, offset, length, checksum] = record;
    try {
      let file = this.#files.get(number);
      if (!file) {
        file = Deno.openSync(join(this.#folder, fileName(number)));
        this.#files.set(number, file);
      }
      file.seekSync(offset, Deno.SeekMode.Start);
      const content = new Uint8Array(length);
      for (let done = 0; done < length;) {
        const read = file.readSync(content.subarray(done));
        if (read === null) return null;
        done += read;
      }
      return crc32(content) === checksum ? content : null;
    } catch {
      return null;
    }
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file.close();
    this.#files.clear();
  }
}
