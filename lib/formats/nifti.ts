/**
 * NIfTI volumes from bytes. The voxels are streamed, so that reading takes the memory of the Float32Array
 * and one block, whatever the file's type.
 *
 * @module
 */
import type { ByteSource } from "../byte_source.ts";
import { InputError, isOutOfMemory } from "../errors.ts";
import { type Gunzip, gunzip as ownGunzip } from "./gunzip.ts";
import { MAX_DEFLATE_RATIO } from "./inflate.ts";
import { type NiftiLayout, parseNiftiHeader } from "./nifti_header.ts";
import { elementsOf, ITEM_SIZE, reverseBytes } from "./raw_tensor.ts";
import { MAX_VOXELS, NO_ROOM, requireFinite, type Volume } from "./volume.ts";

/** Bytes read and decoded at a time; a multiple of every voxel size. */
const BLOCK = 1 << 18;

/** Voxels up to which memory is taken on the header's word: 64 MiB. */
const TRUSTED_VOXELS = 2 ** 24;

/** Scans shrink to half or a tenth: beyond this, memory is taken only once the voxels were counted. */
const TRUSTED_DEFLATE_RATIO = 16;

/** Bytes that may follow the voxels; reading them checks the checksum at the end of a .gz. */
const MAX_TRAILING_BYTES = 1 << 24;

/**
 * Reads a `.nii` or `.nii.gz` file (told apart by content): NIfTI-1 or NIfTI-2, either byte order, every
 * integer and floating-point type up to 64 bits. `scl_slope` and `scl_inter` are applied (a slope of 0
 * means no scaling); the affine is the sform, else the qform, else the voxel size on the diagonal, in mm
 * whatever unit the header names. Bytes after the end of a .gz are passed over and noted.
 *
 * @param options.channel Index of the volume in a 4D file, from 0; default: there must be one alone.
 * @param options.gunzip Unpacks a `.gz`; default: by code that runs anywhere.
 * @throws {InputError} if the file is truncated, damaged, not NIfTI, not one 3D volume, has more than
 * 2^29 voxels, or holds NaN or infinite voxels or such an affine.
 */
export async function parseNifti(
  file: ByteSource,
  { gunzip = ownGunzip, channel = null }: { gunzip?: Gunzip; channel?: number | null } = {},
): Promise<Volume> {
  const magic = new Uint8Array(Math.min(2, file.size));
  file.read(0, magic);
  const gzipped = magic[0] === 0x1f && magic[1] === 0x8b;
  let hasTrailer = false;
  const packing = { size: file.size, onTrailer: () => void (hasTrailer = true) };
  const pieces = () => piecesOf(file);
  const open = () => new ByteReader(gzipped ? gunzip(pieces, packing) : pieces());
  const bytes = open();
  try {
    const layout = await readLayout(bytes, { path: file.name, channel });
    const { shape, spacing, affine, isPlaced, header, dtype, offset } = layout;
    const voxels = shape[0] * shape[1] * shape[2];
    const start = offset + (channel ?? 0) * voxels * ITEM_SIZE[dtype];
    const end = start + voxels * ITEM_SIZE[dtype];
    if (end > (gzipped ? file.size * MAX_DEFLATE_RATIO : file.size)) {
      throw new InputError(
        `${file.name} promises ${shape.join(" x ")} voxels, more than its ${file.size} bytes can ` +
          `hold: it is truncated or its header is damaged, so copy or download it again`,
      );
    }
    if (voxels > MAX_VOXELS) {
      throw new InputError(
        `${file.name} has ${
          shape.join(" x ")
        } voxels, more than the ${MAX_VOXELS} that are read: ` +
          `crop or resample it`,
      );
    }
    if (gzipped && voxels > TRUSTED_VOXELS && end > TRUSTED_DEFLATE_RATIO * file.size) {
      await requireBytes(open(), end);
    }
    await bytes.skip(start - bytes.position);
    const data = await readVoxels(bytes, layout, voxels);
    await bytes.drain(MAX_TRAILING_BYTES);
    requireFinite(data, { shape, name: file.name });
    const notes = hasTrailer
      ? [...layout.notes, "its .gz stream is followed by other bytes, which are passed over"]
      : layout.notes;
    return { data, shape, spacing, affine, isPlaced, header, notes };
  } catch (error) {
    if (error instanceof InputError) throw error;
    if (isOutOfMemory(error)) throw new InputError(`${file.name} ${NO_ROOM}`);
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(
      `${file.name} is truncated or damaged (${reason}): copy or download it again`,
    );
  } finally {
    await bytes.close();
  }
}

/** The bytes of a file, a block at a time. */
function* piecesOf(file: ByteSource): Generator<Uint8Array<ArrayBuffer>> {
  for (let at = 0; at < file.size; at += BLOCK) {
    const piece = new Uint8Array(Math.min(BLOCK, file.size - at));
    file.read(at, piece);
    yield piece;
  }
}

/** Unpacks a file to nowhere, and throws if fewer bytes than promised come out. */
async function requireBytes(bytes: ByteReader, promised: number): Promise<void> {
  try {
    await bytes.drain(promised);
    if (bytes.position >= promised) return;
  } finally {
    await bytes.close();
  }
  throw new Error(`it unpacks to ${bytes.position} of the ${promised} bytes its header promises`);
}

/** Hands out a stream of chunks in the pieces that are asked for. */
class ByteReader {
  position = 0;
  readonly #chunks: Iterator<Uint8Array> | AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);

  constructor(chunks: Iterable<Uint8Array> | AsyncIterable<Uint8Array>) {
    this.#chunks = Symbol.asyncIterator in chunks
      ? chunks[Symbol.asyncIterator]()
      : chunks[Symbol.iterator]();
  }

  /** Up to `count` bytes, at least one unless the stream has ended; valid until the next call. */
  async #some(count: number): Promise<Uint8Array> {
    while (this.#chunk.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done) return new Uint8Array(0);
      this.#chunk = value;
    }
    const piece = this.#chunk.subarray(0, count);
    this.#chunk = this.#chunk.subarray(piece.length);
    this.position += piece.length;
    return piece;
  }

  /** Fills `target` and returns the number of bytes that there were. */
  async fill(target: Uint8Array): Promise<number> {
    let filled = 0;
    while (filled < target.length) {
      const piece = await this.#some(target.length - filled);
      if (piece.length === 0) break;
      target.set(piece, filled);
      filled += piece.length;
    }
    return filled;
  }

  /** Passes over bytes, as many of `atMost` as there are. */
  async drain(atMost: number): Promise<void> {
    for (let left = atMost; left > 0;) {
      const piece = await this.#some(left);
      if (piece.length === 0) return;
      left -= piece.length;
    }
  }

  async skip(count: number): Promise<void> {
    const start = this.position;
    await this.drain(count);
    if (this.position - start < count) throw new Error("it ends before its first voxel");
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

/** Reads and checks the header, leaving the reader behind it. */
async function readLayout(
  bytes: ByteReader,
  { path, channel }: { path: string; channel: number | null },
): Promise<NiftiLayout> {
  const notNifti = () =>
    new InputError(`${path} is not a NIfTI file: give a .nii or .nii.gz file (NIfTI-1 or NIfTI-2)`);
  const start = new Uint8Array(348);
  if (await bytes.fill(start) < start.length) throw notNifti();
  const startView = new DataView(start.buffer);
  const littleEndian = [348, 540].includes(startView.getInt32(0, true));
  const length = startView.getInt32(0, littleEndian);
  if (length !== 348 && length !== 540) throw notNifti();
  const header = new Uint8Array(length);
  header.set(start);
  if (await bytes.fill(header.subarray(start.length)) < length - start.length) throw notNifti();

  const magic = String.fromCharCode(...header.subarray(length === 348 ? 344 : 4).subarray(0, 3));
  if (magic === "ni1" || magic === "ni2") {
    throw new InputError(
      `${path} is the header of a .hdr/.img pair: convert the pair to one .nii.gz file`,
    );
  }
  if (magic !== (length === 348 ? "n+1" : "n+2")) throw notNifti();
  return parseNiftiHeader(header, path, channel);
}

async function readVoxels(
  bytes: ByteReader,
  { dtype, littleEndian, slope, intercept }: NiftiLayout,
  voxels: number,
): Promise<Float32Array> {
  const size = ITEM_SIZE[dtype];
  const data = new Float32Array(voxels);
  const block = new Uint8Array(Math.min(BLOCK, voxels * size));
  for (let at = 0; at < voxels;) {
    const piece = block.subarray(0, (voxels - at) * size);
    const filled = await bytes.fill(piece);
    if (filled < piece.length) {
      const held = at + Math.floor(filled / size);
      throw new Error(`it holds ${held} of the ${voxels} voxels that its header promises`);
    }
    if (!littleEndian) reverseBytes(piece, size);
    const values = elementsOf({ dtype, bytes: piece });
    if (slope === 1 && intercept === 0 && !(typeof values[0] === "bigint")) {
      data.set(values as ArrayLike<number>, at);
    } else {
      for (let i = 0; i < values.length; i++) data[at + i] = Number(values[i]) * slope + intercept;
    }
    at += values.length;
  }
  return data;
}
