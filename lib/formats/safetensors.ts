import { excerpt, InputError } from "../errors.ts";
import { writeFileAtomic } from "../fs.ts";
import type { LazyTensor, WeightSource } from "../nn/weight_source.ts";
import { bytesOf, type ByteSource } from "./byte_source.ts";
import {
  type Dtype,
  elementCount,
  ITEM_SIZE,
  type RawTensor,
  readElements,
  toFloat32,
} from "./raw_tensor.ts";
import type { StateDict } from "./state_dict.ts";

/** The content of a safetensors file. */
export interface Safetensors {
  /** The tensors by name. */
  readonly tensors: ReadonlyMap<string, RawTensor>;
  /** The free text of the header's `__metadata__`. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** The format's own limit on the header, so that a length read from a bad file is never trusted. */
const MAXIMUM_HEADER_BYTES = 100_000_000;

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Lengths and offsets: integers from 0 on. */
function isNaturals(value: unknown): value is number[] {
  // JSON's -0 is no natural number to the format's own reader either.
  const isNatural = (n: unknown) =>
    Number.isSafeInteger(n) && n as number >= 0 && !Object.is(n, -0);
  return Array.isArray(value) && value.every(isNatural);
}

/** Where a tensor lies in a safetensors file. */
interface Place {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Its first byte, from the start of the file. */
  readonly begin: number;
  /** The byte after its last one. */
  readonly end: number;
}

/** Reads the header of a safetensors file: an 8-byte length and a JSON object; then come the data. */
function readHeader(
  file: ByteSource,
): { places: Map<string, Place>; metadata: Record<string, string> } {
  const refuse = (reason: string): never => {
    throw new InputError(
      `${file.name} is not a sound safetensors file (${excerpt(reason)}): get the file again`,
    );
  };
  if (file.size < 8) refuse(`${file.size} bytes are too few for a header`);
  const length = new Uint8Array(8);
  file.read(0, length);
  const headerBytes = new DataView(length.buffer).getBigUint64(0, true);
  if (headerBytes > MAXIMUM_HEADER_BYTES) refuse(`a header of ${headerBytes} bytes is too long`);
  const dataStart = 8 + Number(headerBytes);
  if (dataStart > file.size) {
    refuse(`the header ends at byte ${dataStart}, the file at ${file.size}`);
  }

  let header: unknown;
  try {
    const json = new Uint8Array(Number(headerBytes));
    file.read(8, json);
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json));
  } catch (error) {
    if (error instanceof InputError) throw error;
    refuse("its header is not JSON");
  }
  if (!isObject(header)) return refuse("its header is not a JSON object");

  const { __metadata__: metadata = {}, ...entries } = header;
  if (!isObject(metadata) || Object.values(metadata).some((value) => typeof value !== "string")) {
    refuse("its metadata are not texts");
  }

  const places = new Map<string, Place>();
  const dataBytes = file.size - dataStart;
  for (const [name, entry] of Object.entries(entries)) {
    if (!isObject(entry)) return refuse(`tensor "${name}" has no description`);
    const { dtype, shape, data_offsets: offsets } = entry;
    if (typeof dtype !== "string") return refuse(`tensor "${name}" has no type`);
    if (!Object.hasOwn(ITEM_SIZE, dtype)) {
      return refuse(`tensor "${name}" has the unknown type "${dtype}"`);
    }
    if (!isNaturals(shape)) return refuse(`tensor "${name}" has no valid shape`);
    if (!isNaturals(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
      return refuse(`tensor "${name}" has no valid data_offsets`);
    }
    const [begin, end] = offsets;
    if (end > dataBytes) {
      refuse(`tensor "${name}" ends at byte ${end} of the data, which has ${dataBytes}`);
    }
    const expected = elementCount(shape) * ITEM_SIZE[dtype as Dtype];
    if (end - begin !== expected) {
      refuse(
        `tensor "${name}" of shape [${shape}] has ${end - begin} bytes instead of ${expected}`,
      );
    }
    places.set(name, {
      dtype: dtype as Dtype,
      shape,
      begin: dataStart + begin,
      end: dataStart + end,
    });
  }

  let covered = dataStart;
  const inOrder = [...places].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  for (const [name, { begin, end }] of inOrder) {
    if (begin < covered) refuse(`tensor "${name}" overlaps the one before it`);
    if (begin > covered) refuse(`${begin - covered} bytes before tensor "${name}" belong to none`);
    covered = end;
  }
  const rest = file.size - covered;
  if (rest > 0) refuse(`${rest} bytes at its end belong to no tensor`);
  return { places, metadata: metadata as Record<string, string> };
}

/**
 * Reads the bytes of a safetensors file. The tensors are views on `bytes`; nothing is copied. As the
 * format demands, the tensors must cover the data without a gap and without an overlap.
 *
 * @param options.source The file's name, for the message.
 * @throws {InputError} saying what is wrong with the file.
 */
export function parseSafetensors(bytes: Uint8Array, options: { source: string }): Safetensors {
  const { places, metadata } = readHeader(bytesOf(bytes, options));
  const tensors = new Map<string, RawTensor>();
  for (const [name, { dtype, shape, begin, end }] of places) {
    tensors.set(name, { dtype, shape, bytes: bytes.subarray(begin, end) });
  }
  return { tensors, metadata };
}

/**
 * Reads the header of a safetensors file, and each tensor when it is asked for.
 *
 * @param file The file; it is disposed of with the result.
 * @throws {InputError} saying what is wrong with the file.
 */
export function openSafetensors(file: ByteSource): WeightSource {
  const tensors = new Map<string, LazyTensor>();
  for (const [name, { dtype, shape, begin }] of readHeader(file).places) {
    const read = (at: number, target: Uint8Array): void => file.read(begin + at, target);
    const length = elementCount(shape);
    tensors.set(name, {
      dtype,
      shape,
      read: () => Promise.resolve().then(() => readElements(read, { dtype, length })),
    });
  }
  return { source: file.name, tensors, [Symbol.dispose]: () => file[Symbol.dispose]() };
}

/**
 * Reads a safetensors file.
 *
 * @throws {InputError} if it cannot be read or is damaged.
 */
export async function readSafetensors(path: string): Promise<Safetensors> {
  let bytes: Uint8Array;
  try {
    bytes = await Deno.readFile(path);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${path} (${reason}): name a safetensors file`);
  }
  return parseSafetensors(bytes, { source: path });
}

/** The tensors of a safetensors file, every dtype converted to float32. */
export function toStateDict({ tensors }: Safetensors): StateDict {
  return new Map(
    [...tensors].map(([name, raw]) => [name, { shape: raw.shape, data: toFloat32(raw) }]),
  );
}

/** How tensors are stored. */
export interface SafetensorsOptions {
  /** The element type in the file; F16 halves the size and keeps 11 significant bits. */
  dtype?: "F32" | "F16";
  /** Free text for the header. */
  metadata?: Readonly<Record<string, string>>;
}

/**
 * The bytes of a safetensors file: names and metadata sorted, the data aligned to 8 bytes, so that
 * equal tensors make equal bytes whatever the order they were put in.
 */
export function encodeSafetensors(state: StateDict, options: SafetensorsOptions = {}): Uint8Array {
  const { dtype = "F32", metadata } = options;
  const header: Record<string, unknown> = {};
  if (metadata) header.__metadata__ = Object.fromEntries(Object.entries(metadata).sort());

  // By code unit, not by locale: the order is the same on every machine.
  const names = [...state.keys()].sort();
  let dataBytes = 0;
  for (const name of names) {
    const { shape, data } = state.get(name)!;
    if (elementCount(shape) !== data.length) {
      throw new RangeError(`tensor "${name}" of shape [${shape}] has ${data.length} elements`);
    }
    const end = dataBytes + data.length * ITEM_SIZE[dtype];
    header[name] = { dtype, shape, data_offsets: [dataBytes, end] };
    dataBytes = end;
  }

  const text = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = Math.ceil(text.length / 8) * 8;
  const file = new Uint8Array(8 + headerBytes + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.fill(0x20, 8, 8 + headerBytes); // JSON may end in spaces
  file.set(text, 8);
  const Elements = dtype === "F16" ? Float16Array : Float32Array;
  const elements = new Elements(file.buffer, 8 + headerBytes, dataBytes / ITEM_SIZE[dtype]);
  let offset = 0;
  for (const name of names) {
    const { data } = state.get(name)!;
    elements.set(data, offset);
    offset += data.length;
  }
  return file;
}

/**
 * Writes a safetensors file, whole or not at all.
 *
 * @throws {InputError} if the folder cannot be written to.
 */
export async function writeSafetensors(
  path: string,
  state: StateDict,
  options: SafetensorsOptions = {},
): Promise<void> {
  await writeFileAtomic(path, encodeSafetensors(state, options));
}
