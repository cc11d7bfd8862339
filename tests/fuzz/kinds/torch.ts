import { joinBytes } from "../../../lib/byte_source.ts";
import { assert, assertEquals } from "@std/assert";
import { openWeights } from "../../../lib/formats/weights.ts";
import fc from "fast-check";
import { unzipSync } from "fflate";
import { join } from "node:path";
import { deflateRawSync } from "node:zlib";
import { readWeights, type WeightSource } from "../../../lib/nn/weight_source.ts";
import { writeTorch } from "../../../lib/formats/torch_writer.ts";
import { dict, storageId, tensor, text, torchLegacy, zipFile } from "../../formats/torch_file.ts";
import type { FuzzCase, Kind } from "../kind.ts";
import { applyAll, byteEdit, type Edit, labels, some } from "../mutations.ts";
import { operationsEdit, split } from "./pickle_ops.ts";
import { openBytes, writeAtomic } from "../../../lib/fs.ts";

const tests = join(import.meta.dirname!, "..", "..");
const fixture = (name: string, folder = "formats"): Uint8Array =>
  Deno.readFileSync(join(tests, folder, "fixtures", name));

/** Tensors that a sound file must be read as. */
type Expected = Record<string, { shape: number[]; data: number[] }>;

type Entries = Record<string, { content: Uint8Array; deflatedFrom?: number; crc?: number }>;

interface Seed {
  readonly entries: Entries;
  readonly expected?: Expected;
}

/** Fixtures of torch.save, each sound. */
const saved: readonly Seed[] = [
  "zip.pth",
  "big_endian.pth",
  "protocol4.pth",
  "checkpoint.pth",
].map((name) => fixture(name)).concat(fixture("mobile_sam_part.pth", "sam")).map((bytes) => ({
  entries: Object.fromEntries(
    Object.entries(unzipSync(bytes)).map(([path, content]) => [path, { content }]),
  ),
}));

/** Tensors of small whole numbers, as a pickle of their own: what they must be read as is known. */
const made: fc.Arbitrary<
  { pickle: number[]; storages: [string, Uint8Array][]; expected: Expected }
> = fc
  .array(fc.tuple(fc.nat({ max: 4 }), fc.nat({ max: 4 }), fc.boolean()), {
    minLength: 1,
    maxLength: 4,
  }).map((tensors) => {
    const expected: Expected = {};
    const storages: [string, Uint8Array][] = [];
    const items = tensors.map(([rows, columns, isTransposed], n): [number[], number[]] => {
      const values = Float32Array.from({ length: rows * columns }, (_, i) => 10 * n + i);
      storages.push([String(n), new Uint8Array(values.buffer)]);
      const shape = isTransposed ? [columns, rows] : [rows, columns];
      expected[`t${n}`] = {
        shape,
        data: isTransposed
          ? Array.from(values, (_, i) => values[(i % rows) * columns + Math.floor(i / rows)])
          : [...values],
      };
      const stride = isTransposed ? [1, columns] : [columns, 1];
      return [
        text(`t${n}`),
        tensor(storageId({ key: String(n), length: values.length }), {
          shape,
          stride,
        }),
      ];
    });
    return { pickle: dict(...items), storages, expected };
  });

const zipSeed: fc.Arbitrary<Seed> = fc.oneof(
  fc.constantFrom(...saved),
  made.map(({ pickle, storages, expected }) => ({
    entries: {
      "x/data.pkl": { content: Uint8Array.from(pickle) },
      ...Object.fromEntries(storages.map(([key, content]) => [`x/data/${key}`, { content }])),
    },
    expected,
  })),
);

/** Changes operations of the first pickles of some bytes. */
function onPickles({ label, apply }: Edit<Uint8Array[]>, pickles: number): Edit {
  return {
    label,
    apply: (bytes) => {
      const { operations, tail } = split(bytes, pickles);
      return joinBytes([...apply(operations), tail]);
    },
  };
}

/** Changes to what a zip holds and says of it. */
const entriesEdit: fc.Arbitrary<Edit<Entries>> = fc.oneof(
  {
    weight: 8,
    arbitrary: operationsEdit.map((edit) => {
      const { label, apply } = onPickles(edit, 1);
      return {
        label,
        apply: (entries: Entries) =>
          Object.fromEntries(
            Object.entries(entries).map(([path, entry]) => [
              path,
              path.endsWith("data.pkl") ? { ...entry, content: apply(entry.content) } : entry,
            ]),
          ),
      };
    }),
  },
  ...([
    ["without entry", () => []],
    ["emptied entry", (path, entry) => [[path, { ...entry, content: new Uint8Array(0) }]]],
    ["cut entry", (path, entry) => [[path, { ...entry, content: entry.content.slice(1) }]]],
    ["wrong checksum of entry", (path, entry) => [[path, { ...entry, crc: 1 }]]],
    ["deflated entry", (path, { content }) => [[path, {
      content: new Uint8Array(deflateRawSync(content)),
      deflatedFrom: content.length,
    }]]],
    ["entry that claims to unpack to much", (path, { content }) => [[path, {
      content: new Uint8Array(deflateRawSync(content)),
      deflatedFrom: 90 * content.length,
    }]]],
    ["bomb in entry", (path) => [[path, {
      content: new Uint8Array(deflateRawSync(new Uint8Array(2 ** 20))),
      deflatedFrom: 2 ** 20,
    }]]],
    ["entry that claims to be deflated", (path, entry) => [[path, {
      ...entry,
      deflatedFrom: entry.content.length,
    }]]],
    ["entry above its folder", (path, entry) => [[`../../${path}`, entry]]],
    ["entry of an absolute path", (path, entry) => [[`/etc/${path}`, entry]]],
    ["a second folder with entry", (path, entry) => [[path, entry], [`y${path}`, entry]]],
    ["entry with a long name", (path, entry) => [[path.padEnd(60_000, "x"), entry]]],
    [
      "entry as another",
      (path, entry) => [[path, entry], [`${path.split("/")[0]}/byteorder`, entry]],
    ],
  ] as [
    string,
    (path: string, entry: Entries[string]) => [string, Entries[string]][],
  ][]).map(([label, change]) => ({
    weight: 1,
    arbitrary: fc.nat().map((n) => ({
      label: `${label} ${n}`,
      apply: (entries: Entries) => {
        const all = Object.entries(entries);
        if (all.length === 0) return entries;
        return Object.fromEntries(
          all.flatMap((pair, i) => i === n % all.length ? change(...pair) : [pair]),
        );
      },
    })),
  })),
);

/** Changes to the records of a zip file: signatures, sizes, places. */
const recordEdit: fc.Arbitrary<Edit> = fc.tuple(
  fc.constantFrom(0x02014b50, 0x04034b50, 0x06054b50, 0x06064b50, 0x07064b50),
  fc.nat(),
  fc.nat({ max: 56 }),
  fc.constantFrom(0, 1, 8, 22, 46, 255, 65535, 2 ** 31, 2 ** 32 - 1),
  fc.constantFrom(1, 2, 4),
).map(([signature, n, field, value, width]) => ({
  label: `field ${field} of zip record ${signature.toString(16)} is ${value}`,
  apply: (bytes: Uint8Array) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const places: number[] = [];
    for (let at = 0; at + 4 <= bytes.length; at++) {
      if (view.getUint32(at, true) === signature) places.push(at);
    }
    const at = places[n % Math.max(1, places.length)] + field;
    if (!(at + width <= bytes.length)) return bytes;
    const copy = bytes.slice();
    const target = new DataView(copy.buffer);
    if (width === 1) target.setUint8(at, value);
    else if (width === 2) target.setUint16(at, value, true);
    else target.setUint32(at, value, true);
    return copy;
  },
}));

/** Most elements that reading all of a file may give before it counts as a huge allocation. */
const MOST_ELEMENTS = 2 ** 25;

/** Reads all tensors, and checks that they are what they say and survive being written. */
export async function checkSource(source: WeightSource, folder: string): Promise<void> {
  const shapes = [...source.tensors.values()].map(({ shape }) =>
    shape.reduce((product, length) => product * length, 1)
  );
  const total = shapes.reduce((sum, count) => sum + count, 0);
  assert(total <= MOST_ELEMENTS, `${total} elements`);
  const state = await readWeights(source);
  for (const [name, { shape, data }] of state) {
    assert(
      shape.every((length) => Number.isSafeInteger(length) && length >= 0),
      `${name} [${shape}]`,
    );
    assertEquals(data.length, shape.reduce((product, length) => product * length, 1), name);
  }
  if (total > 20_000 || state.size === 0) return;
  const written = join(folder, "written.pth");
  await writeAtomic(
    written,
    (output) => writeTorch(output, source.tensors, { source: written }),
  );
  // Counters of any size come back as numbers with a point.
  using again = await openWeights(openBytes(written), { limit: Infinity });
  const bits = (data: Float32Array) =>
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const other = await readWeights(again);
  assertEquals([...other.keys()], [...state.keys()]);
  for (const [name, { data }] of other) assertEquals(bits(data), bits(state.get(name)!.data), name);
}

async function read(folder: string, { edits, expected }: FuzzCase): Promise<void> {
  using source = await openWeights(openBytes(join(folder, "weights.pth")));
  await checkSource(source, folder);
  if (edits.length > 0 || !expected) return;
  const state = await readWeights(source);
  for (const [name, { shape, data }] of Object.entries(expected as Expected)) {
    assertEquals([...state.get(name)!.shape], shape);
    assertEquals([...state.get(name)!.data], data);
  }
}

/** Zip files of torch.save. */
export const torchZip: Kind = {
  name: "torch_zip",
  cases: fc.tuple(
    zipSeed,
    some(entriesEdit, 2),
    fc.boolean(),
    some(fc.oneof(recordEdit, byteEdit), 1),
  ).map(([{ entries, expected }, changes, zip64, edits]) => ({
    edits: [...labels(changes), ...labels(edits)],
    files: { "weights.pth": applyAll(zipFile(applyAll(entries, changes), { zip64 }), edits) },
    expected,
  })),
  read,
};

const legacySeed: fc.Arbitrary<{ bytes: Uint8Array; expected?: Expected }> = fc.oneof(
  fc.constant({ bytes: fixture("legacy.pth") }),
  made.map(({ pickle, storages, expected }) => ({
    bytes: torchLegacy(pickle, { listed: storages }),
    expected,
  })),
);

/** Files of torch.save before 1.6: pickles in a row, then storages. */
export const torchLegacyKind: Kind = {
  name: "torch_legacy",
  cases: fc.tuple(
    legacySeed,
    some(
      fc.oneof(
        { weight: 4, arbitrary: operationsEdit.map((edit) => onPickles(edit, 5)) },
        { weight: 1, arbitrary: byteEdit },
      ),
    ),
  ).map(([{ bytes, expected }, edits]) => ({
    edits: labels(edits),
    files: { "weights.pth": applyAll(bytes, edits) },
    expected,
  })),
  read,
};
