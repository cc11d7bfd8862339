import {
  type FileEntry,
  Reader,
  WARNING_TRAILING_CENTRAL_DIRECTORY_DATA as TRAILING_DIRECTORY_DATA,
  ZipReader,
} from "@zip.js/zip.js/lib/zip-core-native.js";
import { InputError } from "../errors.ts";
import type { ByteSource } from "../byte_source.ts";

/** Fills `target` with the bytes of a content from `at` on. */
export type ReadAt = (at: number, target: Uint8Array) => void;

/** An entry of a zip archive. */
export interface ZipEntry {
  /** Length of its content in bytes. */
  readonly size: number;
  /**
   * Opens its content, readable from anywhere: in place if it is stored, unpacked to memory, once, if it
   * is deflated. Its CRC-32 is checked the first time.
   *
   * @throws {InputError} if it is damaged.
   */
  open(): Promise<ReadAt>;
}

/** Longest directory, in bytes: that of a checkpoint of 100,000 tensors. */
const MAXIMUM_DIRECTORY_BYTES = 2 ** 23;

/** Weights hardly compress; only a bomb grows by more than this factor. */
const MAXIMUM_RATIO = 100;

/**
 * Bytes of all deflated entries together, which are unpacked to memory and kept there. torch.save
 * stores its entries as they are; only small files are ever packed again.
 */
const MAXIMUM_UNPACKED_BYTES = 2 ** 26;

/** Bytes of an entry's local header without its name. */
const LOCAL_HEADER_BYTES = 30;

/** Ways of packing, as a zip numbers them. */
const STORED = 0;
const DEFLATED = 8;

/** A file as zip.js reads it: contents in small pieces, the directory at once. */
class SourceReader extends Reader<ByteSource> {
  readonly #source: ByteSource;

  constructor(source: ByteSource) {
    super(source);
    this.#source = source;
    this.size = source.size;
  }

  override readUint8Array(at: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    if (length > MAXIMUM_DIRECTORY_BYTES) throw new Error(`a zip directory of ${length} bytes`);
    const part = new Uint8Array(Math.max(0, Math.min(length, this.size - at)));
    this.#source.read(at, part);
    return Promise.resolve(part);
  }
}

/**
 * Lists the entries of a zip archive by name; each is read when it is asked for.
 *
 * Stored and deflated entries are known. Archives that could be read in two ways, entries that overlap,
 * and those that unpack to a hundred times their size or to more than 64 MiB together are refused.
 *
 * @param refuse Throws the error that says what is wrong with the file.
 */
export async function openZip(
  source: ByteSource,
  refuse: (reason: string) => never,
): Promise<ReadonlyMap<string, ZipEntry>> {
  const guarded = async <T>(action: () => Promise<T>, where: string): Promise<T> => {
    try {
      return await action();
    } catch (error) {
      if (error instanceof InputError || !(error instanceof Error)) throw error;
      return refuse(`${where}: ${error.message}`);
    }
  };
  const zip = new ZipReader(new SourceReader(source), {
    checkCrc32: true,
    checkLocalDirectory: true,
    checkOverlappingEntry: true,
    useWebWorkers: false,
  });
  const listed = await guarded(() => zip.getEntries(), "its zip directory");
  // torch.save ends every directory with the record that only large ones need.
  const doubts = zip.warnings!.filter(({ reason }) => reason !== TRAILING_DIRECTORY_DATA);
  if (doubts.length > 0) refuse(`its zip directory: ${doubts[0].reason}`);
  const entries = new Map<string, ZipEntry>();
  let unpacked = 0;
  let limit = source.size;
  for (const entry of listed.sort((a, b) => b.offset - a.offset)) {
    const { filename: name, uncompressedSize: size, compressedSize: stored } = entry;
    if (entry.offset + LOCAL_HEADER_BYTES + stored > limit) {
      refuse(`entry "${name}" overlaps what comes after it`);
    }
    limit = entry.offset;
    if (entry.directory) continue;
    if (entry.encrypted) refuse(`entry "${name}" is encrypted`);
    if (entry.compressionMethod !== STORED && entry.compressionMethod !== DEFLATED) {
      refuse(`entry "${name}" is packed by method ${entry.compressionMethod}`);
    }
    if (size > MAXIMUM_RATIO * stored) {
      refuse(`entry "${name}" of ${stored} bytes unpacks to ${size}`);
    }
    if (entry.compressionMethod === DEFLATED) unpacked += size;
    else if (size !== stored) refuse(`entry "${name}" has two sizes`);
    entries.set(name, zipEntry(entry, source, guarded));
  }
  if (unpacked > MAXIMUM_UNPACKED_BYTES) {
    refuse(`its compressed entries unpack to ${unpacked} bytes, and torch compresses none`);
  }
  return entries;
}

/** An entry whose content is checked when it is first opened. */
function zipEntry(
  entry: FileEntry,
  source: ByteSource,
  guarded: <T>(action: () => Promise<T>, where: string) => Promise<T>,
): ZipEntry {
  const { filename, uncompressedSize: size, compressionMethod } = entry;
  const extract = async (use: (chunk: Uint8Array) => void): Promise<void> => {
    await guarded(
      () => entry.getData(new WritableStream({ write: use })),
      `entry "${filename}"`,
    );
  };
  const open = async (): Promise<ReadAt> => {
    if (compressionMethod === STORED) {
      await extract(() => {});
      const start = entry.localDirectory!.dataOffset;
      return (at, target) => source.read(start + at, target);
    }
    const content = new Uint8Array(size);
    let filled = 0;
    await extract((chunk) => {
      content.set(chunk, filled);
      filled += chunk.length;
    });
    return (at, target) => target.set(content.subarray(at, at + target.length));
  };
  let opened: Promise<ReadAt> | undefined;
  return { size, open: () => opened ??= open() };
}
