import { Readable } from "node:stream";
import { createGunzip, gzipSync } from "node:zlib";
import { type Gunzip, parseNifti } from "../formats/nifti.ts";
import { encodeNifti, type NiftiDatatype } from "../formats/nifti_writer.ts";
import type { Volume } from "../formats/volume.ts";
import { openBytes, writeFileAtomic } from "../fs.ts";

/** Unpacks files of several members (bgzip) too, in a thread of its own. */
const gunzip: Gunzip = async function* (pieces, { size, onPadding }) {
  const unzip = createGunzip({ chunkSize: 2 ** 18 });
  const stream = Readable.from(pieces).pipe(unzip);
  try {
    yield* stream;
    if (unzip.bytesWritten < size) onPadding(); // what was taken of the file, not what came of it
  } finally {
    stream.destroy();
  }
};

/**
 * Reads a `.nii` or `.nii.gz` file, as {@linkcode parseNifti} does.
 *
 * @param options.channel Which volume of a 4D file, counted from 0; default: there must be one alone.
 * @throws {InputError} if it cannot be read or is not one sound 3D volume.
 */
export async function readNifti(
  path: string,
  { channel = null }: { channel?: number | null } = {},
): Promise<Volume> {
  using file = openBytes(path);
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
