import { assert, assertEquals } from "@std/assert";
import { openWeights } from "../../../lib/formats/weights.ts";
import fc from "fast-check";
import { join } from "node:path";
import { parseOnnx } from "../../../lib/formats/onnx.ts";
import { ITEM_SIZE, type RawTensor, toFloat32 } from "../../../lib/formats/raw_tensor.ts";
import type { FuzzCase, Kind } from "../kind.ts";
import { applyAll, byteEdit, type Edit, labels, some } from "../mutations.ts";
import { rawTensor } from "./safetensors.ts";
import { checkSource } from "./torch.ts";
import { openBytes } from "../../../lib/fs.ts";

/** A protobuf field: a number, eight or four bytes, or bytes, or fields. */
interface Field {
  readonly number: number;
  readonly wire: number;
  readonly value: bigint | Uint8Array | readonly Field[];
}

function varint(value: bigint): number[] {
  const bytes: number[] = [];
  for (let rest = BigInt.asUintN(64, value);; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 127n) | 128);
  }
}

function encode(fields: readonly Field[]): number[] {
  return fields.flatMap(({ number, wire, value }) => {
    const tag = varint(BigInt(number * 8 + wire));
    if (typeof value === "bigint") return [...tag, ...varint(value)];
    const content = value instanceof Uint8Array ? [...value] : encode(value as readonly Field[]);
    return wire === 2
      ? [...tag, ...varint(BigInt(content.length)), ...content]
      : [...tag, ...content];
  });
}

const number = (field: number, value: number | bigint): Field => ({
  number: field,
  wire: 0,
  value: BigInt(value),
});
const bytes = (field: number, value: Uint8Array | readonly Field[]): Field => ({
  number: field,
  wire: 2,
  value,
});
const text = (field: number, value: string) => bytes(field, new TextEncoder().encode(value));

/** TensorProto's numbers of element types. */
const TYPES = {
  ...{ F32: 1, U8: 2, I8: 3, U16: 4, I16: 5, I32: 6, I64: 7, BOOL: 9, F16: 10, F64: 11 },
  ...{ U32: 12, U64: 13, BF16: 16 },
};

const tensorFields = (name: string, { dtype, shape, bytes: data }: RawTensor): Field[] => [
  ...shape.map((length) => number(1, length)),
  number(2, TYPES[dtype]),
  text(8, name),
  bytes(9, data),
];

const model = fc.uniqueArray(
  fc.tuple(fc.constantFrom("w", "onnx::MatMul_1", "__proto__", "", "é\n"), rawTensor),
  { maxLength: 4, selector: ([name]) => name },
).map((tensors) => ({
  tensors: new Map(tensors),
  fields: [
    number(1, 8),
    bytes(7, [
      ...tensors.flatMap(([name, tensor]) => [
        bytes(1, [
          text(1, "x"),
          text(1, name),
          text(2, "y"),
          text(3, `/${name}/MatMul`),
          text(4, "MatMul"),
        ]),
        bytes(5, tensorFields(name, tensor)),
      ]),
      bytes(1, [
        text(2, "c"),
        text(4, "Constant"),
        bytes(5, [
          text(1, "value"),
          bytes(5, tensorFields("", { dtype: "F32", shape: [1], bytes: new Uint8Array(4) })),
        ]),
      ]),
    ]),
  ] as readonly Field[],
}));

/** Every field of a message, those within fields too, by its path. */
function* paths(fields: readonly Field[], above: readonly number[] = []): Generator<number[]> {
  for (const [i, { value }] of fields.entries()) {
    yield [...above, i];
    if (Array.isArray(value)) yield* paths(value, [...above, i]);
  }
}

/** Replaces the field at a path by others. */
function replaced(
  fields: readonly Field[],
  [index, ...rest]: readonly number[],
  change: (field: Field) => readonly Field[],
): readonly Field[] {
  const field = fields[index];
  const others = rest.length === 0
    ? change(field)
    : [{ ...field, value: replaced(field.value as readonly Field[], rest, change) }];
  return fields.toSpliced(index, 1, ...others);
}

const hostileNumber = fc.constantFrom(
  ...[0n, 1n, 2n, 3n, 14n, 17n, 127n, 65536n, 2n ** 26n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n],
  ...[2n ** 63n - 1n, 2n ** 64n - 1n],
);

const change: fc.Arbitrary<{ label: string; change: (field: Field) => readonly Field[] }> = fc
  .oneof(
    fc.constant({ label: "no field", change: () => [] }),
    fc.constant({ label: "the field twice", change: (field: Field) => [field, field] }),
    fc.integer({ min: 1, max: 200 }).map((count) => ({
      label: `the field ${count} times`,
      change: (field: Field) => Array(count).fill(field),
    })),
    hostileNumber.map((value) => ({
      label: `the number ${value}`,
      change: (field: Field) => [{ ...field, wire: 0, value }],
    })),
    fc.nat({ max: 20 }).map((number) => ({
      label: `field ${number}`,
      change: (field: Field) => [{ ...field, number }],
    })),
    fc.nat({ max: 7 }).map((wire) => ({
      label: `wire type ${wire}`,
      change: (field: Field) => [{ ...field, wire }],
    })),
    fc.uint8Array({ maxLength: 40 }).map((value) => ({
      label: "other bytes",
      change: (field: Field) => [{ ...field, wire: 2, value }],
    })),
    fc.constantFrom(100, 5000).map((depth) => ({
      label: `the field ${depth} deep`,
      change: (field: Field) => {
        let content = Uint8Array.from(encode([field]));
        for (let i = 0; i < depth && content.length < 60_000; i += 1 + content.length / 100) {
          content = Uint8Array.from(encode([bytes(field.number, content)]));
        }
        return [bytes(field.number, content)];
      },
    })),
    fc.constant({ label: "data elsewhere", change: (field: Field) => [field, number(14, 1)] }),
    fc.constant({
      label: "data in a file above",
      change: (field: Field) => [
        field,
        bytes(13, [text(1, "location"), text(2, "../../../etc/passwd")]),
        number(14, 1),
      ],
    }),
    fc.array(hostileNumber, { maxLength: 70 }).map((lengths) => ({
      label: `lengths ${lengths}`,
      change: (field: Field) => [field, ...lengths.map((length) => number(1, length))],
    })),
  );

const fieldsEdit: fc.Arbitrary<Edit<readonly Field[]>> = fc.tuple(fc.nat(), change).map((
  [n, { label, change }],
) => ({
  label: `${label} at ${n}`,
  apply: (fields: readonly Field[]) => {
    const all = [...paths(fields)];
    return all.length === 0 ? fields : replaced(fields, all[n % all.length], change);
  },
}));

async function read(folder: string, { edits, expected }: FuzzCase): Promise<void> {
  const path = join(folder, "weights.onnx");
  using source = await openWeights(openBytes(path));
  await checkSource(source, folder);
  const { initialisers, constants } = parseOnnx(Deno.readFileSync(path), { source: path });
  for (const { dtype, shape, bytes } of [...initialisers.values(), ...constants.values()]) {
    const count = shape.reduce((product, length) => product * length, 1);
    assertEquals(bytes.length, count * ITEM_SIZE[dtype]);
    assertEquals(toFloat32({ dtype, bytes }).length, count);
  }
  assert(source.tensors.size === initialisers.size);
  if (edits.length === 0) {
    assertEquals(new Map(initialisers), expected as Map<string, RawTensor>);
  }
}

/** ONNX models. */
export const onnx: Kind = {
  name: "onnx",
  cases: fc.tuple(model, some(fieldsEdit), some(byteEdit, 1)).map((
    [{ tensors, fields }, changes, edits],
  ) => ({
    edits: [...labels(changes), ...labels(edits)],
    files: { "weights.onnx": applyAll(Uint8Array.from(encode(applyAll(fields, changes))), edits) },
    expected: tensors,
  })),
  read,
};
