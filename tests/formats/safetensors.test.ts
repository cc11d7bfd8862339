import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../lib/errors.ts";
import { type Dtype, ITEM_SIZE, toFloat32 } from "../../lib/formats/raw_tensor.ts";
import {
  encodeSafetensors,
  parseSafetensors,
  rawTensors,
  toStateDict,
} from "../../lib/formats/safetensors.ts";
import type { StateDict } from "../../lib/formats/state_dict.ts";
import { readTensors, writeTensors } from "./tensors_file.ts";

const state = (): StateDict =>
  new Map([
    ["b.weight", { shape: [2, 3], data: Float32Array.of(1, -2, 3.5, 1e-30, NaN, -0) }],
    ["a.bias", { shape: [1], data: Float32Array.of(Infinity) }],
    ["scalar", { shape: [], data: Float32Array.of(7) }],
    ["empty", { shape: [0, 4], data: new Float32Array(0) }],
  ]);

/** A file with any header, sound or not. */
function file(header: unknown, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const text = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

const parse = (bytes: Uint8Array) => parseSafetensors(bytes, { source: "x.safetensors" });

Deno.test("tensors and metadata come back from a file as they went in", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/new/adapter.safetensors`;
    await writeTensors(path, state(), { metadata: { format: "pt" } });
    const read = readTensors(path);
    assertEquals(read.metadata, { format: "pt" });
    assertEquals(toStateDict(read), new Map([...state()].sort()));
    assertEquals([...Deno.readDirSync(`${folder}/new`)].map((entry) => entry.name), [
      "adapter.safetensors",
    ]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("equal tensors make equal bytes, whatever order they were put in", () => {
  const reversed = new Map([...state()].reverse());
  const bytes = encodeSafetensors(rawTensors(state()), { metadata: { b: "2", a: "1" } });
  assertEquals(encodeSafetensors(rawTensors(reversed), { metadata: { b: "2", a: "1" } }), bytes);
  const { tensors, metadata } = parse(bytes);
  assertEquals(
    encodeSafetensors(rawTensors(toStateDict({ tensors, metadata })), { metadata }),
    bytes,
  );
});

Deno.test("the layout is the format's own, byte for byte", () => {
  const bytes = encodeSafetensors(
    rawTensors(new Map([["t", { shape: [1], data: Float32Array.of(1) }]])),
    {
      metadata: { format: "pt" },
    },
  );
  const header =
    '{"__metadata__":{"format":"pt"},"t":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}';
  const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
  assertEquals(bytes.slice(0, 8), Uint8Array.of(padded.length, 0, 0, 0, 0, 0, 0, 0));
  assertEquals(new TextDecoder().decode(bytes.slice(8, -4)), padded);
  assertEquals(bytes.slice(-4), Uint8Array.of(0, 0, 0x80, 0x3f));
});

Deno.test("F16 halves the data and rounds to the nearest half", () => {
  const values = Float32Array.of(1, 1 / 3, 65504, 1e-7, -2.5);
  const bytes = encodeSafetensors(
    rawTensors(new Map([["t", { shape: [5], data: values }]]), { dtype: "F16" }),
  );
  const raw = parse(bytes).tensors.get("t")!;
  assertEquals([raw.dtype, raw.bytes.length], ["F16", 10]);
  assertEquals(
    toFloat32(raw),
    Float32Array.of(1, 0.333251953125, 65504, 1.1920928955078125e-7, -2.5),
  );
});

Deno.test("every dtype converts to float32, aligned or not", () => {
  const cases: Array<[Dtype, ArrayBufferView, number[]]> = [
    ["F64", Float64Array.of(0.1, -3), [Math.fround(0.1), -3]],
    ["F32", Float32Array.of(0.1, -3), [Math.fround(0.1), -3]],
    ["F16", Float16Array.of(0.5, -3), [0.5, -3]],
    ["BF16", Uint16Array.of(0x3f80, 0xc040), [1, -3]],
    ["I64", BigInt64Array.of(5n, -3n), [5, -3]],
    ["U64", BigUint64Array.of(5n, 3n), [5, 3]],
    ["I32", Int32Array.of(5, -3), [5, -3]],
    ["U32", Uint32Array.of(4294967040, 3), [4294967040, 3]],
    ["I16", Int16Array.of(5, -3), [5, -3]],
    ["U16", Uint16Array.of(65535, 3), [65535, 3]],
    ["I8", Int8Array.of(5, -3), [5, -3]],
    ["U8", Uint8Array.of(255, 3), [255, 3]],
    ["BOOL", Uint8Array.of(1, 0), [1, 0]],
  ];
  assertEquals(cases.map(([dtype]) => dtype).sort(), Object.keys(ITEM_SIZE).sort());
  for (const [dtype, values, expected] of cases) {
    const data = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    // A pad of 1 to 8 spaces puts the data on every residue.
    for (let pad = 1; pad <= 8; pad++) {
      const header = JSON.stringify({ t: { dtype, shape: [2], data_offsets: [0, data.length] } });
      const raw = parse(file(header + " ".repeat(pad), data)).tensors.get("t")!;
      assertEquals(toFloat32(raw), Float32Array.from(expected), `${dtype} after ${pad} spaces`);
    }
  }
});

Deno.test("a tensor named __proto__ is a tensor like any other", () => {
  const bytes = file(
    '{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
    Uint8Array.of(9),
  );
  assertEquals(toFloat32(parse(bytes).tensors.get("__proto__")!), Float32Array.of(9));
});

const four = new Uint8Array(4);
const entry = (begin: unknown, end: unknown, shape: unknown = [1], dtype: unknown = "F32") => ({
  dtype,
  shape,
  data_offsets: [begin, end],
});

const HOSTILE: Array<{ what: string; bytes: Uint8Array; says: string }> = [
  { what: "an empty file", bytes: new Uint8Array(0), says: "0 bytes" },
  { what: "seven bytes", bytes: new Uint8Array(7), says: "7 bytes" },
  {
    what: "a header that leaves the file",
    bytes: Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0, 123),
    says: "ends at byte 17",
  },
  {
    what: "a header of 4 GiB",
    bytes: Uint8Array.of(0, 0, 0, 0, 1, 0, 0, 0, 123, 125),
    says: "too long",
  },
  { what: "a header of 2^64 - 1 bytes", bytes: new Uint8Array(16).fill(255), says: "too long" },
  { what: "a header that is not JSON", bytes: file("{oops"), says: "not JSON" },
  {
    what: "a header that is not UTF-8",
    bytes: Uint8Array.of(3, 0, 0, 0, 0, 0, 0, 0, 34, 255, 34),
    says: "not JSON",
  },
  { what: "a header that is a list", bytes: file([]), says: "not a JSON object" },
  { what: "a header that is null", bytes: file(null), says: "not a JSON object" },
  { what: "metadata that are numbers", bytes: file({ __metadata__: { a: 1 } }), says: "metadata" },
  { what: "a tensor without a description", bytes: file({ t: 5 }), says: '"t"' },
  { what: "an unknown dtype", bytes: file({ t: entry(0, 4, [1], "F31") }, four), says: '"F31"' },
  {
    what: "an inherited name as dtype",
    bytes: file({ t: entry(0, 4, [1], "toString") }, four),
    says: "toString",
  },
  {
    what: "a missing dtype",
    bytes: file({ t: { shape: [1], data_offsets: [0, 4] } }, four),
    says: "type",
  },
  { what: "a negative length", bytes: file({ t: entry(0, 4, [-1]) }, four), says: "shape" },
  { what: "a fractional length", bytes: file({ t: entry(0, 4, [0.5, 2]) }, four), says: "shape" },
  {
    what: "a shape that overflows",
    bytes: file({ t: entry(0, 4, [2 ** 40, 2 ** 40]) }, four),
    says: "instead of",
  },
  {
    what: "a shape that does not fit",
    bytes: file({ t: entry(0, 4, [2]) }, four),
    says: "4 bytes instead of 8",
  },
  { what: "offsets out of order", bytes: file({ t: entry(4, 0) }, four), says: "data_offsets" },
  {
    what: "one offset",
    bytes: file({ t: { dtype: "F32", shape: [1], data_offsets: [0] } }, four),
    says: "data_offsets",
  },
  {
    what: "an offset beyond the data",
    bytes: file({ t: entry(4, 8) }, four),
    says: "ends at byte 8",
  },
  {
    what: "truncated data",
    bytes: file({ t: entry(0, 4) }, four.subarray(1)),
    says: "which has 3",
  },
  {
    what: "tensors that overlap",
    bytes: file({ a: entry(0, 4), b: entry(0, 4) }, four),
    says: "overlaps",
  },
  {
    what: "a gap between tensors",
    bytes: file({ a: entry(0, 4), b: entry(8, 12) }, new Uint8Array(12)),
    says: "4 bytes before",
  },
  {
    what: "bytes after the last tensor",
    bytes: file({ a: entry(0, 4) }, new Uint8Array(5)),
    says: "1 bytes at its end",
  },
];

for (const { what, bytes, says } of HOSTILE) {
  Deno.test(`safetensors refuses ${what} in one sentence`, () => {
    const error = assertThrows(() => parse(bytes), InputError, says);
    assert(error.message.startsWith("x.safetensors is not a sound safetensors file ("));
    assert(!error.message.includes("\n"));
  });
}

Deno.test("every truncation of a sound file is refused", () => {
  const bytes = encodeSafetensors(rawTensors(state()));
  for (let length = 0; length < bytes.length; length++) {
    assertThrows(() => parse(bytes.subarray(0, length)), InputError);
  }
});

Deno.test("a file that cannot be read is named", () => {
  assertThrows(() => readTensors("nowhere/x.safetensors"), InputError, "nowhere/x.safe");
});

Deno.test("a tensor whose shape does not match its data is not written", () => {
  const wrong: StateDict = new Map([["t", { shape: [3], data: new Float32Array(2) }]]);
  assertThrows(() => encodeSafetensors(rawTensors(wrong)), RangeError, '"t"');
});
