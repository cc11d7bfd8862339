import { joinBytes } from "../../lib/byte_source.ts";
import { crc32 } from "node:zlib";

const utf8 = new TextEncoder();

const u16 = (value: number): number[] => [value & 255, value >> 8];
const u32 = (value: number): number[] => [
  ...new Uint8Array(Uint32Array.of(value).buffer),
];

const u64 = (value: number): number[] => [...u32(value), ...u32(0)];
const ALL_ONES = 0xffffffff;

/**
 * Entries of a zip; `deflatedFrom` is the size that a deflated content claims to unpack to, `crc`
 * what it claims to be the checksum of that.
 */
type Entries = Record<string, { content: Uint8Array; deflatedFrom?: number; crc?: number }>;

/** A zip archive in parts, the contents themselves among them, so that large ones need no copy. */
export function zipParts(entries: Entries, { zip64 = false } = {}): Uint8Array[] {
  const parts: Uint8Array[] = [];
  const directory: number[] = [];
  let at = 0;
  const push = (part: Uint8Array): void => {
    parts.push(part);
    at += part.length;
  };
  for (const [name, { content, deflatedFrom, crc = crc32(content) }] of Object.entries(entries)) {
    const unpacked = deflatedFrom ?? content.length;
    const header = (sizes: number[], extra: number): number[] => [
      ...[...u16(20), ...u16(0), ...u16(deflatedFrom === undefined ? 0 : 8), ...u32(0)],
      ...[...u32(crc), ...sizes.flatMap(u32), ...u16(name.length), ...u16(extra)],
    ];
    const headerAt = at;
    const local = header([content.length, unpacked], 0);
    push(Uint8Array.from([...u32(0x04034b50), ...local, ...utf8.encode(name)]));
    push(content);
    // The extra field 1: the sizes and the offset in 64 bits each, after an unknown field.
    const long = [unpacked, content.length, headerAt];
    const extra = zip64
      ? [...u16(9), ...u16(1), 0, ...u16(1), ...u16(24), ...long.flatMap(u64)]
      : [];
    const central = header(zip64 ? [ALL_ONES, ALL_ONES] : [content.length, unpacked], extra.length);
    directory.push(...u32(0x02014b50), ...u16(20), ...central, ...u16(0), ...u16(0), ...u16(0));
    directory.push(...u32(0), ...u32(zip64 ? ALL_ONES : headerAt), ...utf8.encode(name), ...extra);
  }
  const count = Object.keys(entries).length;
  const directoryAt = at;
  push(Uint8Array.from(directory));
  if (zip64) {
    const recordAt = at;
    const counts = [count, count, directory.length, directoryAt];
    const record = [
      ...u64(44),
      ...u16(45),
      ...u16(45),
      ...u32(0),
      ...u32(0),
      ...counts.flatMap(u64),
    ];
    push(Uint8Array.from([...u32(0x06064b50), ...record]));
    push(Uint8Array.from([...u32(0x07064b50), ...u32(0), ...u64(recordAt), ...u32(1)]));
  }
  const place = zip64 ? [ALL_ONES, ALL_ONES] : [directory.length, directoryAt];
  const end = [...u32(0x06054b50), ...u32(0), ...u16(count), ...u16(count)];
  push(Uint8Array.from([...end, ...place.flatMap(u32), ...u16(0)]));
  return parts;
}

/** A zip archive. */
export function zipFile(entries: Entries, options: { zip64?: boolean } = {}): Uint8Array {
  return joinBytes(zipParts(entries, options));
}

/** The layout of torch.save: a pickle and its storages. */
export function torchZip(
  pickle: readonly number[],
  { storages, zip64 }: { storages: Readonly<Record<string, Uint8Array>>; zip64?: boolean },
): Uint8Array {
  const entries = {
    "x/data.pkl": { content: Uint8Array.from(pickle) },
    ...Object.fromEntries(
      Object.entries(storages).map(([key, content]) => [`x/data/${key}`, { content }]),
    ),
  };
  return zipFile(entries, { zip64 });
}

/**
 * The layout of torch.save before 1.6: pickles, then each storage listed as its length and bytes. The
 * protocol and a key may be opcodes instead, which push something that does not belong there.
 */
export function torchLegacy(
  pickle: readonly number[],
  { listed, protocol = 1001 }: {
    listed: [key: string | number[], content: Uint8Array][];
    protocol?: number | number[];
  },
): Uint8Array {
  const magic = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
  const keys = listed.flatMap(([key]) => typeof key === "string" ? text(key) : key);
  return Uint8Array.from([
    ...[0x80, 2, 0x8a, 10, ...magic, 0x2e],
    ...[0x80, 2, ...(typeof protocol === "number" ? int(protocol) : protocol), 0x2e],
    ...[0x80, 2, 0x7d, 0x2e],
    ...pickle,
    ...[0x80, 2, 0x5d, ops.mark, ...keys, 0x65, 0x2e],
    ...listed.flatMap(([, content]) => [...u64(content.length / 4), ...content]),
  ]);
}

/** Opcodes of pickles. */
export const ops = {
  mark: 0x28,
  emptyTuple: 0x29,
  tuple: 0x74,
  reduce: 0x52,
  persistent: 0x51,
  global: (module: string, name: string): number[] => [
    0x63,
    ...utf8.encode(`${module}\n${name}\n`),
  ],
};

/** Pushes a text. */
export const text = (
  value: string,
): number[] => [0x58, ...u32(value.length), ...utf8.encode(value)];

/** Pushes an integer of 32 bits. */
export const int = (value: number): number[] => [0x4a, ...u32(value)];

/** Pushes a tuple. */
export const tuple = (...items: number[][]): number[] => [ops.mark, ...items.flat(), ops.tuple];

/** A whole pickle of a dict. */
export const dict = (...items: [key: number[], value: number[]][]): number[] => [
  ...[0x80, 2, 0x7d, ops.mark],
  ...items.flat(2),
  ...[0x75, 0x2e],
];

/** Pushes a storage. */
export const storageId = (
  { key, length, type = "FloatStorage", view = [] }: {
    key: string;
    length: number;
    type?: string;
    view?: number[];
  },
): number[] => [
  ...tuple(text("storage"), ops.global("torch", type), text(key), text("cpu"), int(length), view),
  ops.persistent,
];

/** Pushes a tensor. */
export const tensor = (
  storage: number[],
  { offset = 0, shape, stride }: { offset?: number; shape: number[]; stride: number[] },
): number[] => [
  ...ops.global("torch._utils", "_rebuild_tensor_v2"),
  ...tuple(storage, int(offset), tuple(...shape.map(int)), tuple(...stride.map(int)), [0x89], [
    0x7d,
  ]),
  ops.reduce,
];
