/**
 * The file that keeps one case's slices: a line of JSON that says where each slice lies, then the
 * pixels. Images are stored in 16 bits (0..255 in steps of 1/257), masks in one bit a pixel. The index
 * and every slice carry a checksum, so that damage is seen when, and only when, it would matter.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { writeFileAtomic } from "../fs.ts";

/** Counts up whenever the bytes of a slice file would change for the same input. */
export const SLICE_FILE_VERSION = 1;

/** One slice's pixels. */
export interface SlicePixels {
  /** height * width values in 0..255, row-major. */
  image: Float32Array;
  /** The tumour: 0 or 1, like the image. */
  mask: Uint8Array;
}

/** Place of one slice in its file. */
export interface SliceLocation {
  /** The file. */
  path: string;
  /** Bytes from its start. */
  offset: number;
  /** Bytes of image and mask. */
  length: number;
  /** CRC-32 of those bytes. */
  checksum: number;
  /** Pixels of the slice. */
  pixels: number;
}

/** A slice file's index: what `extra` the writer gave, and the slices' places. */
export interface SliceIndex<T> {
  /** The writer's own facts. */
  extra: T;
  /** In the order they were written. */
  locations: SliceLocation[];
}

interface StoredIndex<T> {
  version: number;
  extra: T;
  slices: { offset: number; length: number; checksum: number; pixels: number }[];
}

/** Thrown when a slice file is missing or not what was written. */
export class DamagedSliceFile extends Error {
  /** The name that distinguishes it. */
  override readonly name = "DamagedSliceFile";
}

/** The largest index that is believed; a thousand slices take about 300 kB. */
const MAX_INDEX_BYTES = 1 << 26;

/** Writes a case's slices, all or nothing. */
export async function writeSliceFile<T>(
  path: string,
  { slices, extra }: { slices: readonly SlicePixels[]; extra: T },
): Promise<void> {
  const parts = slices.map(encode);
  let offset = 0; // from the end of the index, whose length is not known yet
  const index: StoredIndex<T> = {
    version: SLICE_FILE_VERSION,
    extra,
    slices: parts.map((part, i) => {
      const entry = { offset, length: part.length, checksum: crc32(part) };
      offset += part.length;
      return { ...entry, pixels: slices[i].mask.length };
    }),
  };
  const json = new TextEncoder().encode(JSON.stringify(index));
  const file = new Uint8Array(8 + json.length + offset);
  const view = new DataView(file.buffer);
  view.setUint32(0, json.length, true);
  view.setUint32(4, crc32(json), true);
  file.set(json, 8);
  let at = 8 + json.length;
  for (const part of parts) {
    file.set(part, at);
    at += part.length;
  }
  await writeFileAtomic(path, file);
}

/**
 * Reads the index alone.
 *
 * @throws {DamagedSliceFile} if the file is missing, shorter or longer than its index says, of
 * another version, or fails the index's checksum.
 */
export async function readSliceIndex<T>(path: string): Promise<SliceIndex<T>> {
  return await guarded(path, async (file) => {
    const { size } = await file.stat();
    const head = await readExactly(file, 8);
    const view = new DataView(head.buffer);
    const length = view.getUint32(0, true);
    if (length > Math.min(size, MAX_INDEX_BYTES)) throw new Error("its index is damaged");
    const json = await readExactly(file, length);
    if (crc32(json) !== view.getUint32(4, true)) throw new Error("its index is damaged");
    const index: StoredIndex<T> = JSON.parse(new TextDecoder().decode(json));
    if (index?.version !== SLICE_FILE_VERSION) throw new Error("it is of another version");
    const start = 8 + length;
    let end = start;
    if (!Array.isArray(index.slices)) throw new Error("its index is damaged");
    for (const slice of index.slices) {
      const sound = Number.isSafeInteger(slice?.pixels) && slice.pixels >= 0 &&
        slice.length === bytesOf(slice.pixels) && slice.offset === end - start;
      if (!sound) throw new Error("its index is damaged");
      end += slice.length;
    }
    if (end !== size) throw new Error(`it has ${size} bytes and not ${end}`);
    const locations = index.slices.map((slice) => ({
      ...slice,
      path,
      offset: start + slice.offset,
    }));
    return { extra: index.extra, locations };
  });
}

/**
 * Reads one slice, without touching the rest of the file.
 *
 * @throws {DamagedSliceFile} if the bytes are not those that were written.
 */
export async function readSlice(location: SliceLocation): Promise<SlicePixels> {
  return await guarded(location.path, async (file) => {
    await file.seek(location.offset, Deno.SeekMode.Start);
    const bytes = await readExactly(file, location.length);
    if (crc32(bytes) !== location.checksum) throw new Error("a slice fails its checksum");
    return decode(bytes, location.pixels);
  });
}

async function guarded<R>(path: string, body: (file: Deno.FsFile) => Promise<R>): Promise<R> {
  try {
    using file = await Deno.open(path);
    return await body(file);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new DamagedSliceFile(`${path} cannot be used: ${reason}`);
  }
}

async function readExactly(file: Deno.FsFile, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const read = await file.read(bytes.subarray(at));
    if (read === null) throw new Error("it ends too early");
    at += read;
  }
  return bytes;
}

/** Bytes of a slice: 16 bits a pixel for the image and one for the mask. */
function bytesOf(pixels: number): number {
  return 2 * pixels + Math.ceil(pixels / 8);
}

function encode({ image, mask }: SlicePixels): Uint8Array {
  const pixels = image.length;
  const bytes = new Uint8Array(bytesOf(pixels));
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < pixels; i++) {
    view.setUint16(2 * i, Math.round(image[i] * 257), true);
    if (mask[i]) bytes[2 * pixels + (i >> 3)] |= 1 << (i & 7);
  }
  return bytes;
}

function decode(bytes: Uint8Array<ArrayBuffer>, pixels: number): SlicePixels {
  const image = new Float32Array(pixels);
  const mask = new Uint8Array(pixels);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < pixels; i++) {
    image[i] = view.getUint16(2 * i, true) / 257;
    mask[i] = (bytes[2 * pixels + (i >> 3)] >> (i & 7)) & 1;
  }
  return { image, mask };
}
