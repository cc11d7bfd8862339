import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { bytesOf } from "../../lib/byte_source.ts";
import { openBytes } from "../../lib/fs.ts";
import { join } from "node:path";
import { crc32, deflateRawSync } from "node:zlib";
import fc from "fast-check";
import { InputError } from "../../lib/errors.ts";
import type { WeightSource } from "../../lib/nn/weight_source.ts";
import { openTorch } from "../../lib/formats/torch.ts";
import {
  dict,
  int,
  ops,
  storageId,
  tensor,
  text,
  torchLegacy,
  torchZip,
  zipFile,
} from "./torch_file.ts";

const fixture = (name: string): string => join(import.meta.dirname!, "fixtures", name);

/** Elements of the fixtures' tensors: 0, 1, 2, ..., halved and less 3 where the type allows. */
const counted = (length: number, from = 0): number[] =>
  Array.from({ length }, (_, i) => 0.5 * (from + i) - 3);

const integers = [0, 1, 2, 3, 4];

const EXPECTED: Record<string, [dtype: string, shape: number[], data: number[]]> = {
  f32: ["F32", [2, 3], counted(6)],
  f64: ["F64", [2, 3], counted(6)],
  f16: ["F16", [2, 3], counted(6)],
  bf16: ["BF16", [2, 3], counted(6)],
  i64: ["I64", [5], integers],
  i32: ["I32", [5], integers],
  i16: ["I16", [5], integers],
  i8: ["I8", [5], integers],
  u8: ["U8", [5], integers],
  bool: ["BOOL", [3], [1, 0, 1]],
  scalar: ["F32", [], [7]],
  empty: ["F32", [0, 4], []],
  parameter: ["F32", [3], counted(3)],
  base: ["F32", [4, 6], counted(24)],
  transposed: [
    "F32",
    [6, 4],
    Array.from({ length: 24 }, (_, i) => counted(24)[(i % 4) * 6 + Math.floor(i / 4)]),
  ],
  window: ["F32", [2, 3], [6, 8, 10, 12, 14, 16].map((i) => counted(24)[i])],
  last: ["F32", [4], counted(4, 20)],
  expanded: ["F32", [3, 4], [...counted(4), ...counted(4), ...counted(4)]],
  channels_last: ["F32", [2, 3, 2, 2], counted(24)],
};

async function contents({ tensors }: WeightSource): Promise<Record<string, unknown[]>> {
  const read: Record<string, unknown[]> = {};
  for (const [name, { dtype, shape, read: elements }] of tensors) {
    read[name] = [dtype, [...shape], [...await elements()]];
  }
  return read;
}

for (const name of ["zip", "protocol4", "legacy", "deflated", "big_endian"]) {
  Deno.test(`every tensor of ${name}.pth is what torch saved, whatever its type and strides`, async () => {
    using weights = await openTorch(openBytes(fixture(`${name}.pth`)));
    assertEquals(await contents(weights), EXPECTED);
  });
}

Deno.test("the model is taken out of a checkpoint with an optimiser and settings", async () => {
  using weights = await openTorch(openBytes(fixture("checkpoint.pth")));
  assertEquals(await contents(weights), {
    weight: ["F32", [2, 3], counted(6)],
    bias: ["F32", [2], counted(2)],
  });
  using optimizer = await openTorch(openBytes(fixture("checkpoint.pth")), { key: "optimizer" });
  assertEquals(optimizer.tensors.get("state.0.exp_avg")?.shape, [2, 3]);
});

Deno.test("several models in one file, none and an unknown part are refused by name", async () => {
  const refused = async (name: string, says: string, key?: string) => {
    using file = openBytes(fixture(name));
    await assertRejects(() => openTorch(file, { key }), InputError, says);
  };
  await refused("two_models.pth", "several dicts of tensors (a, b)");
  await refused("no_tensors.pth", "holds no dict of tensors");
  await refused("two_models.pth", 'no part "c": choose one of a, b', "c");
  using chosen = await openTorch(openBytes(fixture("two_models.pth")), { key: "b" });
  assertEquals([...chosen.tensors.keys()], ["weight", "bias"]);
});

for (
  const [name, global] of [
    ["system.pth", "posix.system"],
    ["system_legacy.pth", "posix.system"],
    ["module.pth", "torch.nn.modules.linear.Linear"],
  ]
) {
  Deno.test(`${name} is refused because it asks for ${global}`, async () => {
    using file = openBytes(fixture(name));
    const error = await assertRejects(
      () => openTorch(file),
      InputError,
      `asks for ${global}, and nothing`,
    );
    assert(!error.message.includes("\n"));
  });
}

const open = (bytes: Uint8Array) => openTorch(bytesOf(bytes, { source: "x.pth" }));
const view = { shape: [4], stride: [1] };
const four = Uint8Array.of(0, 0, 128, 63, 0, 0, 0, 64, 0, 0, 64, 64, 0, 0, 128, 64); // 1, 2, 3, 4
const storages = { "0": four };
const id = storageId({ key: "0", length: 4 });
const pickled = (pickle: number[]) => torchZip(pickle, { storages });
const one = (...args: Parameters<typeof tensor>) => pickled(dict([text("a"), tensor(...args)]));
const repeat = (count: number, ...bytes: number[]): number[] =>
  Array.from({ length: count }, () => bytes).flat();

/** Pushes a list that holds a list twice, which holds a list twice, and so on. */
const doubled = (times: number): number[] => [
  0x5d,
  ...repeat(times, 0x71, 0, 0x30, 0x5d, 0x28, 0x68, 0, 0x68, 0, 0x65),
];

Deno.test("a file of our own making reads as it should, so that the hostile ones fail for their fault", async () => {
  const weights = await open(one(id, { offset: 1, shape: [3], stride: [1] }));
  assertEquals(await contents(weights), { a: ["F32", [3], [2, 3, 4]] });
});

Deno.test("micro-sam's model is taken, and not its other decoder", async () => {
  const part = (name: string) =>
    dict([text(name), tensor(id, { shape: [4], stride: [1] })]).slice(2, -1); // within another
  const weights = await open(pickled(dict(
    [text("decoder_state"), part("other")],
    [text("model_state"), part("sam.mask_decoder.x")],
    [text("optimizer_state"), part("step")],
  )));
  assertEquals(await contents(weights), { "sam.mask_decoder.x": ["F32", [4], [1, 2, 3, 4]] });
});

Deno.test("sizes and offsets of 64 bits are read where a zip has them", async () => {
  const pickle = dict([text("a"), tensor(id, { shape: [4], stride: [1] })]);
  const bytes = torchZip(pickle, { storages, zip64: true });
  assertEquals(await contents(await open(bytes)), { a: ["F32", [4], [1, 2, 3, 4]] });
  // The locator, 42 bytes before the end, says where the record lies that says where the rest does.
  const astray = bytes.slice();
  new DataView(astray.buffer).setBigUint64(bytes.length - 34, 2n ** 60n, true);
  await assertRejects(() => open(astray), InputError, "64-bit value exceeds");
  const elsewhere = bytes.slice();
  new DataView(elsewhere.buffer).setBigUint64(bytes.length - 34, 0n, true);
  await assertRejects(() => open(elsewhere), InputError, "its zip directory");
});

const whole = dict([text("a"), tensor(id, view)]);

Deno.test("the old layout of our own making reads as it should", async () => {
  const weights = await open(torchLegacy(whole, { listed: [["0", four]] }));
  assertEquals(await contents(weights), { a: ["F32", [4], [1, 2, 3, 4]] });
});

const bomb = deflateRawSync(new Uint8Array(2 ** 24));
const sound = one(id, { shape: [4], stride: [1] });

/** The sound file with some bytes of its zip directory changed, counted from `PK\1\2` of an entry. */
function directory(change: (view: DataView, entry: number) => void): Uint8Array {
  const bytes = sound.slice();
  const view = new DataView(bytes.buffer);
  let at = bytes.length - 22;
  while (view.getUint32(at, true) !== 0x02014b50) at--;
  change(view, at);
  return bytes;
}

const HOSTILE: Array<{ what: string; bytes: Uint8Array; says: string }> = [
  { what: "an empty file", bytes: new Uint8Array(0), says: "cut off" },
  { what: "the letters PK", bytes: Uint8Array.of(0x50, 0x4b), says: "zip directory" },
  {
    what: "a zip without its end",
    bytes: sound.subarray(0, -1),
    says: "End of central directory not found",
  },
  {
    what: "a zip of something else",
    bytes: zipFile({ "a.txt": { content: four } }),
    says: "0 data.pkl",
  },
  {
    what: "two pickles",
    bytes: zipFile({ "a/data.pkl": { content: four }, "b/data.pkl": { content: four } }),
    says: "2 data.pkl",
  },
  {
    what: "a directory that leaves the file",
    bytes: directory((view) => view.setUint32(view.byteLength - 6, 1e9, true)),
    says: "mismatched central directory offset",
  },
  {
    what: "a directory of 4 GB",
    bytes: directory((view) => view.setUint32(view.byteLength - 10, 0xffffffff, true)),
    says: "Zip64 central directory locator not found",
  },
  {
    what: "a directory with other entries than it counts",
    bytes: directory((view) => view.setUint16(view.byteLength - 12, 9, true)),
    says: "Central directory header not found",
  },
  {
    what: "an entry beyond the file",
    bytes: directory((view, at) => view.setUint32(at + 42, 1e9, true)),
    says: "overlaps what comes after it",
  },
  {
    what: "entries that overlap",
    bytes: directory((view, at) => view.setUint32(at + 42, 0, true)),
    says: "overlaps what comes after it",
  },
  {
    what: "an entry that is encrypted",
    bytes: directory((view, at) => view.setUint16(at + 8, 1, true)),
    says: "is encrypted",
  },
  {
    what: "an unknown packing",
    bytes: directory((view, at) => view.setUint16(at + 10, 14, true)),
    says: "packed by method 14",
  },
  {
    what: "a zip bomb",
    bytes: zipFile({ "x/data.pkl": { content: bomb, deflatedFrom: 2 ** 24 } }),
    says: "unpacks to 16777216",
  },
  {
    what: "a bomb that lies about its size",
    bytes: zipFile({ "x/data.pkl": { content: bomb, deflatedFrom: 1000 } }),
    says: '"x/data.pkl": Invalid uncompressed size',
  },
  { what: "a pickle that is cut off", bytes: pickled([0x80, 2, 0x7d]), says: "pickle is cut off" },
  { what: "an empty pickle", bytes: pickled([]), says: "pickle is cut off" },
  { what: "a pickle of protocol 9", bytes: pickled([0x80, 9]), says: "protocol 9" },
  { what: "an unknown opcode", bytes: pickled([0x80, 2, 0xff]), says: "opcode 0xff" },
  { what: "an empty stack", bytes: pickled([0x80, 2, 0x2e]), says: "more from the stack" },
  { what: "a memo that was never filled", bytes: pickled([0x80, 2, 0x68, 7]), says: "entry 7" },
  {
    what: "a text of 4 GB",
    bytes: pickled([0x80, 2, 0x58, 255, 255, 255, 255]),
    says: "pickle is cut off",
  },
  {
    what: "an integer of 4 GB",
    bytes: pickled([0x80, 2, 0x8b, 255, 255, 255, 127]),
    says: "an integer of 2147483647 bytes",
  },
  {
    what: "eval by another way of naming it",
    bytes: pickled([0x80, 4, ...text("builtins"), ...text("eval"), 0x93]),
    says: "asks for builtins.eval",
  },
  {
    what: "a forbidden name that would fill the screen",
    bytes: pickled([0x80, 4, ...text("os\n\x1b[2J"), ...text("x".repeat(100_000)), 0x93]),
    says: "asks for os\ufffd\ufffd[2J.xxx",
  },
  {
    what: "a call of something that is no function",
    bytes: pickled([0x80, 2, ...int(1), ops.emptyTuple, ops.reduce]),
    says: "calls something that is no function",
  },
  {
    what: "attributes of a list",
    bytes: pickled([0x80, 2, 0x5d, 0x7d, 0x62]),
    says: "sets attributes",
  },
  {
    what: "storages that load further pickles",
    bytes: pickled([0x80, 2, ...ops.global("torch.storage", "_load_from_bytes")]),
    says: "asks for torch.storage._load_from_bytes",
  },
  {
    what: "lists nested too deep",
    bytes: pickled([0x80, 2, ...repeat(5_000, 0x5d), ...repeat(4_999, 0x61), 0x2e]),
    says: "nested more than 32 deep",
  },
  {
    what: "a list that holds itself",
    bytes: pickled([0x80, 2, 0x5d, 0x71, 0, 0x68, 0, 0x61, 0x2e]),
    says: "nested more than 32 deep",
  },
  {
    what: "lists of lists of lists that share what they hold",
    // Each of 30 lists holds the one before ten times: 10^30 values.
    bytes: pickled([
      0x80,
      2,
      0x5d,
      0x71,
      0,
      ...repeat(30, 0x5d, 0x28, ...repeat(10, 0x68, 0), 0x65, 0x71, 0),
      0x2e,
    ]),
    says: "more than 1000000 values",
  },
  {
    what: "a pickle without end",
    bytes: pickled([0x80, 2, ...repeat(2_000_000, 0x4e)]),
    says: "more than 500000 steps",
  },
  {
    what: "more empty dicts than a pickle of its size has reason to make",
    bytes: pickled([0x80, 2, ...repeat(99_998, 0x7d)]),
    says: "more than 91384 steps",
  },
  {
    what: "a list that stands for 2^40 texts as the name of a type",
    bytes: pickled([0x80, 4, ...doubled(40), ...text("x"), 0x93]),
    says: "names a type by something that is no text",
  },
  {
    what: "a list that stands for 2^40 texts as the module of a type",
    bytes: pickled([0x80, 4, ...text("x"), ...doubled(40), 0x93]),
    says: "names a type by something that is no text",
  },
  {
    what: "lists nested 5,000 deep as the name of a type",
    bytes: pickled([0x80, 4, ...text("x"), ...repeat(5_000, 0x5d), ...repeat(4_999, 0x61), 0x93]),
    says: "names a type by something that is no text",
  },
  {
    what: "a call of nothing",
    bytes: pickled([0x80, 2, 0x4e, ops.emptyTuple, ops.reduce]),
    says: "calls something that is no function",
  },
  {
    what: "a name of 5,000 letters",
    bytes: pickled(dict([text("x".repeat(5000)), tensor(id, view)])),
    says: "a name of 5000 letters",
  },
  {
    what: "a storage of a negative length",
    bytes: pickled(dict([text("a"), tensor(storageId({ key: "0", length: -4 }), view)])),
    says: "described in an unknown way",
  },
  {
    what: "a storage of a negative length, in the old layout",
    bytes: torchLegacy(
      dict([
        text("a"),
        tensor(storageId({ key: "0", length: -100_000 }), { shape: [0], stride: [1] }),
      ]),
      { listed: [["0", four]] },
    ),
    says: "described in an unknown way",
  },
  {
    what: "a storage of 8 GB, in the old layout",
    bytes: torchLegacy(
      dict([text("a"), tensor(storageId({ key: "0", length: 2 ** 31 - 1 }), view)]),
      { listed: [["0", four]] },
    ),
    says: 'storage "0" has 4 elements instead of 2147483647',
  },
  {
    what: "a protocol of 2^40 texts, in the old layout",
    bytes: torchLegacy(whole, { listed: [["0", four]], protocol: doubled(40) }),
    says: "its protocol is no number",
  },
  {
    what: "a storage listed as 2^40 texts, in the old layout",
    bytes: torchLegacy(whole, { listed: [[doubled(40), four]] }),
    says: "its storages are not listed by texts",
  },
  {
    what: "a shape whose product is no number",
    bytes: one(id, { shape: [...Array(40).fill(2 ** 31 - 1), 0], stride: Array(41).fill(1) }),
    says: "more elements than can be counted",
  },
  {
    what: "2,000 views on one storage",
    bytes: torchZip(
      dict(...Array.from({ length: 2000 }, (_, i): [number[], number[]] => [
        text(String(i)),
        tensor(storageId({ key: "0", length: 10_000 }), { shape: [10_000], stride: [1] }),
      ])),
      { storages: { "0": new Uint8Array(40_000) } },
    ),
    says: "its tensors have 20000000 elements, all views on 10000",
  },
  {
    what: "deflated storages that fill the memory together",
    bytes: zipFile({
      "x/data.pkl": { content: Uint8Array.from(whole) },
      ...Object.fromEntries(
        Array.from({ length: 5 }, (_, i) => [
          `x/data/${i}`,
          { content: new Uint8Array(2 ** 18), deflatedFrom: 2 ** 24 },
        ]),
      ),
    }),
    says: "its compressed entries unpack to 83886080 bytes",
  },
  {
    what: "a missing storage",
    bytes: pickled(
      dict([text("a"), tensor(storageId({ key: "9", length: 4 }), { shape: [4], stride: [1] })]),
    ),
    says: 'storage "9" is missing',
  },
  {
    what: "a storage of another length",
    bytes: pickled(
      dict([text("a"), tensor(storageId({ key: "0", length: 5 }), { shape: [4], stride: [1] })]),
    ),
    says: "5 F32 has 16 bytes",
  },
  {
    what: "complex numbers",
    bytes: pickled(
      dict([
        text("a"),
        tensor(storageId({ key: "0", length: 2, type: "ComplexFloatStorage" }), {
          shape: [4],
          stride: [1],
        }),
      ]),
    ),
    says: "asks for torch.ComplexFloatStorage",
  },
  {
    what: "a tensor beyond its storage",
    bytes: one(id, { shape: [5], stride: [1] }),
    says: "reaches element 4",
  },
  {
    what: "an offset beyond the storage",
    bytes: one(id, { offset: 4, shape: [1], stride: [1] }),
    says: "reaches element 4",
  },
  {
    what: "a stride beyond the storage",
    bytes: one(id, { shape: [2], stride: [4] }),
    says: "reaches element 4",
  },
  {
    what: "a negative stride",
    bytes: one(id, { shape: [2], stride: [-1] }),
    says: "the stride is not",
  },
  {
    what: "a negative length",
    bytes: one(id, { shape: [-2], stride: [1] }),
    says: "the shape is not",
  },
  {
    what: "a negative offset",
    bytes: one(id, { offset: -1, shape: [1], stride: [1] }),
    says: "the offset is not",
  },
  {
    what: "strides for other axes",
    bytes: one(id, { shape: [2, 2], stride: [1] }),
    says: "differ in length",
  },
  {
    what: "a shape that overflows",
    bytes: one(id, { shape: [2 ** 31 - 1, 2 ** 31 - 1, 2 ** 31 - 1], stride: [1, 1, 1] }),
    says: "more elements than can be counted",
  },
  {
    what: "four elements repeated to fill the memory",
    bytes: one(id, { shape: [2 ** 30, 4], stride: [0, 1] }),
    says: "repeats the elements",
  },
  {
    what: "one tensor under two names that are the same",
    bytes: pickled(
      dict(
        [text("a"), tensor(id, { shape: [4], stride: [1] })],
        [text("b"), dict([text("c"), tensor(id, { shape: [4], stride: [1] })]).slice(2, -1)],
        [text("b.c"), tensor(id, { shape: [4], stride: [1] })],
      ),
    ),
    says: 'tensor "b.c" comes twice',
  },
  {
    what: "one storage described in two ways",
    bytes: pickled(dict(
      [text("a"), tensor(id, view)],
      [text("b"), tensor(storageId({ key: "0", length: 2, type: "DoubleStorage" }), view)],
    )),
    says: 'storage "0" is described in two ways',
  },
  {
    what: "a storage that is a view on another",
    bytes: pickled(dict([
      text("a"),
      tensor(storageId({ key: "0", length: 4, view: text("root") }), view),
    ])),
    says: "a view on another",
  },
  {
    what: "an unknown protocol, in the old layout",
    bytes: torchLegacy(whole, { listed: [["0", four]], protocol: 7 }),
    says: "protocol 7",
  },
  {
    what: "a storage listed twice, in the old layout",
    bytes: torchLegacy(whole, { listed: [["0", four], ["0", four]] }),
    says: 'storage "0" is listed in error',
  },
  {
    what: "a storage that is not listed, in the old layout",
    bytes: torchLegacy(whole, { listed: [] }),
    says: 'storage "0" is missing',
  },
  {
    what: "a storage of another length, in the old layout",
    bytes: torchLegacy(whole, { listed: [["0", four.subarray(4)]] }),
    says: 'storage "0" has 3 elements instead of 4',
  },
  {
    what: "a storage that leaves the file, in the old layout",
    bytes: torchLegacy(whole, { listed: [["0", four]] }).subarray(0, -1),
    says: "the file at",
  },
  {
    what: "a pickle that is not torch's",
    bytes: Uint8Array.of(0x80, 2, 0x4e, 0x2e),
    says: "not torch.save's",
  },
];

for (const { what, bytes, says } of HOSTILE) {
  Deno.test(`PyTorch files with ${what} are refused in one sentence`, async () => {
    const error = await assertRejects(() => open(bytes), InputError);
    assertStringIncludes(error.message, says);
    assert(error.message.startsWith("x.pth ") && !error.message.includes("\n"), error.message);
    assert(error.message.length < 500, error.message);
  });
}

Deno.test("a deflated storage is unpacked once for all its tensors", async () => {
  const length = 2 ** 20;
  const unpacked = new Uint8Array(Float32Array.from({ length }, (_, i) => i).buffer);
  const packed = deflateRawSync(unpacked);
  const reads: number[] = [];
  const pickle = dict(...Array.from({ length: 10 }, (_, i): [number[], number[]] => [
    text(String(i)),
    tensor(storageId({ key: "0", length }), { offset: i, shape: [1], stride: [1] }),
  ]));
  const file = bytesOf(
    zipFile({
      "x/data.pkl": { content: Uint8Array.from(pickle) },
      "x/data/0": { content: packed, deflatedFrom: unpacked.length, crc: crc32(unpacked) },
    }),
    { source: "x.pth" },
  );
  const weights = await openTorch({
    ...file,
    read(at, target) {
      reads.push(target.length);
      file.read(at, target);
    },
  });
  for (const [name, { read }] of weights.tensors) {
    assertEquals(await read(), Float32Array.of(Number(name)));
  }
  const read = reads.reduce((sum, bytes) => sum + bytes, 0);
  assert(read < 1.5 * packed.length, `${read} bytes were read of a content of ${packed.length}`);
});

Deno.test("a flipped bit in the data is found when the tensor is read", async () => {
  const bytes = sound.slice();
  const at = bytes.findIndex((_, i) => four.every((byte, j) => bytes[i + j] === byte));
  bytes[at + 5] ^= 1;
  const weights = await open(bytes);
  await assertRejects(
    () => weights.tensors.get("a")!.read(),
    InputError,
    'entry "x/data/0": Invalid CRC32',
  );
});

Deno.test("a local header that pushes an entry into the next one is found when it is read", async () => {
  const bytes = directory((view, entry) => {
    view.setUint16(view.getUint32(entry + 42, true) + 28, 1000, true);
  });
  const { read } = (await open(bytes)).tensors.get("a")!;
  await assertRejects(read, InputError, "Entry data out of bounds");
});

for (const name of ["zip.pth", "legacy.pth"]) {
  Deno.test(`every truncation of ${name} is refused`, async () => {
    const whole = await Deno.readFile(fixture(name));
    for (let length = 0; length < whole.length; length++) {
      await assertRejects(
        () => open(whole.subarray(0, length)),
        InputError,
        undefined,
        `${length} bytes`,
      );
    }
  });

  Deno.test(`whatever bytes of ${name} change, it is read or refused, and nothing else`, async () => {
    const whole = await Deno.readFile(fixture(name));
    const changes = fc.array(
      fc.tuple(fc.nat({ max: whole.length - 1 }), fc.nat({ max: 255 })),
      { minLength: 1, maxLength: 8 },
    );
    await fc.assert(
      fc.asyncProperty(changes, async (list) => {
        const bytes = whole.slice();
        for (const [at, byte] of list) bytes[at] = byte;
        try {
          for (const { shape, read } of (await open(bytes)).tensors.values()) {
            const { length } = await read();
            assertEquals(length, shape.reduce((product, side) => product * side, 1));
          }
        } catch (error) {
          if (!(error instanceof InputError)) throw error;
        }
      }),
      { numRuns: 500, seed: 3 },
    );
  });
}
