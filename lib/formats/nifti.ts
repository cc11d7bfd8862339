/**
 * NIfTI volumes on disk. Headers are parsed by npm `nifti-reader-js`; the voxels are streamed, so
 * that reading takes the memory of the Float32Array and one block, whatever the file's type. The
 * library leaves byte order, scaling and the choice of the affine to its caller, and reads NIfTI-2's
 * 64-bit fields wrongly when they are big-endian: all four are done here.
 *
 * @module
 */
import { type NIFTI1, type NIFTI2, readHeader } from "nifti-reader-js";
import { Buffer } from "node:buffer";
import { createReadStream } from "node:fs";
import { endianness } from "node:os";
import type { Readable } from "node:stream";
import { createGunzip, gzipSync } from "node:zlib";
import { InputError } from "../errors.ts";
import { writeFileAtomic } from "../fs.ts";
import type { Volume } from "./volume.ts";

/** The types that {@linkcode writeNifti} stores voxels in. */
export type NiftiDatatype = "uint8" | "int16" | "float32";

/** Options of {@linkcode writeNifti}. */
export interface WriteNiftiOptions {
  /** Integer types round and refuse what does not fit. */
  datatype: NiftiDatatype;
}

/** Bytes decoded at a time; a multiple of every voxel size. */
const BLOCK = 1 << 18;

/** DEFLATE cannot shrink by more than 1032 to 1: what a .gz claims beyond that is not in it. */
const MAX_DEFLATE_RATIO = 1032;

/** Voxels of the largest volume that is read: 1024 x 1024 x 512, 2 GiB of float32. */
const MAX_VOXELS = 2 ** 29;

/** Voxels up to which memory is taken on the header's word: 64 MiB. */
const TRUSTED_VOXELS = 2 ** 24;

/** Scans shrink to half or a tenth: beyond this, memory is taken only once the voxels were counted. */
const TRUSTED_DEFLATE_RATIO = 16;

/** Bytes that may follow the voxels; reading them checks the checksum at the end of a .gz. */
const MAX_TRAILING_BYTES = 1 << 24;

type VoxelArray =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/** NIfTI's datatype codes. */
const DATATYPES: Record<number, new (buffer: ArrayBuffer, at: number, n: number) => VoxelArray> = {
  2: Uint8Array,
  4: Int16Array,
  8: Int32Array,
  16: Float32Array,
  64: Float64Array,
  256: Int8Array,
  512: Uint16Array,
  768: Uint32Array,
  1024: BigInt64Array,
  1280: BigUint64Array,
};

const BYTES_PER_VOXEL: Record<number, number> = {
  2: 1,
  4: 2,
  8: 4,
  16: 4,
  64: 8,
  256: 1,
  512: 2,
  768: 4,
  1024: 8,
  1280: 8,
};

interface Layout {
  shape: [number, number, number];
  spacing: [number, number, number];
  affine: Float64Array;
  header: Volume["header"];
  datatype: number;
  bytesPerVoxel: number;
  littleEndian: boolean;
  offset: number;
  slope: number;
  intercept: number;
}

/**
 * Reads a `.nii` or `.nii.gz` file (told apart by content, not by name): NIfTI-1 or NIfTI-2, either
 * byte order, every integer and floating-point type up to 64 bits. `scl_slope` and `scl_inter` are
 * applied (a slope of 0 means no scaling); the affine is the sform, else the qform, else the voxel
 * size on the diagonal. Lengths are taken to be millimetres.
 *
 * @throws {InputError} if the file is missing, truncated, damaged, not NIfTI, not one 3D volume, has
 * more than 2^29 voxels, or holds NaN or infinite voxels or such an affine.
 */
export async function readNifti(path: string): Promise<Volume> {
  const size = await fileSize(path);
  const magic = await firstBytes(path, 2);
  const gzipped = magic[0] === 0x1f && magic[1] === 0x8b;
  const bytes = new ByteReader(byteStream(path, gzipped));
  try {
    const layout = await readLayout(bytes, path);
    const voxels = layout.shape[0] * layout.shape[1] * layout.shape[2];
    const end = layout.offset + voxels * layout.bytesPerVoxel;
    if (end > (gzipped ? size * MAX_DEFLATE_RATIO : size)) {
      throw new InputError(
        `${path} promises ${layout.shape.join(" x ")} voxels, more than its ${size} bytes can ` +
          `hold: it is truncated or its header is damaged, so copy or download it again`,
      );
    }
    if (voxels > MAX_VOXELS) {
      throw new InputError(
        `${path} has ${layout.shape.join(" x ")} voxels, more than the ${MAX_VOXELS} that are ` +
          `read: crop or resample it`,
      );
    }
    if (gzipped && voxels > TRUSTED_VOXELS && end > TRUSTED_DEFLATE_RATIO * size) {
      await requireBytes(path, end);
    }
    await bytes.skip(layout.offset - bytes.position);
    const data = await readVoxels(bytes, layout, voxels);
    await bytes.drain(MAX_TRAILING_BYTES);
    refuseNonFinite(data, layout.shape, path);
    const { shape, spacing, affine, header } = layout;
    return { data, shape, spacing, affine, header };
  } catch (error) {
    if (error instanceof InputError) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(
      `${path} is truncated or damaged (${reason}): copy or download it again`,
    );
  } finally {
    await bytes.close();
  }
}

/** Unpacks a file to nowhere, and throws if fewer bytes than promised come out. */
async function requireBytes(path: string, promised: number): Promise<void> {
  const bytes = new ByteReader(byteStream(path, true));
  try {
    await bytes.drain(promised);
    if (bytes.position >= promised) return;
  } finally {
    await bytes.close();
  }
  throw new Error(`it unpacks to ${bytes.position} of the ${promised} bytes its header promises`);
}

async function fileSize(path: string): Promise<number> {
  try {
    const info = await Deno.stat(path);
    if (info.isFile) return info.size;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${path} (${reason}): check the path`);
  }
  throw new InputError(`${path} is not a file: give the path of a .nii or .nii.gz file`);
}

async function firstBytes(path: string, count: number): Promise<Uint8Array> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${path} (${reason}): check its permissions`);
  }
  try {
    const bytes = new Uint8Array(count);
    const read = await file.read(bytes);
    return bytes.subarray(0, read ?? 0);
  } finally {
    file.close();
  }
}

/** The file's bytes, decompressed; node's gunzip takes files of several members (bgzip), too. */
function byteStream(path: string, gzipped: boolean): Readable {
  const file = createReadStream(path, { highWaterMark: BLOCK });
  if (!gzipped) return file;
  const gunzip = createGunzip({ chunkSize: BLOCK });
  file.on("error", (error) => gunzip.destroy(error));
  gunzip.on("close", () => file.destroy());
  return file.pipe(gunzip);
}

/** Hands out a stream of chunks in the pieces that are asked for. */
class ByteReader {
  position = 0;
  readonly #stream: Readable;
  readonly #chunks: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);

  constructor(stream: Readable) {
    this.#stream = stream;
    this.#chunks = stream[Symbol.asyncIterator]();
  }

  /** Up to `count` bytes, at least one unless the stream has ended; valid until the next call. */
  async some(count: number): Promise<Uint8Array> {
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
      const piece = await this.some(target.length - filled);
      if (piece.length === 0) break;
      target.set(piece, filled);
      filled += piece.length;
    }
    return filled;
  }

  async skip(count: number): Promise<void> {
    for (let left = count; left > 0;) {
      const piece = await this.some(left);
      if (piece.length === 0) throw new Error("it ends before its first voxel");
      left -= piece.length;
    }
  }

  async drain(atMost: number): Promise<void> {
    for (let left = atMost; left > 0;) {
      const piece = await this.some(left);
      if (piece.length === 0) return;
      left -= piece.length;
    }
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
    if (this.#stream.closed) return;
    const closed = new Promise((resolve) => this.#stream.once("close", resolve));
    this.#stream.destroy();
    await closed;
  }
}

/** Reads and checks the header, leaving the reader behind it. */
async function readLayout(bytes: ByteReader, path: string): Promise<Layout> {
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
  return parseHeader(header, littleEndian, path);
}

/** @param bytes The fixed header alone: the library must not walk extensions that it trusts. */
function parseHeader(
  bytes: Uint8Array<ArrayBuffer>,
  littleEndian: boolean,
  path: string,
): Layout {
  const view = new DataView(bytes.buffer);
  const parsed: NIFTI1 | NIFTI2 = readHeader(bytes.buffer);
  const second = bytes.length === 540;
  const dims = parsed.dims.map((dim, i) =>
    second ? Number(view.getBigInt64(16 + 8 * i, littleEndian)) : dim
  );
  const offset = second ? Number(view.getBigInt64(168, littleEndian)) : parsed.vox_offset;
  const shape = volumeShape(dims, path);

  const datatype = parsed.datatypeCode;
  if (!(datatype in DATATYPES)) {
    throw new InputError(
      `${path} has voxels of NIfTI datatype ${datatype}: convert it to an integer or ` +
        `floating-point type of at most 64 bits`,
    );
  }
  if (!Number.isInteger(offset) || offset < bytes.length) {
    throw new InputError(
      `${path} puts its voxels at byte ${offset}, inside the header: its header is damaged, so ` +
        `copy or download it again`,
    );
  }
  // NIfTI: a slope of 0 means that the values are stored unscaled; NaN is seen in the wild for it.
  const scaled = Number.isFinite(parsed.scl_slope) && parsed.scl_slope !== 0;
  const intercept = scaled && Number.isFinite(parsed.scl_inter) ? parsed.scl_inter : 0;

  const affine = headerAffine(parsed, view, littleEndian);
  if (!affine.every(isFloat32)) {
    throw new InputError(
      `${path} has an affine that is not finite (${
        affine.subarray(0, 12).join(", ")
      }): its header ` +
        `is damaged, so copy or download it again`,
    );
  }
  const columns = [0, 1, 2].map((c) => Math.hypot(affine[c], affine[4 + c], affine[8 + c]));
  const spacing = columns.map((column, i) => {
    const size = Math.abs(parsed.pixDims[1 + i]);
    return isLength(size) ? size : isLength(column) ? column : 1;
  }) as [number, number, number];
  const quaternion = [parsed.quatern_b, parsed.quatern_c, parsed.quatern_d] as const;
  const qoffset = [parsed.qoffset_x, parsed.qoffset_y, parsed.qoffset_z] as const;
  // A form that the file does not use may hold anything.
  const hasQform = parsed.qform_code > 0 && [...quaternion, ...qoffset].every(isFloat32);
  return {
    shape,
    spacing,
    affine,
    header: {
      // An affine that comes of a qform too odd to be written again is kept as a sform.
      sformCode: formCode(
        hasQform || parsed.sform_code > 0 ? parsed.sform_code : parsed.qform_code,
      ),
      qformCode: hasQform ? formCode(parsed.qform_code) : 0,
      quaternion: hasQform ? quaternion : [0, 0, 0],
      qoffset: hasQform ? qoffset : [0, 0, 0],
      qfac: parsed.pixDims[0] < 0 ? -1 : 1,
      units: parsed.xyzt_units,
      description: parsed.description.replace(/\0.*$/s, ""),
    },
    datatype,
    bytesPerVoxel: BYTES_PER_VOXEL[datatype],
    littleEndian,
    offset,
    slope: scaled ? parsed.scl_slope : 1,
    intercept,
  };
}

/** Whether a value of a header can be written as NIfTI-1 stores it. */
function isFloat32(value: number): boolean {
  return Number.isFinite(Math.fround(value));
}

/** A form's code as NIfTI-1 stores it; NIfTI-2 has 32 bits for it, and 0 and less mean none. */
function formCode(code: number): number {
  return Math.min(Math.max(0, code), 32767);
}

/** Whether a value can be the side of a voxel. */
function isLength(value: number): boolean {
  return isFloat32(value) && Math.fround(value) > 0;
}

function volumeShape(dims: number[], path: string): [number, number, number] {
  const rank = dims[0];
  const sizes = dims.slice(1, 1 + Math.max(0, rank));
  const sane = rank >= 1 && rank <= 7 && sizes.every((n) => Number.isSafeInteger(n) && n >= 1);
  if (!sane || sizes.reduce((product, n) => product * n, 1) > Number.MAX_SAFE_INTEGER) {
    throw new InputError(
      `${path} has impossible dimensions (${dims.join(", ")}): its header is damaged, so copy or ` +
        `download it again`,
    );
  }
  const volumes = sizes.slice(3).reduce((product, n) => product * n, 1);
  if (rank < 2 || volumes > 1) {
    throw new InputError(
      `${path} is not one 3D volume (its shape is ${sizes.join(" x ")}): ` +
        `save one 3D volume a file`,
    );
  }
  return [sizes[0], sizes[1], sizes[2] ?? 1];
}

function headerAffine(header: NIFTI1 | NIFTI2, view: DataView, littleEndian: boolean) {
  const affine = new Float64Array(16);
  affine[15] = 1;
  if (header.sform_code > 0) {
    const second = view.byteLength === 540;
    for (let i = 0; i < 12; i++) {
      affine[i] = second
        ? view.getFloat64(400 + 8 * i, littleEndian)
        : view.getFloat32(280 + 4 * i, littleEndian);
    }
  } else if (header.qform_code > 0) {
    affine.set(header.getQformMat().flat());
  } else {
    for (let i = 0; i < 3; i++) {
      const size = Math.abs(header.pixDims[1 + i]);
      affine[5 * i] = isLength(size) ? size : 1;
    }
  }
  return affine;
}

async function readVoxels(bytes: ByteReader, layout: Layout, voxels: number) {
  const { datatype, bytesPerVoxel, slope, intercept } = layout;
  const swapped = layout.littleEndian !== (endianness() === "LE");
  const data = new Float32Array(voxels);
  const block = new Uint8Array(Math.min(BLOCK, voxels * bytesPerVoxel));
  for (let at = 0; at < voxels;) {
    const wanted = Math.min(block.length, (voxels - at) * bytesPerVoxel);
    const filled = await bytes.fill(block.subarray(0, wanted));
    if (filled < wanted) {
      const held = at + Math.floor(filled / bytesPerVoxel);
      throw new Error(`it holds ${held} of the ${voxels} voxels that its header promises`);
    }
    if (swapped) swapBytes(block.subarray(0, wanted), bytesPerVoxel);
    const values = new DATATYPES[datatype](block.buffer, 0, wanted / bytesPerVoxel);
    if (values instanceof BigInt64Array || values instanceof BigUint64Array) {
      for (let i = 0; i < values.length; i++) data[at + i] = Number(values[i]) * slope + intercept;
    } else if (slope === 1 && intercept === 0) {
      data.set(values, at);
    } else {
      for (let i = 0; i < values.length; i++) data[at + i] = values[i] * slope + intercept;
    }
    at += values.length;
  }
  return data;
}

function swapBytes(bytes: Uint8Array, width: number): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (width === 2) buffer.swap16();
  else if (width === 4) buffer.swap32();
  else if (width === 8) buffer.swap64();
}

function refuseNonFinite(
  data: Float32Array,
  [nx, ny]: readonly [number, number, number],
  path: string,
): void {
  let count = 0;
  let first = -1;
  for (let i = 0; i < data.length; i++) {
    if (Number.isFinite(data[i])) continue;
    if (count++ === 0) first = i;
  }
  if (count === 0) return;
  const where = [first % nx, Math.floor(first / nx) % ny, Math.floor(first / (nx * ny))];
  throw new InputError(
    `${path} holds ${count} voxel${count === 1 ? " that is" : "s that are"} NaN or infinite ` +
      `(the first at x, y, z = ${where.join(", ")}): replace them, for example by 0`,
  );
}

const STORED = {
  uint8: { code: 2, array: Uint8Array, low: 0, high: 255 },
  int16: { code: 4, array: Int16Array, low: -32768, high: 32767 },
  float32: { code: 16, array: Float32Array, low: -Infinity, high: Infinity },
} as const;

/**
 * Writes a volume as NIfTI-1, compressed if the name ends in `.gz`, with the affine as its sform and
 * the header's qform beside it. The file appears under its name only when it is whole.
 *
 * @throws {InputError} if a value is not finite or does not fit the type, if a side is longer than
 * NIfTI-1 can say (32767), or if the folder cannot be written to.
 */
export async function writeNifti(
  path: string,
  volume: Volume,
  options: WriteNiftiOptions,
): Promise<void> {
  const { shape, data } = volume;
  if (shape.some((n) => n > 32767)) {
    throw new InputError(
      `${path} cannot hold ${shape.join(" x ")} voxels: NIfTI-1 allows 32767 along a side`,
    );
  }
  const { code, array, low, high } = STORED[options.datatype];
  const bytesPerVoxel = array.BYTES_PER_ELEMENT;
  const file = new Uint8Array(352 + data.length * bytesPerVoxel);
  writeHeader(new DataView(file.buffer), volume, { code, bytesPerVoxel });
  const voxels = new array(file.buffer, 352, data.length);
  for (let i = 0; i < data.length; i++) {
    const value = array === Float32Array ? data[i] : Math.round(data[i]);
    if (!Number.isFinite(value) || value < low || value > high) {
      throw new InputError(
        `${path} cannot hold the value ${data[i]} as ${options.datatype}: choose another type`,
      );
    }
    voxels[i] = value;
  }
  if (endianness() !== "LE") swapBytes(file.subarray(352), bytesPerVoxel);
  await writeFileAtomic(path, path.endsWith(".gz") ? gzipSync(file) : file);
}

function writeHeader(
  view: DataView,
  { shape, spacing, affine, header }: Volume,
  { code, bytesPerVoxel }: { code: number; bytesPerVoxel: number },
): void {
  const le = true;
  const float32s = (at: number, values: ArrayLike<number>) => {
    for (let i = 0; i < values.length; i++) view.setFloat32(at + 4 * i, values[i], le);
  };
  view.setInt32(0, 348, le); // sizeof_hdr
  view.setUint8(38, 0x72); // regular, 'r', for readers of ANALYZE
  [3, ...shape, 1, 1, 1, 1].forEach((dim, i) => view.setInt16(40 + 2 * i, dim, le));
  view.setInt16(70, code, le);
  view.setInt16(72, 8 * bytesPerVoxel, le);
  float32s(76, [header.qfac, ...spacing, 1, 1, 1, 1]);
  float32s(108, [352, 1, 0]); // vox_offset, scl_slope, scl_inter
  view.setUint8(123, header.units);
  const description = new TextEncoder().encode(header.description).subarray(0, 79);
  description.forEach((byte, i) => view.setUint8(148 + i, byte));
  view.setInt16(252, header.qformCode, le);
  // Without a sform of its own the file gets the affine in its stead, unless pixdim says it all.
  view.setInt16(254, header.sformCode || header.qformCode, le);
  float32s(256, [...header.quaternion, ...header.qoffset]);
  float32s(280, affine.subarray(0, 12));
  [0x6e, 0x2b, 0x31, 0].forEach((byte, i) => view.setUint8(344 + i, byte)); // "n+1"
}
