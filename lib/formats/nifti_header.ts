/**
 * Headers of NIfTI-1 and NIfTI-2: sizes, type of the voxels, and where the voxels lie. Fields are parsed
 * by npm `nifti-reader-js`, which leaves byte order, scaling and the choice of the affine to its caller,
 * and reads NIfTI-2's 64-bit fields wrongly when they are big-endian: all four are done here.
 *
 * @module
 */
import { type NIFTI1, type NIFTI2, readHeader } from "nifti-reader-js";
import { InputError } from "../errors.ts";
import type { Dtype } from "./raw_tensor.ts";
import type { Volume } from "./volume.ts";

/** A parsed header: the geometry, and how the voxels are stored. */
export interface NiftiLayout extends Omit<Volume, "data" | "header"> {
  /** The fixed header as it is in the file; of a channel, as that of a file of its own would be. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** Type of the stored voxels. */
  readonly dtype: Dtype;
  /** Byte order of header and voxels. */
  readonly littleEndian: boolean;
  /** Position of the first voxel, in bytes. */
  readonly offset: number;
  /** Factor of the stored values. */
  readonly slope: number;
  /** Added to them after that. */
  readonly intercept: number;
}

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

/** Length units by the low bits of `xyzt_units`, with their millimetres; others are taken for these. */
const UNITS: Readonly<Record<number, { readonly name: string; readonly mm: number }>> = {
  1: { name: "metres", mm: 1000 },
  3: { name: "micrometres", mm: 1e-3 },
};

/** Part by which pixdim and the affine may differ before it is told. */
const SIZE_TOLERANCE = 0.01;

/**
 * Checks the fields of a fixed header (348 or 540 bytes).
 *
 * @param header The fixed header alone: the library must not walk extensions that it trusts.
 * @param path Name of the file, for messages.
 * @param channel Index of the volume in a 4D file; null for a file of one.
 * @throws {InputError} if it does not describe a 3D volume of numbers, or has not that one.
 */
export function parseNiftiHeader(
  header: Uint8Array<ArrayBuffer>,
  path: string,
  channel: number | null = null,
): NiftiLayout {
  const view = new DataView(header.buffer, header.byteOffset, header.length);
  const littleEndian = view.getInt32(0, true) === header.length;
  const parsed: NIFTI1 | NIFTI2 = readHeader(header.slice().buffer);
  const second = header.length === 540;
  const dims = parsed.dims.map((dim, i) =>
    second ? Number(view.getBigInt64(16 + 8 * i, littleEndian)) : dim
  );
  const offset = second ? Number(view.getBigInt64(168, littleEndian)) : parsed.vox_offset;
  const shape = volumeShape(dims, { path, channel });
  const dtype = DTYPES[parsed.datatypeCode];
  if (!dtype) {
    throw new InputError(
      `${path} has voxels of NIfTI datatype ${parsed.datatypeCode}: convert it to an integer or ` +
        `floating-point type of at most 64 bits`,
    );
  }
  if (!Number.isInteger(offset) || offset < header.length) {
    throw new InputError(
      `${path} puts its voxels at byte ${offset}, inside the header: its header is damaged, so ` +
        `copy or download it again`,
    );
  }
  // NIfTI: a slope of 0 means that the values are stored unscaled; NaN is seen in the wild for it.
  const scaled = Number.isFinite(parsed.scl_slope) && parsed.scl_slope !== 0;
  return {
    shape,
    ...geometryOf(parsed, { view, littleEndian, path }),
    header: channel === null ? header : headerOfOne(header, littleEndian),
    dtype,
    littleEndian,
    offset,
    slope: scaled ? parsed.scl_slope : 1,
    intercept: scaled && Number.isFinite(parsed.scl_inter) ? parsed.scl_inter : 0,
  };
}

/** A header of four or more dimensions as that of three. */
function headerOfOne(
  header: Uint8Array<ArrayBuffer>,
  littleEndian: boolean,
): Uint8Array<ArrayBuffer> {
  const own = header.slice();
  const view = new DataView(own.buffer);
  for (const [i, value] of [[0, 3], [4, 1], [5, 1], [6, 1], [7, 1]]) {
    if (own.length === 540) view.setBigInt64(16 + 8 * i, BigInt(value), littleEndian);
    else view.setInt16(40 + 2 * i, value, littleEndian);
  }
  return own;
}

function volumeShape(
  dims: number[],
  { path, channel }: { path: string; channel: number | null },
): [number, number, number] {
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
  if (channel !== null && channel < volumes) return [sizes[0], sizes[1], sizes[2] ?? 1];
  if (channel !== null) {
    throw new InputError(
      `${path} has ${volumes} channels, and channel ${channel} was asked for (counted from 0): mend ` +
        `the list of channels`,
    );
  }
  if (rank < 2 || volumes > 1) {
    throw new InputError(
      `${path} is not one 3D volume (its shape is ${sizes.join(" x ")}): ` +
        `save one 3D volume a file`,
    );
  }
  return [sizes[0], sizes[1], sizes[2] ?? 1];
}

/** One of the two ways in which a header says where voxels lie, in mm. */
interface Form {
  readonly name: "sform" | "qform";
  readonly affine: Float64Array;
}

/**
 * Spacing and affine in mm: by the sform, else by the qform, else by pixdim alone. A form whose matrix is
 * singular (all zero, as some programs write it) places nothing and is passed over.
 */
function geometryOf(
  parsed: NIFTI1 | NIFTI2,
  { view, littleEndian, path }: { view: DataView; littleEndian: boolean; path: string },
): Pick<Volume, "spacing" | "affine" | "isPlaced" | "notes"> {
  const notes: string[] = [];
  const unit = UNITS[parsed.xyzt_units & 7];
  const mm = unit?.mm ?? 1;
  const sizes = [1, 2, 3].map((i) => Math.abs(parsed.pixDims[i]) * mm);
  const isNegative = [1, 2, 3].some((i) => parsed.pixDims[i] < 0);
  const forms = formsOf(parsed, { view, littleEndian, mm });
  if (forms.length > 0) requireFinite(forms[0].affine, path);
  const form = forms.find(({ affine }) => affine.every(isFloat32) && isInvertible(affine));
  if (form?.name !== "sform" && isNegative) {
    notes.push("its pixdim has a negative size, which is taken as positive");
  }
  if (!form) {
    const affine = new Float64Array(16);
    const spacing = sizes.map((size) => isLength(size) ? size : 1);
    [...spacing, 1].forEach((size, i) => affine[5 * i] = size);
    const reason = forms.length === 0
      ? "its header has neither sform nor qform"
      : `its ${
        forms.map(({ name }) => name).join(" and ")
      } cannot be used (the matrix is singular)`;
    notes.push(
      `${reason}: its orientation is unknown, and its voxels are taken as ${sizeText(spacing)}`,
    );
    return { spacing: spacing as [number, number, number], affine, isPlaced: false, notes };
  }
  if (form !== forms[0]) {
    notes.push("its sform cannot be used (the matrix is singular), so its qform is");
  }
  const spacing = spacingOf(form, { sizes, notes });
  if (unit) notes.push(`its lengths are in ${unit.name}: its voxels are ${sizeText(spacing)}`);
  return { spacing, affine: form.affine, isPlaced: true, notes };
}

/** The forms that a header has, the sform first. */
function formsOf(
  parsed: NIFTI1 | NIFTI2,
  { view, littleEndian, mm }: { view: DataView; littleEndian: boolean; mm: number },
): Form[] {
  const forms: Form[] = [];
  const inMm = (rows: ArrayLike<number>) => {
    const affine = Float64Array.from(rows);
    for (let i = 0; i < 12; i++) affine[i] *= mm;
    return affine;
  };
  if (parsed.sform_code > 0) {
    const second = view.byteLength === 540;
    const rows = Array.from(
      { length: 12 },
      (_, i) =>
        second
          ? view.getFloat64(400 + 8 * i, littleEndian)
          : view.getFloat32(280 + 4 * i, littleEndian),
    );
    forms.push({ name: "sform", affine: inMm([...rows, 0, 0, 0, 1]) });
  }
  if (parsed.qform_code > 0) {
    parsed.pixDims = parsed.pixDims.map((size, i) => i === 0 ? size : Math.abs(size));
    forms.push({ name: "qform", affine: inMm(parsed.getQformMat().flat()) }); // sizes are positive
  }
  return forms;
}

/** Voxel sizes by pixdim where the form agrees, else by the form, which is told. */
function spacingOf(
  { name, affine }: Form,
  { sizes, notes }: { sizes: readonly number[]; notes: string[] },
): [number, number, number] {
  const columns = [0, 1, 2].map((i) => Math.hypot(affine[i], affine[4 + i], affine[8 + i]));
  const agrees = sizes.map((size, i) => Math.abs(size - columns[i]) <= SIZE_TOLERANCE * columns[i]);
  if (name === "sform" && sizes.every(isLength) && agrees.includes(false)) {
    notes.push(
      `its pixdim (${sizeText(sizes)}) and its sform (${
        sizeText(columns)
      }) differ: the sform is used`,
    );
  }
  return columns.map((column, i) =>
    agrees[i] && isLength(sizes[i]) || !isLength(column) ? lengthOr1(sizes[i]) : column
  ) as [number, number, number];
}

function requireFinite(affine: Float64Array, path: string): void {
  if (affine.every(isFloat32)) return;
  const rows = affine.subarray(0, 12).join(", ");
  throw new InputError(
    `${path} has an affine that is not finite (${rows}): its header is damaged, so copy or ` +
      `download it again`,
  );
}

/** True if an affine gives each voxel a place of its own. */
function isInvertible(affine: Float64Array): boolean {
  const [a, b, c] = [0, 1, 2].map((i) => {
    const column = [affine[i], affine[4 + i], affine[8 + i]];
    const length = Math.hypot(...column);
    return column.map((value) => value / length);
  });
  const determinant = a[0] * (b[1] * c[2] - b[2] * c[1]) -
    a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
  return Math.abs(determinant) > 1e-6;
}

/** True if NIfTI-1, whose numbers are float32, can store a value. */
function isFloat32(value: number): boolean {
  return Number.isFinite(Math.fround(value));
}

/** True if a value can be the side of a voxel. */
function isLength(value: number): boolean {
  return isFloat32(value) && Math.fround(value) > 0;
}

function lengthOr1(value: number): number {
  return isLength(value) ? value : 1;
}

/** "0.98 x 0.98 x 3 mm". */
function sizeText(sizes: readonly number[]): string {
  return `${sizes.map((size) => Number(size.toPrecision(4))).join(" x ")} mm`;
}
