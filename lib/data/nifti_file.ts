import { Readable } from "node:stream";
import { crc32, createGunzip, createInflateRaw, gzipSync } from "node:zlib";
import { joinBytes } from "../byte_source.ts";
import { type Gunzip, parseNifti } from "../formats/nifti.ts";
import { encodeNifti, type NiftiDatatype } from "../formats/nifti_writer.ts";
import type { Volume } from "../formats/volume.ts";
import { writeFileAtomic } from "../fs.ts";
import { openWhole } from "./detached.ts";

/** Unpacks files of several members (bgzip) too, in a thread of its own. */
const gunzip: Gunzip = async function* (pieces, { size, onTrailer }) {
  const unzip = createGunzip({ chunkSize: 2 ** 18 });
  const stream = Readable.from(pieces()).pipe(unzip);
  let given = 0;
  try {
    for await (const piece of stream) {
      yield piece;
      given += piece.length;
    }
    if (unzip.bytesWritten < size) onTrailer(); // what was taken of the file, not what came of it
    return;
  } catch (error) {
    // Bytes after a member are taken for another one, unless they are zeros.
    if (!/incorrect header check/.test(String(error))) throw error;
  } finally {
    stream.destroy();
  }
  yield* firstMember(pieces, given);
  onTrailer();
};

/**
 * Unpacks the first member of a .gz file, whatever follows it, from a place of its content on.
 *
 * @throws {Error} if it is damaged.
 */
async function* firstMember(
  pieces: () => Iterable<Uint8Array<ArrayBuffer>>,
  from: number,
): AsyncGenerator<Uint8Array> {
  const packed = joinBytes([...pieces()]);
  const start = headerLength(packed);
  const inflate = createInflateRaw({ chunkSize: 2 ** 18 });
  const stream = Readable.from([packed.subarray(start)]).pipe(inflate);
  let [given, sum] = [0, 0];
  for await (const piece of stream) {
    sum = crc32(piece, sum);
    yield piece.subarray(Math.max(0, Math.min(piece.length, from - given)));
    given += piece.length;
  }
  const end = start + inflate.bytesWritten;
  const isWhole = end + 8 <= packed.length &&
    new DataView(packed.buffer).getUint32(end, true) === sum;
  if (!isWhole) throw new Error("incorrect data check");
}

/** Bytes of a member's header (RFC 1952, 2.3). */
function headerLength(packed: Uint8Array): number {
  const flags = packed[3];
  let end = 10;
  if (flags & 4) end += 2 + packed[end] + 256 * packed[end + 1]; // extra field
  for (const text of [8, 16]) { // name, comment
    if (flags & text) end = packed.indexOf(0, end) + 1;
  }
  return flags & 2 ? end + 2 : end; // checksum
}

/**
 * Reads a `.nii` or `.nii.gz` file, or an `.hdr` with its `.img`, as {@linkcode parseNifti} does.
 *
 * @param options.channel Index of the volume in a 4D file, from 0; default: there must be one alone.
 * @throws {InputError} if it cannot be read or is not one sound 3D volume.
 */
export async function readNifti(
  path: string,
  { channel = null }: { channel?: number | null } = {},
): Promise<Volume> {
  using file = openWhole(path);
  return await parseNifti(file, { gunzip, channel });
}

/**
 * Writes a volume as NIfTI, as {@linkcode encodeNifti} does, compressed if the name ends in `.gz`. The file
 * appears under its name only when it is whole.
 *
 * @param options.datatype Type of the voxels; integer types round, and refuse what does not fit.
 * @param options.description Up to 79 characters of free text for a new header.
 * @throws {InputError} if a value or side does not fit, or the folder cannot be written to.
 */
export async function writeNifti(
  path: string,
  volume: Volume,
  options: { datatype: NiftiDatatype; description?: string },
): Promise<void> {
  const bytes = encodeNifti(volume, { ...options, source: path });
  await writeFileAtomic(path, /\.gz$/i.test(path) ? gzipSync(bytes) : bytes);
}
