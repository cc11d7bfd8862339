import { joinBytes } from "../../../lib/byte_source.ts";
import { assert, assertEquals } from "@std/assert";
import { openBytes } from "../../../lib/fs.ts";
import fc from "fast-check";
import { join } from "node:path";
import { type Dtype, ITEM_SIZE, type RawTensor } from "../../../lib/formats/raw_tensor.ts";
import {
  encodeSafetensors,
  openSafetensors,
  parseSafetensors,
  toStateDict,
} from "../../../lib/formats/safetensors.ts";
import type { FuzzCase, Kind } from "../kind.ts";
import {
  applyAll,
  byteEdit,
  type Edit,
  HOSTILE_INTEGERS,
  jsonEdit,
  jsonText,
  labels,
  some,
} from "../mutations.ts";
import { readTensors } from "../../formats/tensors_file.ts";

/** A sound tensor of any bits, but that its real numbers are as small as weights are. */
export const rawTensor: fc.Arbitrary<RawTensor> = fc.tuple(
  fc.constantFrom(...Object.keys(ITEM_SIZE) as Dtype[]),
  fc.array(fc.nat({ max: 4 }), { maxLength: 4 }),
  fc.nat(),
).map(([dtype, shape, start]) => {
  const count = shape.reduce((product, length) => product * length, ITEM_SIZE[dtype]);
  const size = ITEM_SIZE[dtype];
  // The last byte of a real number holds the upper bits of its exponent.
  const most = (i: number) => dtype.includes("F") && i % size === size - 1 ? 0x3f : 0xff;
  const bytes = Uint8Array.from({ length: count }, (_, i) => (start + 37 * i * i) & most(i));
  return { dtype, shape, bytes };
});

const names = fc.oneof(
  fc.constantFrom("a.weight", "a.bias", "__proto__", "constructor", "toString", "", "0", "é"),
  fc.string({ maxLength: 12 }).filter((name) => name !== "__metadata__"),
);

const sound: fc.Arbitrary<Uint8Array> = fc.uniqueArray(fc.tuple(names, rawTensor), {
  maxLength: 5,
  selector: ([name]) => name,
}).map((tensors) => encodeSafetensors(new Map(tensors), { metadata: { format: "pt" } }));

/** The header's JSON and the bytes after it, where there are such. */
function parts(bytes: Uint8Array): { json: Uint8Array; data: Uint8Array } | null {
  if (bytes.length < 8) return null;
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  if (length > bytes.length - 8) return null;
  return { json: bytes.subarray(8, 8 + length), data: bytes.subarray(8 + length) };
}

/** A change to the header's JSON, whose length stays right. */
function onHeader({ label, apply }: Edit): Edit {
  return {
    label: `header: ${label}`,
    apply: (bytes) => {
      const found = parts(bytes);
      if (!found) return bytes;
      const json = apply(found.json);
      const length = new Uint8Array(BigUint64Array.of(BigInt(json.length)).buffer);
      return joinBytes([length, json, found.data]);
    },
  };
}

interface Entry {
  dtype: string;
  shape: number[];
  data_offsets: number[];
}

/** A change to a text within the header. */
export function renameEdit(from: string, to: string): Edit {
  return onHeader({
    label: `${from} as ${JSON.stringify(to.slice(0, 20))}`,
    apply: (json) => {
      const header = new TextDecoder().decode(json);
      return new TextEncoder().encode(header.replace(from, JSON.stringify(to).slice(1, -1)));
    },
  });
}

/** A change to the description of one tensor. */
function onEntry(label: string, n: number, change: (entry: Entry) => void): Edit {
  return onHeader({
    label,
    apply: (json) => {
      try {
        const header = JSON.parse(new TextDecoder().decode(json));
        const entries = Object.values(header).filter((value) =>
          Array.isArray((value as Entry | null)?.shape)
        ) as Entry[];
        if (entries.length === 0) return json;
        change(entries[n % entries.length]);
        return new TextEncoder().encode(jsonText(header));
      } catch {
        return json; // an edit before this one left no such header
      }
    },
  });
}

/** Changes to a safetensors file. */
export const safetensorsEdit: fc.Arbitrary<Edit> = fc.oneof(
  { weight: 3, arbitrary: jsonEdit.map(onHeader) },
  { weight: 2, arbitrary: byteEdit },
  {
    weight: 1,
    arbitrary: fc.oneof(fc.constantFrom(...HOSTILE_INTEGERS), fc.nat({ max: 300 })).map((
      length,
    ) => ({
      label: `header length ${length}`,
      apply: (bytes: Uint8Array) => {
        if (bytes.length < 8) return bytes;
        const copy = bytes.slice();
        new DataView(copy.buffer).setBigInt64(0, BigInt(length), true);
        return copy;
      },
    })),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat(), fc.array(fc.constantFrom(0, 1, 2, 3, 2 ** 26, 2 ** 53 - 1, -1)))
      .map(([n, shape]) => onEntry(`shape ${shape}`, n, (entry) => entry.shape = shape)),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat(), fc.integer({ min: -8, max: 8 }), fc.integer({ min: -8, max: 8 }))
      .map(([n, a, b]) =>
        onEntry(`offsets moved by ${a}, ${b}`, n, (entry) => {
          const [begin, end] = entry.data_offsets ?? [0, 0];
          entry.data_offsets = [begin + a, end + b];
        })
      ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.nat(), fc.constantFrom("F8_E4M3", "f32", "F32 ", "C64", "U8", "F64"))
      .map(([n, dtype]) => onEntry(`dtype ${dtype}`, n, (entry) => entry.dtype = dtype)),
  },
);

/** One element of a tensor. */
const ELEMENT: Record<Dtype, (view: DataView, at: number) => number> = {
  F64: (view, at) => view.getFloat64(at, true),
  F32: (view, at) => view.getFloat32(at, true),
  F16: (view, at) => view.getFloat16(at, true),
  BF16: (view, at) => {
    const word = new DataView(new ArrayBuffer(4));
    word.setUint16(0, view.getUint16(at, true));
    return word.getFloat32(0);
  },
  I64: (view, at) => Number(view.getBigInt64(at, true)),
  U64: (view, at) => Number(view.getBigUint64(at, true)),
  I32: (view, at) => view.getInt32(at, true),
  U32: (view, at) => view.getUint32(at, true),
  I16: (view, at) => view.getInt16(at, true),
  U16: (view, at) => view.getUint16(at, true),
  I8: (view, at) => view.getInt8(at),
  U8: (view, at) => view.getUint8(at),
  BOOL: (view, at) => view.getUint8(at),
};

/** Compares what was read with what the header says, element by element. */
export async function checkSafetensors(path: string): Promise<void> {
  const { tensors, metadata } = readTensors(path);
  const bytes = Deno.readFileSync(path);
  const { json, data } = parts(bytes)!;
  const header: Map<string, unknown> = new Map(
    Object.entries(JSON.parse(new TextDecoder().decode(json))),
  );
  header.delete("__metadata__");
  assertEquals([...tensors.keys()].sort(), [...header.keys()].sort());
  const state = toStateDict({ tensors, metadata });
  using lazy = openSafetensors(openBytes(path));
  for (const [name, tensor] of state) {
    const { dtype, shape, data_offsets: [begin, end] } = header.get(name) as {
      dtype: Dtype;
      shape: number[];
      data_offsets: number[];
    };
    const view = new DataView(data.buffer, data.byteOffset + begin, end - begin);
    const count = shape.reduce((product, length) => product * length, 1);
    assertEquals([...tensor.shape], shape);
    assertEquals(tensor.data.length, count);
    const read = await lazy.tensors.get(name)!.read();
    for (let i = 0; i < count; i++) {
      const value = Math.fround(ELEMENT[dtype](view, i * ITEM_SIZE[dtype]));
      assert(
        Object.is(tensor.data[i], value) && Object.is(read[i], value),
        `${name}[${i}] is ${tensor.data[i]} and ${read[i]}, not ${value}`,
      );
    }
  }
  const again = parseSafetensors(encodeSafetensors(tensors, { metadata }), { source: "again" });
  assertEquals(again.tensors, tensors);
}

/** Files of safetensors. */
export const safetensors: Kind = {
  name: "safetensors",
  cases: fc.tuple(sound, some(safetensorsEdit)).map(([bytes, edits]): FuzzCase => ({
    edits: labels(edits),
    files: { "weights.safetensors": applyAll(bytes, edits) },
  })),
  read: (folder) => checkSafetensors(join(folder, "weights.safetensors")),
};
