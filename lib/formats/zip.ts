import { crc32, inflateRawSync } from "node:zlib";
import type { ByteSource } from "./byte_source.ts";

/** One file of a zip archive, as the archive's directory describes it. */
export interface ZipEntry {
  /** Its path in the archive. */
  readonly name: string;
  /** Bytes of the content. */
  readonly size: number;
  /** Bytes it takes in the archive; equal to `size` unless it is deflated. */
  readonly storedSize: number;
  /** Whether it is compressed. */
  readonly deflated: boolean;
  /** CRC-32 of the content. */
  readonly crc: number;
  /** Where its local header begins. */
  readonly headerAt: number;
  /** Where the next entry, or the directory, begins: its data end there at the latest. */
  readonly limit: number;
}

const END_OF_DIRECTORY = 0x06054b50;
const ZIP64_LOCATOR = 0x07064b50;
const ZIP64_END_OF_DIRECTORY = 0x06064b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_HEADER = 0x04034b50;

/** A checkpoint of 100,000 tensors has a directory of this size. */
const MAXIMUM_DIRECTORY_BYTES = 2 ** 23;

/** Weights hardly compress; only a bomb grows more than this. */
const MAXIMUM_RATIO = 100;

/**
 * Bytes of all deflated entries together, which are unpacked to memory and kept there. torch.save
 * stores its entries as they are; only small files are ever packed again.
 */
const MAXIMUM_UNPACKED_BYTES = 2 ** 26;

const CHUNK = 2 ** 22;

/**
 * A zip archive read from its directory, each entry only when it is asked for. Entries are stored or
 * deflated; those that overlap or leave the file are refused, and so are those that unpack to a
 * hundred times their size, or to more than 64 MiB together.
 *
 * Source: PKWARE, "APPNOTE.TXT - .ZIP File Format Specification" 6.3.
 */
export class ZipFile {
  /** By name. */
  readonly entries: ReadonlyMap<string, ZipEntry>;
  readonly #bytes: ByteSource;
  readonly #refuse: (reason: string) => never;
  readonly #verified = new Set<ZipEntry>();
  readonly #unpacked = new Map<ZipEntry, Uint8Array>();

  /**
   * Reads the directory.
   *
   * @param refuse Throws the error that says what is wrong with the file.
   */
  constructor(bytes: ByteSource, refuse: (reason: string) => never) {
    this.#bytes = bytes;
    this.#refuse = refuse;
    this.entries = this.#readDirectory();
  }

  #view(at: number, length: number): DataView {
    if (at < 0 || at + length > this.#bytes.size) this.#refuse("its zip directory leaves the file");
    const part = new Uint8Array(length);
    this.#bytes.read(at, part);
    return new DataView(part.buffer);
  }

  /** Where the directory lies and how many entries it has. */
  #findDirectory(): { at: number; length: number; count: number } {
    // The end record is 22 bytes and a comment of at most 65,535.
    const tail = Math.min(this.#bytes.size, 22 + 0xffff);
    const start = this.#bytes.size - tail;
    const view = this.#view(start, tail);
    for (let i = tail - 22; i >= 0; i--) {
      if (view.getUint32(i, true) !== END_OF_DIRECTORY) continue;
      if (i + 22 + view.getUint16(i + 20, true) !== tail) continue;
      const [count, length, at] = [
        view.getUint16(i + 10, true),
        view.getUint32(i + 12, true),
        view.getUint32(i + 16, true),
      ];
      const isZip64 = i >= 20 && view.getUint32(i - 20, true) === ZIP64_LOCATOR;
      if (!isZip64) return { at, length, count };
      const end = this.#view(this.#safe(view.getBigUint64(i - 12, true)), 56);
      if (end.getUint32(0, true) !== ZIP64_END_OF_DIRECTORY) this.#refuse("its zip end is damaged");
      return {
        count: this.#safe(end.getBigUint64(32, true)),
        length: this.#safe(end.getBigUint64(40, true)),
        at: this.#safe(end.getBigUint64(48, true)),
      };
    }
    return this.#refuse("its zip directory is missing: the file is cut off");
  }

  /** A 64-bit size or offset as a number. */
  #safe(value: bigint): number {
    if (value > Number.MAX_SAFE_INTEGER) this.#refuse(`a size of ${value} bytes in its directory`);
    return Number(value);
  }

  #readDirectory(): Map<string, ZipEntry> {
    const { at, length, count } = this.#findDirectory();
    if (length > MAXIMUM_DIRECTORY_BYTES) this.#refuse(`a zip directory of ${length} bytes`);
    const view = this.#view(at, length);
    const text = new TextDecoder();
    const found: Array<ZipEntry & { limit: number }> = [];
    for (let i = 0; i < length;) {
      if (i + 46 > length || view.getUint32(i, true) !== DIRECTORY_ENTRY) {
        this.#refuse("its zip directory is damaged");
      }
      const [nameLength, extraLength, commentLength] = [28, 30, 32].map((field) =>
        view.getUint16(i + field, true)
      );
      const next = i + 46 + nameLength + extraLength + commentLength;
      if (next > length) this.#refuse("its zip directory is damaged");
      const name = text.decode(new Uint8Array(view.buffer, i + 46, nameLength));
      if (view.getUint16(i + 8, true) & 1) this.#refuse(`entry "${name}" is encrypted`);
      const method = view.getUint16(i + 10, true);
      if (method !== 0 && method !== 8) {
        this.#refuse(`entry "${name}" is packed by method ${method}`);
      }
      const extra = new DataView(view.buffer, i + 46 + nameLength, extraLength);
      const [size, storedSize, headerAt] = this.#zip64(extra, [
        view.getUint32(i + 24, true),
        view.getUint32(i + 20, true),
        view.getUint32(i + 42, true),
      ]);
      if (method === 0 && size !== storedSize) this.#refuse(`entry "${name}" has two sizes`);
      if (size > MAXIMUM_RATIO * storedSize) {
        this.#refuse(`entry "${name}" of ${storedSize} bytes unpacks to ${size}`);
      }
      const crc = view.getUint32(i + 16, true);
      found.push({ name, size, storedSize, deflated: method === 8, crc, headerAt, limit: at });
      i = next;
    }
    const unpacked = found.reduce((sum, { deflated, size }) => sum + (deflated ? size : 0), 0);
    if (unpacked > MAXIMUM_UNPACKED_BYTES) {
      this.#refuse(`its compressed entries unpack to ${unpacked} bytes, and torch compresses none`);
    }
    if (found.length !== count) this.#refuse(`${found.length} entries instead of ${count}`);

    found.sort((a, b) => b.headerAt - a.headerAt);
    let limit = at;
    const entries = new Map<string, ZipEntry>();
    for (const entry of found) {
      entry.limit = limit;
      if (entry.headerAt + 30 + entry.storedSize > limit) {
        this.#refuse(`entry "${entry.name}" overlaps what comes after it`);
      }
      if (entries.has(entry.name)) this.#refuse(`entry "${entry.name}" comes twice`);
      entries.set(entry.name, entry);
      limit = entry.headerAt;
    }
    return entries;
  }

  /** Sizes and offset, those that do not fit 32 bits from the extra field 1. */
  #zip64(extra: DataView, fields: number[]): number[] {
    for (let i = 0; i + 4 <= extra.byteLength;) {
      const [id, length] = [extra.getUint16(i, true), extra.getUint16(i + 2, true)];
      if (id === 1) {
        let at = i + 4;
        return fields.map((value) => {
          if (value !== 0xffffffff) return value;
          if (at + 8 > Math.min(i + 4 + length, extra.byteLength)) {
            this.#refuse("its zip directory is damaged");
          }
          at += 8;
          return this.#safe(extra.getBigUint64(at - 8, true));
        });
      }
      i += 4 + length;
    }
    return fields;
  }

  /** Where the data of an entry begin. */
  #dataAt(entry: ZipEntry): number {
    const view = this.#view(entry.headerAt, 30);
    const at = entry.headerAt + 30 + view.getUint16(26, true) + view.getUint16(28, true);
    if (view.getUint32(0, true) !== LOCAL_HEADER || at + entry.storedSize > entry.limit) {
      this.#refuse(`entry "${entry.name}" is not where the zip directory says`);
    }
    return at;
  }

  /**
   * The content of an entry, readable from anywhere: in place if it is stored, unpacked to memory,
   * once, if it is deflated. Its CRC is checked the first time.
   */
  content(entry: ZipEntry): (at: number, target: Uint8Array) => void {
    const start = this.#dataAt(entry);
    if (entry.deflated) {
      const content = this.#unpacked.get(entry) ?? this.#inflate(entry, start);
      return (at, target) => target.set(content.subarray(at, at + target.length));
    }
    if (!this.#verified.has(entry)) {
      const chunk = new Uint8Array(Math.min(entry.size, CHUNK));
      let crc = 0;
      for (let done = 0; done < entry.size;) {
        const part = chunk.subarray(0, Math.min(entry.size - done, CHUNK));
        this.#bytes.read(start + done, part);
        crc = crc32(part, crc);
        done += part.length;
      }
      this.#check(entry, crc);
    }
    return (at, target) => this.#bytes.read(start + at, target);
  }

  #inflate(entry: ZipEntry, start: number): Uint8Array {
    const packed = new Uint8Array(entry.storedSize);
    this.#bytes.read(start, packed);
    let content: Uint8Array;
    try {
      content = inflateRawSync(packed, { maxOutputLength: Math.max(1, entry.size) });
    } catch {
      return this.#refuse(`entry "${entry.name}" does not unpack to ${entry.size} bytes`);
    }
    if (content.length !== entry.size) {
      this.#refuse(`entry "${entry.name}" unpacks to ${content.length} bytes, not ${entry.size}`);
    }
    this.#check(entry, crc32(content));
    this.#unpacked.set(entry, content);
    return content;
  }

  #check(entry: ZipEntry, crc: number): void {
    if (crc !== entry.crc) this.#refuse(`the checksum of entry "${entry.name}" is wrong`);
    this.#verified.add(entry);
  }
}
