/**
 * Pickles as lists of operations, so that they can be changed without being torn.
 *
 * @module
 */
import fc from "fast-check";
import { int, ops, storageId, tensor, text, tuple } from "../../formats/torch_file.ts";
import type { Edit } from "../mutations.ts";

/** Bytes after an opcode that tells its own length: [bytes of the length, or of the argument, kind]. */
const ARGUMENTS: Record<number, { fixed?: number; counted?: number; lines?: number }> = {
  0x80: { fixed: 1 },
  0x95: { fixed: 8 },
  0x4a: { fixed: 4 },
  0x4b: { fixed: 1 },
  0x4d: { fixed: 2 },
  0x47: { fixed: 8 },
  0x68: { fixed: 1 },
  0x6a: { fixed: 4 },
  0x71: { fixed: 1 },
  0x72: { fixed: 4 },
  0x82: { fixed: 1 },
  0x83: { fixed: 2 },
  0x84: { fixed: 4 },
  0x8a: { counted: 1 },
  0x8b: { counted: 4 },
  0x58: { counted: 4 },
  0x8c: { counted: 1 },
  0x8d: { counted: 8 },
  0x55: { counted: 1 },
  0x54: { counted: 4 },
  0x43: { counted: 1 },
  0x42: { counted: 4 },
  0x8e: { counted: 8 },
  0x96: { counted: 8 },
  0x63: { lines: 2 },
  0x69: { lines: 2 },
  ...Object.fromEntries([..."ILFSVPgp"].map((code) => [code.charCodeAt(0), { lines: 1 }])),
};

function operationLength(bytes: Uint8Array, at: number): number {
  const { fixed = 0, counted = 0, lines = 0 } = ARGUMENTS[bytes[at]] ?? {};
  let length = 1 + fixed + counted;
  for (let i = 0; i < Math.min(counted, 4); i++) length += (bytes[at + 1 + i] ?? 0) * 256 ** i;
  for (let line = 0, from = at + 1; line < lines; line++) {
    const end = bytes.indexOf(10, from);
    if (end < 0) return bytes.length - at;
    from = end + 1;
    length = from - at;
  }
  return Math.min(length, bytes.length - at);
}

/** The operations of so many pickles in a row, and the bytes after them. */
export function split(
  bytes: Uint8Array,
  pickles: number,
): { operations: Uint8Array[]; tail: Uint8Array } {
  const operations: Uint8Array[] = [];
  let at = 0;
  for (let stops = 0; stops < pickles && at < bytes.length;) {
    const length = operationLength(bytes, at);
    operations.push(bytes.subarray(at, at + length));
    if (bytes[at] === 0x2e) stops++;
    at += length;
  }
  return { operations, tail: bytes.subarray(at) };
}

/** Opcodes that call, import or open something in Python, and those that torch.save writes. */
const GLOBALS: readonly (readonly [string, string])[] = [
  ["os", "system"],
  ["posix", "system"],
  ["builtins", "eval"],
  ["builtins", "exec"],
  ["builtins", "getattr"],
  ["__builtin__", "eval"],
  ["subprocess", "Popen"],
  ["torch.serialization", "load"],
  ["torch.hub", "load"],
  ["torch", "FloatStorage"],
  ["torch", "QInt8Storage"],
  ["torch", "Size"],
  ["torch", "device"],
  ["torch._utils", "_rebuild_tensor_v2"],
  ["torch._utils", "_rebuild_parameter"],
  ["torch._utils", "_rebuild_sparse_tensor"],
  ["collections", "OrderedDict"],
  ["collections", "defaultdict"],
  ["numpy.core.multiarray", "_reconstruct"],
  ["__proto__", "constructor"],
  ["constructor", "constructor"],
  ["", ""],
  ["Function", "prototype\0"],
  ["é", "x".repeat(300)],
];

const hostileInt = fc.constantFrom(0, 1, 2, 3, 7, 64, 255, 65536, 2 ** 31 - 1, -1, -(2 ** 31));

/** Any opcode, with an argument that is as long as it says, mostly. */
const anyOperation: fc.Arbitrary<number[]> = fc.tuple(
  fc.nat({ max: 255 }),
  fc.uint8Array({ maxLength: 12 }),
  fc.constantFrom("fitting", "fitting", "fitting", "too long", "huge"),
).map(([code, content, length]) => {
  const { fixed = 0, counted = 0, lines = 0 } = ARGUMENTS[code] ?? {};
  const claimed = length === "fitting" ? content.length : length === "huge" ? 2 ** 31 : 4000;
  const count = Array.from({ length: counted }, (_, i) => Math.floor(claimed / 256 ** i) & 255);
  return [
    code,
    ...Array.from({ length: fixed }, (_, i) => content[i] ?? 0),
    ...count,
    ...(counted > 0 ? content : []),
    ...Array.from({ length: lines }, (_, i) => [...content.filter((b) => b !== 10), 48 + i, 10])
      .flat(),
  ];
});

/** A list in a list in a list, or a list that holds the one before it twice: a billion at the end. */
const containers: fc.Arbitrary<number[]> = fc.oneof(
  fc.integer({ min: 1, max: 5000 }).map((depth) => [
    ...Array(depth).fill(0x5d), // EMPTY_LIST
    ...Array(depth - 1).fill(0x61), // APPEND
  ]),
  fc.integer({ min: 1, max: 5000 }).map((depth) => [0x4e, ...Array(depth).fill(0x85)]), // TUPLE1
  fc.integer({ min: 1, max: 60 }).map((depth) => [
    0x5d,
    ...Array(depth).fill([0x32, 0x86]).flat(), // DUP, TUPLE2
  ]),
  fc.integer({ min: 1, max: 40 }).map((depth) =>
    Array.from({ length: depth }, (_, i) => [
      ...[0x5d, 0x71, i, 0x28], // EMPTY_LIST, BINPUT i, MARK
      ...(i === 0 ? [0x4e] : [0x68, i - 1, 0x68, i - 1]), // the last one twice
      0x65, // APPENDS
    ]).flat()
  ),
  fc.constant<number[]>([0x5d, 0x71, 200, 0x68, 200, 0x61]), // a list that holds itself
  fc.constant<number[]>([0x7d, 0x71, 200, 0x4b, 1, 0x68, 200, 0x73]), // a dict that holds itself
  fc.integer({ min: 1, max: 3000 }).map((count) => Array(count).fill(0x28)), // MARK
  fc.integer({ min: 1, max: 3000 }).map((count) => [0x4e, ...Array(count).fill(0x94)]), // MEMOIZE
  fc.integer({ min: 1, max: 20_000 }).map((count) => Array(count).fill(0x7d)), // EMPTY_DICT
);

const hostileTensor: fc.Arbitrary<number[]> = fc.tuple(
  fc.constantFrom("0", "1", "../0", "/etc/passwd", "__proto__", ""),
  hostileInt,
  hostileInt,
  fc.array(hostileInt, { maxLength: 4 }),
  fc.array(hostileInt, { maxLength: 4 }),
).map(([key, length, offset, shape, stride]) =>
  tensor(storageId({ key, length }), { offset, shape, stride })
);

/** Operations that do not belong in a checkpoint. */
const hostileOperations: fc.Arbitrary<{ label: string; bytes: number[] }> = fc.oneof(
  { weight: 3, arbitrary: anyOperation.map((bytes) => ({ label: `opcode ${bytes[0]}`, bytes })) },
  {
    weight: 2,
    arbitrary: fc.constantFrom(...GLOBALS).map(([module, name]) => ({
      label: `call ${module}.${name}`,
      bytes: [...ops.global(module, name), ...tuple(text("touch x")), ops.reduce],
    })),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(...GLOBALS).map(([module, name]) => ({
      label: `name ${module}.${name} from the stack`,
      bytes: [...text(module), ...text(name), 0x93],
    })),
  },
  { weight: 2, arbitrary: containers.map((bytes) => ({ label: "containers", bytes })) },
  { weight: 2, arbitrary: hostileTensor.map((bytes) => ({ label: "a tensor", bytes })) },
  { weight: 1, arbitrary: hostileInt.map((n) => ({ label: `int ${n}`, bytes: int(n) })) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(0x68, 0x71).chain((code) =>
      fc.nat({ max: 255 }).map((n) => ({ label: `memo ${n}`, bytes: [code, n] }))
    ),
  },
);

/** Changes to the operations of pickles. */
export const operationsEdit: fc.Arbitrary<Edit<Uint8Array[]>> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(fc.nat(), hostileOperations, fc.constantFrom(0, 0, 1)).map((
      [n, { label, bytes }, replaced],
    ) => ({
      label: `${label} at ${n}`,
      apply: (list: Uint8Array[]) =>
        list.toSpliced(n % (list.length + 1), replaced, Uint8Array.from(bytes)),
    })),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat(), hostileInt).map(([n, value]) => ({
      label: `number ${n} is ${value}`,
      apply: (list: Uint8Array[]) => {
        const places = list.flatMap(([code], i) => [0x4a, 0x4b, 0x4d].includes(code) ? [i] : []);
        if (places.length === 0) return list;
        return list.with(places[n % places.length], Uint8Array.from(int(value)));
      },
    })),
  },
  {
    weight: 1,
    arbitrary: fc.nat().map((n) => ({
      label: `without operation ${n}`,
      apply: (list: Uint8Array[]) => list.length === 0 ? list : list.toSpliced(n % list.length, 1),
    })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 30 })).map((
      [from, to, count],
    ) => ({
      label: `${count} operations of ${from} again at ${to}`,
      apply: (list: Uint8Array[]) => {
        if (list.length === 0) return list;
        const start = from % list.length;
        return list.toSpliced(to % list.length, 0, ...list.slice(start, start + count));
      },
    })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.nat(), fc.nat()).map(([a, b]) => ({
      label: `operations ${a} and ${b} swapped`,
      apply: (list: Uint8Array[]) => {
        if (list.length === 0) return list;
        const [i, k] = [a % list.length, b % list.length];
        return list.with(i, list[k]).with(k, list[i]);
      },
    })),
  },
);
