import { allBytes, type ByteSource } from "../byte_source.ts";
import { excerpt, InputError } from "../errors.ts";
import type { Dtype } from "./raw_tensor.ts";
import { createVolume, geometryOf, type Volume } from "./volume.ts";
import { decodeVoxels } from "./voxels.ts";

/** Element types by the names that NRRD has for them. */
const DTYPES: Readonly<Record<Exclude<Dtype, "F16" | "BF16" | "BOOL">, readonly string[]>> = {
  I8: ["signed char", "int8", "int8_t"],
  U8: ["uchar", "unsigned char", "uint8", "uint8_t"],
  I16: ["short", "short int", "signed short", "signed short int", "int16", "int16_t"],
  U16: ["ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"],
  I32: ["int", "signed int", "int32", "int32_t"],
  U32: ["uint", "unsigned int", "uint32", "uint32_t"],
  I64: ["longlong", "long long", "long long int", "signed long long", "int64", "int64_t"],
  U64: ["ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"],
  F32: ["float"],
  F64: ["double"],
};

/** Signs that bring a space's first three axes to right, front and up. */
const SPACES: Readonly<Record<string, readonly [number, number, number]>> = {
  "right-anterior-superior": [1, 1, 1],
  ras: [1, 1, 1],
  "left-anterior-superior": [-1, 1, 1],
  las: [-1, 1, 1],
  "left-posterior-superior": [-1, -1, 1],
  lps: [-1, -1, 1],
};

/** Bytes that a header may take. */
const MAX_HEADER = 2 ** 20;

/**
 * Reads a NRRD file (teem.sourceforge.net/nrrd/format.html) with its voxels in the same file, raw or
 * gzip, of two or three axes.
 *
 * @throws {InputError} if it is not such a file, or is damaged.
 */
export async function parseNrrd(file: ByteSource): Promise<Volume> {
  const bytes = allBytes(file);
  const { fields, end } = readFields(bytes, file.name);
  const need = (name: string) => {
    const value = fields.get(name);
    if (value !== undefined) return value;
    throw new InputError(
      `${file.name} is no NRRD file that can be read: its header has no ${name}`,
    );
  };
  for (const name of ["data file", "datafile"]) {
    if (fields.has(name)) {
      throw new InputError(`${file.name} has its voxels in another file: save both as one .nrrd`);
    }
  }
  const type = need("type").toLowerCase();
  const dtype = (Object.keys(DTYPES) as (keyof typeof DTYPES)[])
    .find((dtype) => DTYPES[dtype].includes(type));
  const encoding = need("encoding").toLowerCase();
  const skips = ["line skip", "lineskip", "byte skip", "byteskip"].some((name) => {
    return Number(fields.get(name) ?? 0) !== 0;
  });
  if (!dtype || !["raw", "gzip", "gz"].includes(encoding) || skips) {
    throw new InputError(
      `${file.name} holds ${excerpt(type)} voxels as ${
        excerpt(encoding)
      }: save numbers as raw or gzip`,
    );
  }
  const sizes = need("sizes").split(/\s+/).map(Number);
  const shape = shapeOf(sizes, file.name);
  const data = await decodeVoxels({
    bytes: bytes.subarray(end),
    shape,
    dtype,
    isBigEndian: fields.get("endian")?.toLowerCase() === "big",
    packing: encoding === "raw" ? null : "gzip",
  }, file.name);
  return createVolume(data, { shape, ...placeOf(fields, sizes.length, file.name) });
}

/** The fields of the header, their names in lower case, and the place where the voxels begin. */
function readFields(
  bytes: Uint8Array,
  name: string,
): { fields: Map<string, string>; end: number } {
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, MAX_HEADER));
  const [blank] = /\r?\n\r?\n/.exec(text) ?? [];
  if (!/^NRRD000\d\r?\n/.test(text) || blank === undefined) {
    throw new InputError(`${name} is not a NRRD file: give one that begins with NRRD`);
  }
  const end = text.indexOf(blank);
  const fields = new Map<string, string>();
  for (const line of text.slice(0, end).split(/\r?\n/).slice(1)) {
    const [, field, value] = /^([^:#]+):=? ?(.*)$/.exec(line) ?? [];
    if (field !== undefined) fields.set(field.trim().toLowerCase(), value.trim());
  }
  return { fields, end: end + blank.length };
}

function shapeOf(sizes: readonly number[], name: string): [number, number, number] {
  const isSound = sizes.every((size) => Number.isSafeInteger(size) && size >= 1);
  if (isSound && (sizes.length === 2 || sizes.length === 3)) {
    return [sizes[0], sizes[1], sizes[2] ?? 1];
  }
  throw new InputError(
    `${name} is not one 3D volume (its sizes are ${excerpt(sizes.join(" x "))}): save one a file`,
  );
}

/** Place of the voxels, by `space directions` and `space origin`, else by `spacings`. */
function placeOf(
  fields: ReadonlyMap<string, string>,
  axes: number,
  name: string,
): Pick<Volume, "spacing" | "affine" | "isPlaced" | "notes"> {
  const space = (fields.get("space") ?? "").toLowerCase().replace(/-time$/, "");
  const signs = SPACES[space];
  const vectors = vectorsOf(fields.get("space directions") ?? "");
  const [origin] = vectorsOf(fields.get("space origin") ?? "");
  if (signs && vectors.length === 3 && axes === 3) {
    return geometryOf({ axes: vectors, origin: origin ?? [0, 0, 0], signs }, name);
  }
  const spacings = (fields.get("spacings") ?? "").split(/\s+/).map(Number);
  const lengths = vectors.length === axes
    ? vectors.map((vector) => Math.hypot(...vector))
    : spacings;
  return geometryOf({ sizes: lengths }, name);
}

/** Vectors such as `(1,0,0) (0,1,0)`. */
function vectorsOf(text: string): number[][] {
  return [...text.matchAll(/\(([^)]*)\)/g)].map(([, inner]) => inner.split(",").map(Number));
}
