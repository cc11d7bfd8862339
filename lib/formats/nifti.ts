/**
 * NIfTI volumes, from bytes and to bytes. Headers are parsed by npm `nifti-reader-js`; the voxels are
 * streamed, so that reading takes the memory of the Float32Array and one block, whatever the file's
 * type. The library leaves byte order, scaling and the choice of the affine to its caller, and reads
 * NIfTI-2's 64-bit fields wrongly when they are big-endian: all four are done here.
 *
 * @module
 */
import { type NIFTI1, type NIFTI2, readHeader } from "nifti-reader-js";
import type { ByteSource } from "../byte_source.ts";
import { InputError } from "../errors.ts";
import { type Dtype, elementsOf, ITEM_SIZE, reverseBytes } from "./raw_tensor.ts";
import type { Volume } from "./volume.ts";

/** Types of voxels that {@linkcode encodeNifti} writes. */
export type NiftiDatatype = "uint8" | "int16" | "float32";

/** Unpacks the bytes of a .gz file, which come in pieces. */
export type Gunzip = (pieces: Iterable<Uint8Array<ArrayBuffer>>) => AsyncIterable<Uint8Array>;

/** Bytes read and decoded at a time; a multiple of every voxel size. */
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

/** Element types by NIfTI's datatype codes. */
const DTYPES: Readonly<Record<number, Dtype>> = {
  2: "U8",
  4: "I16",
  8: "I32",
  16: "F32",
  64: "F64",
  256: "I8",
  512: "U16",
  768: "U32",
  1024: "I64",
  1280: "U64",
};

/** A parsed header: the geometry, and how the voxels are stored. */
interface Layout extends Omit<Volume, "data"> {
  readonly dtype: Dtype;
  readonly littleEndian: boolean;
  /** Position of the first voxel, in bytes. */
  readonly offset: number;
  readonly slope: number;
  readonly intercept: number;
}

/** Unpacks by the platform's DecompressionStream, which takes files of one member. */
const webGunzip: Gunzip = (pieces) =>
  new Blob([...pieces]).stream().pipeThrough(new DecompressionStream("gzip"));

/**
 * Reads a `.nii` or `.nii.gz` file (told apart by content): NIfTI-1 or NIfTI-2, either byte order, every
 * integer and floating-point type up to 64 bits. `scl_slope` and `scl_inter` are applied (a slope of 0
 * means no scaling); the affine is the sform, else the qform, else the voxel size on the diagonal.
 * Lengths are taken to be millimetres.
 *
 * @param options.gunzip Unpacks a `.gz`; default: the platform's DecompressionStream.
 * @throws {InputError} if the file is truncated, damaged, not NIfTI, not one 3D volume, has more than
 * 2^29 voxels, or holds NaN or infinite voxels or such an affine.
 */
export async function parseNifti(
  file: ByteSource,
  { gunzip = webGunzip }: { gunzip?: Gunzip } = {},
): Promise<Volume> {
  const magic = new Uint8Array(Math.min(2, file.size));
  file.read(0, magic);
  const gzipped = magic[0] === 0x1f && magic[1] === 0x8b;
  const open = () => new ByteReader(gzipped ? gunzip(piecesOf(file)) : piecesOf(file));
  const bytes = open();
  try {
    const layout = await readLayout(bytes, file.name);
    const { shape, spacing, affine, header, dtype, offset } = layout;
    const voxels = shape[0] * shape[1] * shape[2];
    const end = offset + voxels * ITEM_SIZE[dtype];
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
    await bytes.skip(offset - bytes.position);
    const data = await readVoxels(bytes, layout, voxels);
    await bytes.drain(MAX_TRAILING_BYTES);
    refuseNonFinite(data, shape, file.name);
    return { data, shape, spacing, affine, header };
  } catch (error) {
    if (error instanceof InputError) throw error;
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

/**
 * Checks a header's fields.
 *
 * @param bytes The fixed header alone: the library must not walk extensions that it trusts.
 */
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
  const dtype = DTYPES[parsed.datatypeCode];
  if (!dtype) {
    throw new InputError(
      `${path} has voxels of NIfTI datatype ${parsed.datatypeCode}: convert it to an integer or ` +
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
  return {
    shape,
    ...headerGeometry(parsed, headerAffine(parsed, view, littleEndian), path),
    dtype,
    littleEndian,
    offset,
    slope: scaled ? parsed.scl_slope : 1,
    intercept: scaled && Number.isFinite(parsed.scl_inter) ? parsed.scl_inter : 0,
  };
}

/** Spacing, and the fields that a volume is written again with. */
function headerGeometry(
  parsed: NIFTI1 | NIFTI2,
  affine: Float64Array,
  path: string,
): Pick<Volume, "spacing" | "affine" | "header"> {
  if (!affine.every(isFloat32)) {
    const rows = affine.subarray(0, 12).join(", ");
    throw new InputError(
      `${path} has an affine that is not finite (${rows}): its header is damaged, so copy or ` +
        `download it again`,
    );
  }
  const spacing = [0, 1, 2].map((i) => {
    const size = Math.abs(parsed.pixDims[1 + i]);
    const column = Math.hypot(affine[i], affine[4 + i], affine[8 + i]);
    return isLength(size) ? size : isLength(column) ? column : 1;
  }) as [number, number, number];
  const quaternion = [parsed.quatern_b, parsed.quatern_c, parsed.quatern_d] as const;
  const qoffset = [parsed.qoffset_x, parsed.qoffset_y, parsed.qoffset_z] as const;
  // A form that the file does not use may hold anything.
  const hasQform = parsed.qform_code > 0 && [...quaternion, ...qoffset].every(isFloat32);
  // An affine that comes of a qform too odd to be written again is kept as a sform.
  const ownSform = hasQform || parsed.sform_code > 0;
  return {
    spacing,
    affine,
    header: {
      sformCode: formCode(ownSform ? parsed.sform_code : parsed.qform_code),
      qformCode: hasQform ? formCode(parsed.qform_code) : 0,
      quaternion: hasQform ? quaternion : [0, 0, 0],
      qoffset: hasQform ? qoffset : [0, 0, 0],
      qfac: parsed.pixDims[0] < 0 ? -1 : 1,
      units: parsed.xyzt_units,
      description: parsed.description.replace(/\0.*$/s, ""),
    },
  };
}

/** True if NIfTI-1, whose numbers are float32, can store a value. */
function isFloat32(value: number): boolean {
  return Number.isFinite(Math.fround(value));
}

/** A form's code as NIfTI-1 stores it; NIfTI-2 has 32 bits for it, and 0 and less mean none. */
function formCode(code: number): number {
  return Math.min(Math.max(0, code), 32767);
}

/** True if a value can be the side of a voxel. */
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

async function readVoxels(
  bytes: ByteReader,
  { dtype, littleEndian, slope, intercept }: Layout,
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
 * The bytes of a volume as NIfTI-1, with the affine as its sform and the header's qform beside it.
 *
 * @param options.datatype Type of the voxels; integer types round, and refuse what does not fit.
 * @param options.source Name of the file, for messages.
 * @throws {InputError} if a value is not finite or does not fit the type, or if a side is longer than
 * NIfTI-1 can say (32767).
 */
export function encodeNifti(
  volume: Volume,
  { datatype, source }: { datatype: NiftiDatatype; source: string },
): Uint8Array<ArrayBuffer> {
  const { shape, data } = volume;
  if (shape.some((n) => n > 32767)) {
    throw new InputError(
      `${source} cannot hold ${shape.join(" x ")} voxels: NIfTI-1 allows 32767 along a side`,
    );
  }
  const { code, array, low, high } = STORED[datatype];
  const bytesPerVoxel = array.BYTES_PER_ELEMENT;
  const file = new Uint8Array(352 + data.length * bytesPerVoxel);
  writeHeader(new DataView(file.buffer), volume, { code, bytesPerVoxel });
  const voxels = new array(file.buffer, 352, data.length);
  for (let i = 0; i < data.length; i++) {
    const value = array === Float32Array ? data[i] : Math.round(data[i]);
    if (!Number.isFinite(value) || value < low || value > high) {
      throw new InputError(
        `${source} cannot hold the value ${data[i]} as ${datatype}: choose another type`,
      );
    }
    voxels[i] = value;
  }
  return file;
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
