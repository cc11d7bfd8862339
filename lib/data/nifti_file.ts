import { Readable } from "node:stream";
import { createGunzip, gzipSync } from "node:zlib";
import { encodeNifti, type Gunzip, type NiftiDatatype, parseNifti } from "../formats/nifti.ts";
import type { Volume } from "../formats/volume.ts";
import { openBytes, writeFileAtomic } from "../fs.ts";

/** Unpacks files of several members (bgzip) too, in a thread of its own. */
const gunzip: Gunzip = async function* (pieces) {
  const stream = Readable.from(pieces).pipe(createGunzip({ chunkSize: 2 ** 18 }));
  try {
    yield* stream;
  } finally {
    stream.destroy();
  }
};

/**
 * Reads a `.nii` or `.nii.gz` file, as {@linkcode parseNifti} does.
 *
 * @throws {InputError} if it cannot be read or is not one sound 3D volume.
 */
export async function readNifti(path: string): Promise<Volume> {
  using file = openBytes(path);
  return await parseNifti(file, { gunzip });
}

/**
 * Writes a volume as NIfTI-1, compressed if the name ends in `.gz`. The file appears under its name only
 * when it is whole.
 *
 * @param options.datatype Type of the voxels; integer types round, and refuse what does not fit.
 * @throws {InputError} if a value or side does not fit, or the folder cannot be written to.
 */
export async function writeNifti(
  path: string,
  volume: Volume,
  { datatype }: { datatype: NiftiDatatype },
): Promise<void> {
  const bytes = encodeNifti(volume, { datatype, source: path });
  await writeFileAtomic(path, path.endsWith(".gz") ? gzipSync(bytes) : bytes);
}
