import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { join } from "node:path";
import { openDataset } from "../../lib/data/dataset.ts";
import { joinSlices } from "../../lib/data/joined_slices.ts";
import { openSlices, type OpenSlicesOptions, type SliceProgress } from "../../lib/data/slices.ts";
import { createVolume } from "../../lib/formats/volume.ts";
import { InputError } from "../../lib/errors.ts";
import { inTemporaryFolder, writeCase } from "./temporary.ts";

/** A folder with a `data` of two cases and an empty cache. */
const withCases = (body: (root: string, cache: string) => Promise<void>) =>
  inTemporaryFolder(async (folder) => {
    const root = join(folder, "data");
    await writeCase(root, { id: "SET-MEN-1-000" });
    await writeCase(root, { id: "SET-MEN-2-000" });
    await body(root, join(folder, "cache"));
  });

async function open(root: string, cache: string, options: OpenSlicesOptions = {}) {
  return await openSlices(await openDataset(root), { minTumourVoxels: 1, cache, ...options });
}

async function cacheFiles(cache: string): Promise<string[]> {
  const files: string[] = [];
  for await (const folder of Deno.readDir(cache)) {
    for await (const file of Deno.readDir(join(cache, folder.name))) {
      files.push(join(cache, folder.name, file.name));
    }
  }
  return files;
}

/** Result of minmax for the default image's value at (x, y, z), given the slice's extremes. */
const scaled = (value: number, low: number, high: number) => (value - low) / (high - low) * 255;
const value = (x: number, y: number, z: number) => 1 + x + 12 * y + 5 * z;

Deno.test("axial slices: rows run along y, columns along x, only tumour slices are kept", () =>
  withCases(async (root, cache) => {
    const set = await open(root, cache, { rescale: "minmax" });
    assertEquals(set.refs.length, 8);
    assertEquals(set.refs[4], {
      id: "SET-MEN-2-000:2:1",
      caseId: "SET-MEN-2-000",
      patient: "SET-MEN-2",
      axis: 2,
      index: 1,
      width: 12,
      height: 10,
      spacing: [1, 2],
      sliceSpacing: 3,
      orientation: null,
      depth: 6,
      tumourVoxels: 12,
    });
    const { image, mask } = await set.read(set.refs[4]);
    for (const [x, y] of [[0, 0], [11, 0], [0, 9], [5, 7]]) {
      const expected = scaled(value(x, y, 1), value(0, 0, 1), value(11, 9, 1));
      assertAlmostEquals(image[y * 12 + x], expected, 2e-3);
    }
    const inside = [...mask.keys()].filter((i) => mask[i] === 1);
    assertEquals(inside, [4, 5, 6].flatMap((y) => [3, 4, 5, 6].map((x) => y * 12 + x)));
  }));

for (
  const { axis, size, spacing, at, count } of [
    { axis: 0, size: [10, 6], spacing: [2, 3], at: [4, 5, 2], count: 4 },
    { axis: 1, size: [12, 6], spacing: [1, 3], at: [6, 5, 2], count: 3 },
  ] as const
) {
  Deno.test(`slices along axis ${axis} show the two other axes`, () =>
    withCases(async (root, cache) => {
      const set = await open(root, cache, { axis, rescale: "minmax" });
      assertEquals(set.refs.length, 2 * count);
      const ref = set.refs.find((r) => r.index === at[axis])!;
      assertEquals([ref.width, ref.height], [...size]);
      assertEquals(ref.spacing, spacing);
      const { image, mask } = await set.read(ref);
      const [column, row] = axis === 0 ? [at[1], at[2]] : [at[0], at[2]];
      const corner = axis === 0 ? value(at[0], 0, 0) : value(0, at[1], 0);
      const far = axis === 0 ? value(at[0], 9, 5) : value(11, at[1], 5);
      const expected = scaled(value(at[0], at[1], at[2]), corner, far);
      assertAlmostEquals(image[row * size[0] + column], expected, 2e-3);
      assertEquals(mask[row * size[0] + column], 1);
      assertEquals(mask[0 * size[0] + column], 0); // slice z = 0 has no tumour
    }));
}

Deno.test("slices with less tumour than asked are left out", () =>
  inTemporaryFolder(async (folder) => {
    const seg = (x: number, _y: number, z: number) => x < z ? 1 : 0; // area 10 z
    await writeCase(join(folder, "d"), { id: "a", seg });
    const set = await open(join(folder, "d"), join(folder, "c"), { minTumourVoxels: 30 });
    assertEquals(set.refs.map((r) => [r.index, r.tumourVoxels]), [[3, 30], [4, 40], [5, 50]]);
  }));

Deno.test("a limit a case spreads over the slices ranked by tumour area", () =>
  inTemporaryFolder(async (folder) => {
    const seg = (x: number, _y: number, z: number) => x < z ? 1 : 0;
    await writeCase(join(folder, "d"), { id: "a", seg });
    const indices = async (maxPerCase: number) =>
      (await open(join(folder, "d"), join(folder, "c"), { maxPerCase })).refs.map((r) => r.index);
    assertEquals(await indices(9), [1, 2, 3, 4, 5]);
    assertEquals(await indices(3), [1, 3, 5]);
    assertEquals(await indices(2), [1, 5]);
    assertEquals(await indices(1), [5]);
  }));

Deno.test("cropping reports the tumour it loses, over the whole data set", () =>
  withCases(async (root, cache) => {
    // The crop of 6 keeps columns 3..8 and rows 2..7: all of the tumour.
    assertEquals((await open(root, cache, { crop: 6 })).crop, {
      tumourVoxels: 96,
      lostVoxels: 0,
      lostSlices: 0,
    });
    // The crop of 4 keeps columns 4..7 and rows 3..6: the tumour's column 3 goes.
    const set = await open(root, cache, { crop: 4, rescale: "minmax" });
    assertEquals(set.crop, { tumourVoxels: 96, lostVoxels: 24, lostSlices: 0 });
    assertEquals([set.refs[0].width, set.refs[0].height], [4, 4]);
    const { image, mask } = await set.read(set.refs[0]);
    assertEquals([...mask], [0, 0, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0]);
    // The window of intensities is the whole slice's: the crop shows the same pixels, as bright as before.
    const uncropped = await open(root, cache, { rescale: "minmax" });
    const { image: all } = await uncropped.read(uncropped.refs[0]);
    const shown = [3, 4, 5, 6].flatMap((y) => [...all.subarray(12 * y + 4, 12 * y + 8)]);
    assertEquals([...image], shown);
    assert(image[0] > 0 && image[15] < 255);
  }));

Deno.test("a crop that loses all tumour, and masks without any, are told apart", () =>
  inTemporaryFolder(async (folder) => {
    const root = join(folder, "d");
    const cache = join(folder, "c");
    await writeCase(root, { id: "a", seg: (x, y) => x === 0 && y === 0 ? 1 : 0 });
    await assertRejects(() => open(root, cache, { crop: 4 }), InputError, "crop of 4 pixels");
    await assertRejects(() => open(root, cache, { minTumourVoxels: 2 }), InputError, "no slice of");
    await writeCase(root, { id: "a", seg: () => 0 });
    await assertRejects(
      () => open(root, cache),
      InputError,
      "has 1 tumour voxels or more (target auto)",
    );
  }));

Deno.test("an image and a mask of different shape are refused, both named, nothing is kept", () =>
  withCases(async (root, cache) => {
    const other = createVolume(new Float32Array(8), { shape: [2, 2, 2] });
    const seg = join(root, "SET-MEN-1-000/SET-MEN-1-000-seg.nii.gz");
    await writeNifti(seg, other, { datatype: "uint8" });
    const error = await assertRejects(() => open(root, cache), InputError, "differ in shape");
    assert(error.message.includes("SET-MEN-1-000-t1c.nii.gz (12 x 10 x 6)"));
    assert(error.message.includes("SET-MEN-1-000-seg.nii.gz (2 x 2 x 2)"));
    await assertRejects(() => Deno.stat(cache), Deno.errors.NotFound);
  }));

Deno.test("a mask that lies elsewhere than its image is refused, one nearly there is not", () =>
  withCases(async (root, cache) => {
    const path = join(root, "SET-MEN-1-000/SET-MEN-1-000-seg.nii.gz");
    const seg = await readNifti(path);
    const write = (change: (affine: Float64Array) => void, isPlaced = true) => {
      const affine = seg.affine.slice();
      change(affine);
      return writeNifti(path, { ...seg, affine, isPlaced }, { datatype: "uint8" });
    };
    const step = 0.05 * Math.min(...seg.spacing);
    for (
      const [what, change] of [
        ["shifted by a voxel", (affine) => affine[3] += seg.spacing[0]],
        ["flipped", (affine) => affine[0] *= -1],
        ["stretched", (affine) => affine[5] *= 1.1],
      ] as [string, (affine: Float64Array) => void][]
    ) {
      await write(change);
      const error = await assertRejects(() => open(root, cache), InputError, "different places");
      assert(error.message.includes("SET-MEN-1-000-t1c.nii.gz"), what);
      assert(!error.message.includes("\n"), what);
    }
    await write((affine) => affine[3] += step);
    await open(root, cache);
    // A file that does not say where it lies is taken by its shape.
    await write((affine) => affine[3] += 50, false);
    await open(root, cache);
  }));

Deno.test("options out of range are refused", () =>
  withCases(async (root, cache) => {
    for (
      const [options, text] of [
        [{ axis: 3 }, "no axis 3"],
        [{ minTumourVoxels: -1 }, "minTumourVoxels cannot be -1"],
        [{ crop: 1.5 }, "crop cannot be 1.5"],
        [{ maxPerCase: -1 }, "maxPerCase cannot be -1"],
        [{ target: "all" }, 'unknown target "all"'],
        [{ labels: "brats" }, 'unknown scheme of labels "brats"'],
        [{ rescale: "log" }, 'unknown rescaling "log"'],
      ] as [OpenSlicesOptions, string][]
    ) {
      await assertRejects(() => open(root, cache, options), InputError, text);
    }
  }));

Deno.test("the second opening takes every case from the cache and gives equal slices", () =>
  withCases(async (root, cache) => {
    const seen: SliceProgress[] = [];
    const onProgress = (progress: SliceProgress) => seen.push(progress);
    const first = await open(root, cache, { onProgress });
    const second = await open(root, cache, { onProgress });
    assertEquals(seen.map((p) => [p.done, p.total, p.caseId, p.cached]), [
      [1, 2, "SET-MEN-1-000", false],
      [2, 2, "SET-MEN-2-000", false],
      [1, 2, "SET-MEN-1-000", true],
      [2, 2, "SET-MEN-2-000", true],
    ]);
    assertEquals(second.refs, first.refs);
    assertEquals(await second.read(second.refs[5]), await first.read(first.refs[5]));
  }));

Deno.test("a changed volume and a changed option are extracted anew", () =>
  withCases(async (root, cache) => {
    const cached: boolean[] = [];
    const onProgress = (progress: SliceProgress) => cached.push(progress.cached);
    await open(root, cache);
    await writeCase(root, { id: "SET-MEN-2-000", seg: (x, _y, z) => x < 9 && z === 0 ? 1 : 0 });
    const set = await open(root, cache, { onProgress });
    assertEquals(cached, [true, false]);
    assertEquals(set.refs.at(-1)!.index, 0);
    await open(root, cache, { rescale: "zscore", onProgress });
    assertEquals(cached.slice(2), [false, false]);
  }));

const damage: [string, (path: string) => Promise<void>][] = [
  ["cut short", async (path) => await Deno.truncate(path, 50)],
  ["emptied", async (path) => await Deno.truncate(path, 0)],
  ["removed", async (path) => await Deno.remove(path)],
  ["grown", async (path) => await Deno.writeFile(path, new Uint8Array(9), { append: true })],
  ["changed in its index", (path) => change(path, () => 20)],
  ["given an absurd index length", (path) => change(path, () => 3)],
  ["changed in its pixels", (path) => change(path, (size) => size - 20)],
];

async function change(path: string, at: (size: number) => number): Promise<void> {
  const bytes = await Deno.readFile(path);
  bytes[at(bytes.length)] ^= 0xff;
  await Deno.writeFile(path, bytes);
}

for (const [what, spoil] of damage) {
  Deno.test(`a cache file that was ${what} is made again, before and after opening`, () =>
    withCases(async (root, cache) => {
      const before = await open(root, cache);
      const expected = await Promise.all(before.refs.map((ref) => before.read(ref)));
      for (const file of await cacheFiles(cache)) await spoil(file);
      for (const [i, ref] of before.refs.entries()) {
        assertEquals(await before.read(ref), expected[i]); // the open set repairs itself
      }
      for (const file of await cacheFiles(cache)) await spoil(file);
      const after = await open(root, cache);
      for (const [i, ref] of after.refs.entries()) {
        assertEquals(await after.read(ref), expected[i]);
      }
      assert((await cacheFiles(cache)).every((file) => file.endsWith(".slices")));
    }));
}

Deno.test("a volume that changed under an open set is reported, not mixed in", () =>
  withCases(async (root, cache) => {
    const set = await open(root, cache);
    for (const file of await cacheFiles(cache)) await Deno.remove(file);
    await writeCase(root, { id: "SET-MEN-1-000", image: (x) => x, shape: [14, 10, 6] });
    await assertRejects(() => set.read(set.refs[0]), InputError, "changed while they were in use");
    await assertRejects(
      () => set.read({ ...set.refs[0], id: "other:2:0" }),
      InputError,
      "not among the chosen slices",
    );
  }));

Deno.test("tumour-free slices are those without a tumour voxel that show something", () =>
  withCases(async (root, cache) => {
    const dataset = await openDataset(root);
    // The sixth slice of one case is air.
    const [{ image: path }] = dataset.cases;
    const volume = await readNifti(path);
    const data = volume.data.map((value, i) => i < 600 ? value : 7);
    await writeNifti(path, { ...volume, data }, { datatype: "float32" });
    const tumour = await openSlices(dataset, { minTumourVoxels: 12, cache });
    const free = await openSlices(dataset, { tumourFree: true, cache });
    const indices = (of: typeof free) => of.refs.map(({ caseId, index }) => `${caseId} ${index}`);
    // Slices 1 to 4 of each have tumour.
    assertEquals(indices(free), ["SET-MEN-1-000 0", "SET-MEN-2-000 0", "SET-MEN-2-000 5"]);
    assert(free.refs.every(({ tumourVoxels }) => tumourVoxels === 0));
    const { mask } = await free.read(free.refs[0]);
    assert(mask.every((pixel) => pixel === 0));
    const one = await openSlices(dataset, { tumourFree: true, maxPerCase: 1, cache });
    assertEquals(indices(one), ["SET-MEN-1-000 0", "SET-MEN-2-000 0"]);

    const both = joinSlices(tumour, free);
    assertEquals(both.refs, [...tumour.refs, ...free.refs]);
    assertEquals((await both.read(free.refs[2])).image, (await free.read(free.refs[2])).image);
    assertEquals((await both.read(tumour.refs[0])).mask, (await tumour.read(tumour.refs[0])).mask);
    assertEquals([...both.fingerprints.keys()], [...tumour.fingerprints.keys()]);
    for (const [id, text] of both.fingerprints) assert(text !== tumour.fingerprints.get(id));
    const elsewhere = { ...free, dataset: { ...dataset, root: "/elsewhere" } };
    assertThrows(() => joinSlices(tumour, elsewhere), InputError, "SET-MEN-1-000");
  }));
