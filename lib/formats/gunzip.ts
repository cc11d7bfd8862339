import { Gunzip as Inflater } from "fflate";
import { joinBytes } from "../byte_source.ts";

/**
 * Unpacks the bytes of a .gz file, which come in pieces and are `size` in all. Calls `onTrailer` once all is
 * unpacked if bytes follow that are not gzip.
 */
export type Gunzip = (
  pieces: () => Iterable<Uint8Array<ArrayBuffer>>,
  options: { readonly size: number; readonly onTrailer: () => void },
) => Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** Bytes that are unpacked at a time: to 64 MiB at most. */
const PIECE = 2 ** 16;

/** Bytes of a member's end (RFC 1952, 2.3.1): its checksum and its size. */
const END = 8;

/** Code of fflate's error for bytes that are no gzip member. */
const NO_MEMBER = 6;

/**
 * Unpacks files of several members (bgzip) too, wherever it runs: the platform's DecompressionStream takes one,
 * and nothing behind it.
 *
 * @throws {Error} if the file is damaged.
 */
export function* gunzip(...[pieces, { onTrailer }]: Parameters<Gunzip>): Generator<Uint8Array> {
  const packed = joinBytes([...pieces()]);
  const parts: Uint8Array[] = [];
  let [start, crc, size] = [0, 0, 0];
  const inflater = new Inflater((part) => {
    crc = crc32(part, crc);
    size += part.length;
    parts.push(part);
  });
  /** The place behind the member that was unpacked last. */
  const endOf = (member: Uint8Array): number => {
    const end = new Uint8Array(END);
    new DataView(end.buffer).setUint32(0, crc, true);
    new DataView(end.buffer).setUint32(4, size, true);
    for (let at = member.length - END; at >= 0; at--) {
      if (end.every((byte, i) => member[at + i] === byte)) return start + at + END;
    }
    throw new Error("incorrect data check");
  };
  inflater.onmember = (next) => {
    endOf(packed.subarray(start, next));
    [start, crc, size] = [next, 0, 0];
  };
  for (let at = 0; at < packed.length; at += PIECE) {
    try {
      inflater.push(packed.subarray(at, at + PIECE), at + PIECE >= packed.length);
    } catch (error) {
      const isTrailer = (error as { code?: number }).code === NO_MEMBER && at + size > 0;
      if (!isTrailer) throw error;
      at = packed.length;
    }
    yield* parts.splice(0);
  }
  if (endOf(packed.subarray(start)) < packed.length) onTrailer();
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

/** Checksum of bytes that follow others (RFC 1952, 8). */
function crc32(bytes: Uint8Array, before: number): number {
  let crc = ~before;
  for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}
