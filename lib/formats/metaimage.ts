import { allBytes, type ByteSource } from "../byte_source.ts";
import { excerpt, InputError } from "../errors.ts";
import type { Dtype } from "./raw_tensor.ts";
import { createVolume, geometryOf, type Volume } from "./volume.ts";
import { decodeVoxels } from "./voxels.ts";

/** Element types by the names that MetaImage has for them. */
const DTYPES: Readonly<Record<string, Dtype>> = {
  MET_CHAR: "I8",
  MET_UCHAR: "U8",
  MET_SHORT: "I16",
  MET_USHORT: "U16",
  MET_INT: "I32",
  MET_UINT: "U32",
  MET_LONG_LONG: "I64",
  MET_ULONG_LONG: "U64",
  MET_FLOAT: "F32",
  MET_DOUBLE: "F64",
};

/** Bytes that a header may take. */
const MAX_HEADER = 2 ** 16;

/**
 * Reads a MetaImage file (.mha) with its voxels in the same file, packed or not, of two or three axes.
 * Positions are in ITK's space: left, back and up.
 *
 * @throws {InputError} if it is not such a file, or is damaged.
 */
export async function parseMetaImage(file: ByteSource): Promise<Volume> {
  const bytes = allBytes(file);
  const { fields, end } = readFields(bytes, file.name);
  const numbers = (...names: string[]) =>
    names.flatMap((name) => fields.get(name)?.split(/\s+/) ?? []).map(Number);
  const isTrue = (...names: string[]) =>
    names.some((name) => fields.get(name)?.toLowerCase() === "true");
  if (fields.get("ElementDataFile") !== "LOCAL") {
    throw new InputError(`${file.name} has its voxels in another file: save both as one .mha`);
  }
  if (numbers("HeaderSize").some((size) => size !== 0)) {
    throw new InputError(
      `${file.name} has voxels behind a header of their own (HeaderSize): save it as .mha`,
    );
  }
  const type = fields.get("ElementType") ?? "";
  const dtype = DTYPES[type];
  const channels = Number(fields.get("ElementNumberOfChannels") ?? 1);
  const isText = fields.get("BinaryData")?.toLowerCase() === "false";
  if (!dtype || channels !== 1 || isText) {
    throw new InputError(
      `${file.name} holds ${channels} ${excerpt(type)} a voxel${
        isText ? " as text" : ""
      }: save one ` +
        `number a voxel, in binary`,
    );
  }
  const sizes = numbers("DimSize");
  const isSound = sizes.every((size) => Number.isSafeInteger(size) && size >= 1);
  if (!isSound || sizes.length < 2 || sizes.length > 3) {
    throw new InputError(
      `${file.name} is not one 3D volume (its sizes are ${
        excerpt(sizes.join(" x "))
      }): save one a file`,
    );
  }
  const shape: [number, number, number] = [sizes[0], sizes[1], sizes[2] ?? 1];
  const data = await decodeVoxels({
    bytes: bytes.subarray(end),
    shape,
    dtype,
    isBigEndian: isTrue("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
    packing: isTrue("CompressedData") ? "deflate" : null,
  }, file.name);
  const spacing = ["ElementSpacing", "ElementSize"].map((name) => numbers(name))
    .find((list) => list.length === sizes.length) ?? [];
  const rows = ["TransformMatrix", "Rotation", "Orientation"].map((name) => numbers(name))
    .find((list) => list.length === 9);
  const origin = ["Offset", "Position", "Origin"].map((name) => numbers(name))
    .find((list) => list.length === 3);
  if (sizes.length < 3 || spacing.length < 3 || !rows || !origin) {
    return createVolume(data, { shape, ...geometryOf({ sizes: spacing }, file.name) });
  }
  // Each row of the matrix is the direction of one axis.
  const axes = spacing.map((size, i) => rows.slice(3 * i, 3 * i + 3).map((part) => part * size));
  const geometry = geometryOf({ axes, origin, signs: [-1, -1, 1] }, file.name);
  return createVolume(data, { shape, ...geometry });
}

/** The fields of the header and the place where the voxels begin. */
function readFields(
  bytes: Uint8Array,
  name: string,
): { fields: Map<string, string>; end: number } {
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, MAX_HEADER));
  const [last] = /^ElementDataFile\s*=.*\r?\n?/m.exec(text) ?? [];
  if (last === undefined) {
    throw new InputError(`${name} is not a MetaImage file: give one with a header as .mha has it`);
  }
  const end = text.indexOf(last) + last.length;
  const fields = new Map<string, string>();
  for (const line of text.slice(0, end).split(/\r?\n/)) {
    const [, field, value] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (field !== undefined) fields.set(field, value);
  }
  return { fields, end };
}
