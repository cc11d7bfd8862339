import { InputError } from "../errors.ts";
import { parseNiftiHeader } from "./nifti_header.ts";
import { reverseBytes } from "./raw_tensor.ts";
import type { Volume } from "./volume.ts";

/** Types of voxels that {@linkcode encodeNifti} writes. */
export type NiftiDatatype = "uint8" | "int16" | "float32";

const STORED = {
  uint8: { code: 2, array: Uint8Array, low: 0, high: 255 },
  int16: { code: 4, array: Int16Array, low: -32768, high: 32767 },
  float32: { code: 16, array: Float32Array, low: -Infinity, high: Infinity },
} as const;

/** Bytes after the fixed header that say that no extension follows. */
const NO_EXTENSION = 4;

/** Fields of the two versions of the header that depend on the voxels: places of them, by its length. */
const FIELDS = {
  348: { datatype: 70, bitpix: 72, offset: 108, slope: 112, intercept: 116, calibration: 124 },
  540: { datatype: 12, bitpix: 14, offset: 168, slope: 176, intercept: 184, calibration: 192 },
} as const;

/**
 * The bytes of a volume as NIfTI: under the header that it was read with, as long as shape and affine are
 * still those (version, byte order, both forms, units and description stay), else under a new one of
 * NIfTI-1, with the affine as its sform.
 *
 * @param options.datatype Type of the voxels; integer types round, and refuse what does not fit.
 * @param options.source Name of the file, for messages.
 * @param options.description Up to 79 characters of free text for a new header.
 * @throws {InputError} if a value is not finite or does not fit the type, or if a side is longer than
 * NIfTI-1 can say (32767).
 */
export function encodeNifti(
  volume: Volume,
  { datatype, source, description = "" }: {
    datatype: NiftiDatatype;
    source: string;
    description?: string;
  },
): Uint8Array<ArrayBuffer> {
  const { data } = volume;
  const { code, array, low, high } = STORED[datatype];
  const size = array.BYTES_PER_ELEMENT;
  const header = ownHeader(volume) ?? newHeader(volume, { source, description });
  const start = header.length + NO_EXTENSION;
  describeVoxels(header, { code, size, start });
  const voxels = new array(data.length);
  for (let i = 0; i < data.length; i++) {
    const value = array === Float32Array ? data[i] : Math.round(data[i]);
    if (!Number.isFinite(value) || value < low || value > high) {
      throw new InputError(
        `${source} cannot hold the value ${data[i]} as ${datatype}: choose another type`,
      );
    }
    voxels[i] = value;
  }
  const file = new Uint8Array(start + voxels.byteLength);
  const bytes = new Uint8Array(voxels.buffer);
  if (!isLittleEndian(header)) reverseBytes(bytes, size);
  file.set(header);
  file.set(bytes, start);
  return file;
}

function isLittleEndian(header: Uint8Array<ArrayBuffer>): boolean {
  return new DataView(header.buffer).getInt32(0, true) === header.length;
}

/** A copy of the header that a volume was read with; null if there is none, or it tells of another grid. */
function ownHeader({ header, shape, affine }: Volume): Uint8Array<ArrayBuffer> | null {
  if (header === null) return null;
  const own = parseNiftiHeader(header, "");
  const isSame = own.shape.every((n, i) => n === shape[i]) &&
    own.affine.every((value, i) => value === affine[i]);
  return isSame ? header.slice() : null;
}

/** A header of NIfTI-1 for a volume that comes from elsewhere. */
function newHeader(
  { shape, spacing, affine, isPlaced }: Volume,
  { source, description }: { source: string; description: string },
): Uint8Array<ArrayBuffer> {
  if (shape.some((n) => n > 32767)) {
    throw new InputError(
      `${source} cannot hold ${shape.join(" x ")} voxels: NIfTI-1 allows 32767 along a side`,
    );
  }
  const header = new Uint8Array(348);
  const view = new DataView(header.buffer);
  const le = true;
  const float32s = (at: number, values: ArrayLike<number>) => {
    for (let i = 0; i < values.length; i++) view.setFloat32(at + 4 * i, values[i], le);
  };
  view.setInt32(0, 348, le); // sizeof_hdr
  view.setUint8(38, 0x72); // regular, 'r', for readers of ANALYZE
  [3, ...shape, 1, 1, 1, 1].forEach((dim, i) => view.setInt16(40 + 2 * i, dim, le));
  float32s(76, [1, ...spacing, 1, 1, 1, 1]); // pixdim
  view.setUint8(123, 2); // xyzt_units: mm
  const text = new TextEncoder().encode(description).subarray(0, 79);
  text.forEach((byte, i) => view.setUint8(148 + i, byte));
  if (isPlaced) {
    view.setInt16(254, 1, le); // sform_code: scanner
    float32s(280, affine.subarray(0, 12));
  }
  [0x6e, 0x2b, 0x31, 0].forEach((byte, i) => view.setUint8(344 + i, byte)); // "n+1"
  return header;
}

/** Sets the fields of a header that tell of the voxels: unscaled, right after it, to be shown as they are. */
function describeVoxels(
  header: Uint8Array<ArrayBuffer>,
  { code, size, start }: { code: number; size: number; start: number },
): void {
  const view = new DataView(header.buffer);
  const le = isLittleEndian(header);
  const at = FIELDS[header.length as keyof typeof FIELDS];
  const second = header.length === 540;
  const float = (place: number, value: number) =>
    second ? view.setFloat64(place, value, le) : view.setFloat32(place, value, le);
  view.setInt16(at.datatype, code, le);
  view.setInt16(at.bitpix, 8 * size, le);
  if (second) view.setBigInt64(at.offset, BigInt(start), le);
  else view.setFloat32(at.offset, start, le);
  float(at.slope, 1);
  float(at.intercept, 0);
  for (const i of [0, 1]) float(at.calibration + (second ? 8 : 4) * i, 0); // cal_max, cal_min
}
