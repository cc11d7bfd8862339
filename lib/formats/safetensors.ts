import { excerpt, InputError } from "../errors.ts";
import type { HostState } from "../nn/host_state.ts";
import type { LazyTensor, WeightSource } from "../nn/weight_source.ts";
import { bytesOf, type ByteSource, joinBytes } from "../byte_source.ts";
import {
  type Dtype,
  elementCount,
  float32Tensor,
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

/** Type, shape and position of a tensor in a safetensors file. */
interface Place {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Its first byte, from the start of the data. */
  readonly begin: number;
  /** The byte after its last one. */
  readonly end: number;
}

type Refuse = (reason: string) => never;

/** The JSON object at the start of a safetensors file, after its length in 8 bytes; then come the data. */
function readHeader(file: ByteSource, refuse: Refuse): [Record<string, unknown>, number] {
  if (file.size < 8) refuse(`${file.size} bytes are too few for a header`);
  const length = new Uint8Array(8);
  file.read(0, length);
  const headerBytes = new DataView(length.buffer).getBigUint64(0, true);
  if (headerBytes > MAXIMUM_HEADER_BYTES) refuse(`a header of ${headerBytes} bytes is too long`);
  const dataStart = 8 + Number(headerBytes);
  if (dataStart > file.size) {
    refuse(`the header ends at byte ${dataStart}, the file at ${file.size}`);
  }
  const json = new Uint8Array(Number(headerBytes));
  file.read(8, json);
  let text = "";
  let header: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(json);
    header = JSON.parse(text);
  } catch {
    refuse("its header is not JSON");
  }
  if (!isObject(header)) return refuse("its header is not a JSON object");
  const twice = duplicateKey(text);
  if (twice !== null) refuse(`its header names "${twice}" twice`);
  return [header, dataStart];
}

/**
 * The first key that an object of a sound JSON text holds twice, of which `JSON.parse` takes the last and
 * other readers another; null if there is none.
 */
function duplicateKey(json: string): string | null {
  const open: (Set<string> | null)[] = []; // keys of the objects round a place, null for lists
  for (let i = 0; i < json.length; i++) {
    const letter = json[i];
    if (letter === "{") open.push(new Set());
    else if (letter === "[") open.push(null);
    else if (letter === "}" || letter === "]") open.pop();
    if (letter !== '"') continue;
    const begin = i++;
    while (json[i] !== '"') i += json[i] === "\\" ? 2 : 1;
    let next = i + 1;
    while (" \t\n\r".includes(json[next] ?? ".")) next++;
    if (json[next] !== ":") continue;
    const key: string = JSON.parse(json.slice(begin, i + 1));
    const keys = open.at(-1)!;
    if (keys.has(key)) return key;
    keys.add(key);
  }
  return null;
}

/** Checks the description of one tensor. */
function readPlace(entry: unknown, quoted: string, refuse: Refuse): Place {
  if (!isObject(entry)) return refuse(`${quoted} has no description`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string") return refuse(`${quoted} has no type`);
  if (!Object.hasOwn(ITEM_SIZE, dtype)) return refuse(`${quoted} has the unknown type "${dtype}"`);
  if (!isNaturals(shape)) return refuse(`${quoted} has no valid shape`);
  if (!isNaturals(offsets) || offsets.length !== 2 || offsets[0] > offsets[1]) {
    return refuse(`${quoted} has no valid data_offsets`);
  }
  const [begin, end] = offsets;
  const expected = elementCount(shape) * ITEM_SIZE[dtype as Dtype];
  if (end - begin !== expected) {
    refuse(`${quoted} of shape [${shape}] has ${end - begin} bytes instead of ${expected}`);
  }
  return { dtype: dtype as Dtype, shape, begin, end };
}

/** Refuses tensors that overlap, leave the data or leave a gap in them, as the format demands. */
function checkCover(places: ReadonlyMap<string, Place>, dataBytes: number, refuse: Refuse): void {
  let covered = 0;
  const inOrder = [...places].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  for (const [name, { begin, end }] of inOrder) {
    if (end > dataBytes) {
      refuse(`tensor "${name}" ends at byte ${end} of the data, which has ${dataBytes}`);
    }
    if (begin < covered) refuse(`tensor "${name}" overlaps the one before it`);
    if (begin > covered) refuse(`${begin - covered} bytes before tensor "${name}" belong to none`);
    covered = end;
  }
  if (covered < dataBytes) refuse(`${dataBytes - covered} bytes at its end belong to no tensor`);
}

/** Reads and checks all but the data of a safetensors file. */
function readPlaces(
  file: ByteSource,
): { places: Map<string, Place>; dataStart: number; metadata: Record<string, string> } {
  const refuse: Refuse = (reason) => {
    throw new InputError(
      `${file.name} is not a sound safetensors file (${excerpt(reason)}): get the file again`,
    );
  };
  const [header, dataStart] = readHeader(file, refuse);
  const { __metadata__: metadata = {}, ...entries } = header;
  if (!isObject(metadata) || Object.values(metadata).some((value) => typeof value !== "string")) {
    refuse("its metadata are not texts");
  }
  const places = new Map(
    Object.entries(entries).map((
      [name, entry],
    ) => [name, readPlace(entry, `tensor "${name}"`, refuse)]),
  );
  checkCover(places, file.size - dataStart, refuse);
  return { places, dataStart, metadata: metadata as Record<string, string> };
}

/**
 * Reads the bytes of a safetensors file. The tensors are views on `bytes`; nothing is copied. As the
 * format demands, the tensors must cover the data without a gap and without an overlap.
 *
 * @param options.source The file's name, for the message.
 * @throws {InputError} saying what is wrong with the file.
 */
export function parseSafetensors(bytes: Uint8Array, options: { source: string }): Safetensors {
  const { places, dataStart, metadata } = readPlaces(bytesOf(bytes, options));
  const data = bytes.subarray(dataStart);
  const tensors = new Map<string, RawTensor>();
  for (const [name, { dtype, shape, begin, end }] of places) {
    tensors.set(name, { dtype, shape, bytes: data.subarray(begin, end) });
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
  const { places, dataStart } = readPlaces(file);
  const tensors = new Map<string, LazyTensor>();
  for (const [name, { dtype, shape, begin }] of places) {
    const read = (at: number, target: Uint8Array) => file.read(dataStart + begin + at, target);
    const length = elementCount(shape);
    tensors.set(name, {
      dtype,
      shape,
      read: () => Promise.resolve().then(() => readElements(read, { dtype, length })),
    });
  }
  return { source: file.name, tensors, [Symbol.dispose]: () => file[Symbol.dispose]() };
}

/** The tensors of a safetensors file, every dtype converted to float32. */
export function toStateDict({ tensors }: Safetensors): StateDict {
  return new Map(
    [...tensors].map(([name, raw]) => [name, { shape: raw.shape, data: toFloat32(raw) }]),
  );
}

/**
 * A state dict as it is stored: sorted by name (by code unit, so that the order is the same on every
 * machine), in float32 or rounded to half precision.
 */
export function rawTensors(
  state: HostState,
  { dtype = "F32" }: { dtype?: "F32" | "F16" } = {},
): Map<string, RawTensor> {
  const names = [...state.keys()].sort();
  return new Map(names.map((name) => {
    const { shape, data } = state.get(name)!;
    if (dtype === "F32") return [name, float32Tensor(shape, data)];
    return [name, { dtype, shape, bytes: new Uint8Array(Float16Array.from(data).buffer) }];
  }));
}

/** Parts of a safetensors file, in order: its header, then each tensor in the order of the map. */
function* safetensorsParts(
  tensors: ReadonlyMap<string, RawTensor>,
  metadata: Readonly<Record<string, string>>,
): Generator<Uint8Array> {
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let dataBytes = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    if (elementCount(shape) * ITEM_SIZE[dtype] !== bytes.byteLength) {
      throw new RangeError(`tensor "${name}" of shape [${shape}] has ${bytes.byteLength} bytes`);
    }
    header[name] = { dtype, shape, data_offsets: [dataBytes, dataBytes += bytes.byteLength] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = Math.ceil(text.length / 8) * 8; // so that the data are aligned
  const start = new Uint8Array(8 + headerBytes);
  new DataView(start.buffer).setBigUint64(0, BigInt(headerBytes), true);
  start.fill(0x20, 8); // JSON may end in spaces
  start.set(text, 8);
  yield start;
  for (const { bytes } of tensors.values()) yield bytes;
}

/**
 * The bytes of a safetensors file with tensors as they are stored: in the order of the map, each in
 * its own element type, so that a file that was parsed is written back bit for bit.
 *
 * @param tensors Those of {@linkcode rawTensors}, or of a file.
 * @param options.metadata Free text for the header, in the order given.
 * @throws {RangeError} if a tensor's bytes do not fit its shape.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, RawTensor>,
  { metadata = {} }: { metadata?: Readonly<Record<string, string>> } = {},
): Uint8Array<ArrayBuffer> {
  return joinBytes([...safetensorsParts(tensors, metadata)]);
}
