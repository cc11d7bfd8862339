import { assert, assertEquals } from "@std/assert";
import { writeNifti } from "../../../lib/data/nifti_file.ts";
import fc from "fast-check";
import { dirname, join } from "node:path";
import { crc32, gzipSync } from "node:zlib";
import { openDataset } from "../../../lib/data/dataset.ts";
import { openSlices, type Slice, type SliceSet } from "../../../lib/data/slices.ts";
import { createVolume } from "../../../lib/formats/volume.ts";
import type { FuzzCase, Kind } from "../kind.ts";
import { applyAll, byteEdit, type Edit, jsonEdit, labels, some } from "../mutations.ts";

/** Voxels of a case: two slices of 24 x 20. */
const SHAPE = [24, 20, 2] as const;

const image = Float32Array.from({ length: 960 }, (_, i) => (37 * i) % 251);
const mask = Float32Array.from({ length: 960 }, (_, i) => i % 24 < 8 ? 1 : 0);

async function writeCase(folder: string, id: string): Promise<void> {
  for (const [kind, data] of [["t1c", image], ["seg", mask]] as const) {
    await writeNifti(
      join(folder, id, `${id}-${kind}.nii`),
      createVolume(data, { shape: SHAPE }),
      { datatype: "uint8" },
    );
  }
}

/** Slices of the cases, which the cache must not change. */
let truth: { slices: Slice[]; file: Uint8Array; root: string } | undefined;

async function readAll({ refs, read }: SliceSet): Promise<Slice[]> {
  const slices: Slice[] = [];
  for (const ref of refs) {
    const slice = await read(ref);
    const pixels = ref.width * ref.height;
    assertEquals([slice.image.length, slice.mask.length], [pixels, pixels], ref.id);
    assert(slice.image.every((value) => value >= 0 && value <= 255), ref.id);
    assert(slice.mask.every((value) => value <= 1), ref.id);
    assert(Number.isInteger(ref.index) && ref.index >= 0, `index ${ref.index}`);
    assert(ref.spacing.every((mm) => Number.isFinite(mm) && mm > 0), `spacing ${ref.spacing}`);
    assert(Number.isInteger(ref.tumourVoxels) && ref.tumourVoxels <= pixels, ref.id);
    slices.push(slice);
  }
  return slices;
}

/** The only file in a folder of folders. */
function cached(folder: string): string {
  const [inner] = [...Deno.readDirSync(folder)];
  const [file] = [...Deno.readDirSync(join(folder, inner.name))];
  return join(folder, inner.name, file.name);
}

/** The cases' volumes are the same in all cases, and so is the sound cache. */
async function prepare(folder: string): Promise<NonNullable<typeof truth>> {
  if (truth) return truth;
  const root = join(dirname(folder), "data");
  await writeCase(root, "A-00001-000");
  const cache = join(folder, "sound");
  const slices = await readAll(await openSlices(await openDataset(root), { cache }));
  assertEquals(slices.length, 2);
  return truth = { slices, file: Deno.readFileSync(cached(cache)), root };
}

/** A change to the index of a slice file, whose checksum is right again. */
const forged: fc.Arbitrary<Edit> = jsonEdit.map(({ label, apply }) => ({
  label: `index: ${label}`,
  apply: (bytes: Uint8Array) => {
    if (bytes.length < 8) return bytes;
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
    const json = apply(bytes.slice(8, 8 + length));
    const rest = bytes.subarray(8 + length);
    const file = new Uint8Array(8 + json.length + rest.length);
    const view = new DataView(file.buffer);
    view.setUint32(0, json.length, true);
    view.setUint32(4, crc32(json), true);
    file.set(json, 8);
    file.set(rest, 8 + json.length);
    return file;
  },
}));

const HOW = "edits.bin";

/** Edits are applied where the sound file is known, which is made by reading the volumes. */
const pending = new WeakMap<FuzzCase, readonly Edit[]>();

/** The cache of slices. */
export const sliceCache: Kind = {
  name: "slice_cache",
  cases: some(fc.oneof({ weight: 2, arbitrary: byteEdit }, { weight: 3, arbitrary: forged }), 2)
    .map((edits) => {
      const fuzzCase: FuzzCase = { edits: labels(edits), files: { [HOW]: new Uint8Array(0) } };
      pending.set(fuzzCase, edits);
      return fuzzCase;
    }),
  read: async (folder, fuzzCase) => {
    const { slices: expected, file, root } = await prepare(folder);
    const cache = join(folder, "cache");
    const dataset = await openDataset(root);
    await openSlices(dataset, { cache });
    const path = cached(cache);
    const edits = pending.get(fuzzCase)!;
    Deno.writeFileSync(path, applyAll(file, edits));
    const slices = await readAll(await openSlices(dataset, { cache }));
    // Whoever can write the cache can write other slices into it; nobody else changes a pixel.
    const isForged = edits.some(({ label }) => label.startsWith("index: "));
    if (!isForged) assertEquals(slices, expected);
    assertEquals(
      [...Deno.readDirSync(folder)].map(({ name }) => name).sort(),
      [
        ...["cache", HOW],
        ...[...Deno.readDirSync(folder)].some(({ name }) => name === "sound") ? ["sound"] : [],
      ].sort(),
    );
  },
};

const DATA = "data";
const ID = "TINY-MEN-00001-000";

/** A NIfTI file, of a data set. */
function volume(data: Float32Array): Uint8Array {
  const file = new Uint8Array(352 + data.length);
  const view = new DataView(file.buffer);
  view.setInt32(0, 348, true);
  [3, ...SHAPE, 1, 1, 1, 1].forEach((dim, i) => view.setInt16(40 + 2 * i, dim, true));
  view.setInt16(70, 2, true);
  view.setInt16(72, 8, true);
  [1, 1, 1, 1].forEach((mm, i) => view.setFloat32(76 + 4 * i, mm, true));
  view.setFloat32(108, 352, true);
  [0x6e, 0x2b, 0x31].forEach((byte, i) => view.setUint8(344 + i, byte));
  file.set(data, 352);
  return new Uint8Array(gzipSync(file, { level: 1 }));
}

type Files = Readonly<Record<string, Uint8Array>>;

const soundFolder: Files = {
  [`${ID}/${ID}-t1c.nii.gz`]: volume(image),
  [`${ID}/${ID}-seg.nii.gz`]: volume(mask),
};

const hostileName = fc.constantFrom(
  ...["\n", "-", "_", "..seg.nii.gz", "\u001b[31m", "%2e%2e", "__proto__", "é", " ", "$(id)", ":"],
  "x".repeat(180),
);

const folderEdit: fc.Arbitrary<Edit<Files>> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(fc.nat(), byteEdit).map(([n, { label, apply }]) => ({
      label: `file ${n}: ${label}`,
      apply: (files: Files) => {
        const names = Object.keys(files);
        if (names.length === 0) return files;
        const name = names[n % names.length];
        return { ...files, [name]: apply(files[name]) };
      },
    })),
  },
  {
    weight: 1,
    arbitrary: fc.nat().map((n) => ({
      label: `without file ${n}`,
      apply: (files: Files) =>
        Object.fromEntries(
          Object.entries(files).filter((_, i, { length }) => i !== n % length),
        ),
    })),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat(), hostileName).map(([n, name]) => ({
      label: `file ${n} under ${JSON.stringify(name)}`,
      apply: (files: Files) => {
        const all = Object.entries(files);
        if (all.length === 0) return files;
        const [path, content] = all[n % all.length];
        return { ...files, [path.replaceAll(ID, `${ID.slice(0, 4)}${name}`)]: content };
      },
    })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(hostileName, fc.constantFrom(".nii", ".nii.gz", "")).map(([name, end]) => ({
      label: `a stray file ${JSON.stringify(name + end)}`,
      apply: (files: Files) => ({
        ...files,
        [`${ID}/${name}${end}`]: new Uint8Array(3),
        [`stray${name}`]: new Uint8Array(3),
      }),
    })),
  },
  {
    weight: 1,
    arbitrary: fc.nat().map((n) => ({
      label: `file ${n} as a folder`,
      apply: (files: Files) => {
        const all = Object.entries(files);
        if (all.length === 0) return files;
        return Object.fromEntries(
          all.map(([path, content], i) => [i === n % all.length ? `${path}/x` : path, content]),
        );
      },
    })),
  },
);

/** A folder in BraTS layout. */
export const bratsFolder: Kind = {
  name: "brats_folder",
  cases: some(folderEdit, 2).map((edits) => ({
    edits: labels(edits),
    files: Object.fromEntries([
      [`${DATA}/.kept`, new Uint8Array(0)],
      ...Object.entries(applyAll(soundFolder, edits)).map(([path, content]) =>
        [`${DATA}/${path}`, content] as const
      ),
    ]),
  })),
  read: async (folder, { edits }) => {
    const slices = await readAll(
      await openSlices(await openDataset(join(folder, DATA)), { cache: join(folder, "slices") }),
    );
    if (edits.length === 0) assertEquals(slices.length, 2);
  },
};
