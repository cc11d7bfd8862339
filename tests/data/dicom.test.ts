import { assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { basename, join } from "node:path";
import { inspectDataset } from "../../lib/data/inspect.ts";
import { openScans } from "../../lib/data/scans.ts";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { InputError } from "../../lib/errors.ts";
import type { Volume } from "../../lib/formats/volume.ts";
import { inTemporaryFolder } from "./temporary.ts";

const FIXTURES = join(import.meta.dirname!, "..", "formats", "fixtures", "formats");

/** Copies a series of five slices into a folder that it makes. */
async function copySeries(folder: string): Promise<void> {
  await Deno.mkdir(folder, { recursive: true });
  const from = join(FIXTURES, "dicom_one");
  for (const { name } of Deno.readDirSync(from)) {
    await Deno.copyFile(join(from, name), join(folder, name));
  }
}

/** A series as SimpleITK reads it. */
interface Facts {
  shape: number[];
  affine: number[];
  data: number[];
}
const facts: Record<string, Record<string, Facts>> = JSON.parse(
  Deno.readTextFileSync(join(FIXTURES, "formats.json")),
);

/** Voxel of `other` where voxel `at` of `volume` lies, by their affines; both have orthogonal axes. */
function voxelIn(other: Facts, { affine }: Volume, at: readonly number[]): number[] {
  const place = [0, 1, 2].map((row) =>
    affine[4 * row + 3] + at.reduce((sum, n, i) => sum + n * affine[4 * row + i], 0)
  );
  return [0, 1, 2].map((i) => {
    const axis = [0, 1, 2].map((row) => other.affine[4 * row + i]);
    const offset = place.map((mm, row) => mm - other.affine[4 * row + 3]);
    return axis.reduce((sum, part, row) => sum + part * offset[row], 0) /
      axis.reduce((sum, part) => sum + part * part, 0);
  });
}

/** Compares every voxel by its place; the order of axes and slices may differ. */
function assertSamePlaces(volume: Volume, expected: Facts): void {
  assertEquals([...volume.shape].sort(), [...expected.shape].sort());
  const [nx, ny] = volume.shape;
  const [ex, ey] = expected.shape;
  for (let i = 0; i < volume.data.length; i++) {
    const voxel = voxelIn(expected, volume, [
      i % nx,
      Math.floor(i / nx) % ny,
      Math.floor(i / nx / ny),
    ]);
    const [x, y, z] = voxel.map(Math.round);
    for (const [axis, at] of voxel.entries()) assertAlmostEquals(at, [x, y, z][axis], 1e-4);
    assertEquals(volume.data[i], expected.data[x + ex * (y + ey * z)], `voxel ${i}`);
  }
}

Deno.test("a DICOM series is ordered and placed as SimpleITK does, and a mask lies where it does", async () => {
  const { scans, notes } = await openScans([join(FIXTURES, "dicom_one")]);
  assertEquals(scans.map(({ id, patient }) => `${id} of ${patient}`), ["dicom_one of P7"]);
  assertEquals(notes, []);
  const volume = await scans[0].load();
  assertSamePlaces(volume, facts.dicom_one["5"]);
  await inTemporaryFolder(async (folder) => {
    const path = join(folder, "mask.nii.gz");
    const data = volume.data.map((value) => Number(value > 1500));
    await writeNifti(path, { ...volume, data }, { datatype: "uint8" });
    const mask = await readNifti(path);
    assertEquals([mask.affine, mask.data], [volume.affine, data]);
  });
});

Deno.test("a file of several frames is a volume, given by its folder or by itself", async () => {
  for (const path of ["dicom_frames", "dicom_frames/frames.dcm"]) {
    const { scans: [scan, ...others] } = await openScans([join(FIXTURES, path)]);
    assertEquals([scan.id, others], [path.includes("/") ? "frames" : "dicom_frames", []]);
    assertSamePlaces(await scan.load(), facts.dicom_frames["9"]);
  }
  // Of packed frames the converter reads the first alone.
  const { scans: [packed] } = await openScans([join(FIXTURES, "dicom_packed")]);
  await assertRejects(() => packed.load(), InputError, "packed in 4 fragments");
});

Deno.test("series that lie in one folder are told apart, and each read twice is the same", async () => {
  const { scans, notes } = await openScans([join(FIXTURES, "dicom_two")]);
  assertEquals(scans.map(({ id }) => id), ["dicom_two_3", "dicom_two_4"]);
  assertEquals(notes.length, 1);
  assertEquals(
    notes[0].includes('dicom_two_3 ("t1 pre"), dicom_two_4 ("t1 post")'),
    true,
    notes[0],
  );
  for (const [i, number] of ["4", "3"].entries()) {
    const volume = await scans[1 - i].load();
    assertSamePlaces(volume, facts.dicom_two[number]);
    assertEquals((await scans[1 - i].load()).data, volume.data);
  }
});

Deno.test("folders of patient and study are gone through, files that are no DICOM are named", () =>
  inTemporaryFolder(async (root) => {
    const folder = join(root, "patient", "study", "series 1");
    await copySeries(folder);
    await Deno.writeTextFile(join(folder, "notes.txt"), "none");
    const { scans, notes } = await openScans([root]);
    assertEquals(scans.map(({ id, path }) => [id, path]), [["series 1", folder]]);
    assertEquals(notes, [`Left aside in ${folder}: notes.txt is no DICOM image.`]);
    // A slice is missing: the volume would be bent.
    for (const { name } of Deno.readDirSync(folder)) {
      const text = new TextDecoder("latin1").decode(Deno.readFileSync(join(folder, name)));
      if (text.includes("\x20\x00\x13\x00IS\x02\x003 ")) await Deno.remove(join(folder, name));
    }
    const [scan] = (await openScans([root])).scans;
    await assertRejects(() => scan.load(), InputError, "has slices at unequal distances");
    assertEquals(Deno.exitCode, 0);
    const [first] = [...Deno.readDirSync(folder)].filter(({ name }) => name !== "notes.txt");
    const single = await openScans([join(folder, first.name)]);
    assertEquals(single.scans.map(({ id }) => id), [basename(first.name)]);
    assertEquals((await single.scans[0].load()).shape, [16, 12, 1]);
  }));

Deno.test("slices that are taken for scans of their own are all found, and the reason is said", () =>
  inTemporaryFolder(async (root) => {
    const from = join(FIXTURES, "dicom_one");
    for (const [i, { name }] of [...Deno.readDirSync(from)].entries()) {
      const bytes = await Deno.readFile(join(from, name));
      const date = new TextDecoder("latin1").decode(bytes).indexOf("20200101");
      bytes[date + 7] += i; // another day each
      await Deno.writeFile(join(root, name), bytes);
    }
    const { scans, notes } = await openScans([root]);
    assertEquals(new Set(scans.map(({ id }) => id)).size, 5);
    const values = new Set<number>();
    for (const scan of scans) {
      const { shape, data } = await scan.load();
      assertEquals(shape, [16, 12, 1]);
      values.add(data[0] + 1e4 * data[1] + 1e8 * data[2]);
    }
    assertEquals(values.size, 5);
    assertEquals(/holds 5 DICOM series/.test(notes[0]), true, notes[0]);
    assertEquals(/Slices not stacked: .* varies/.test(notes[1]), true, notes[1]);
  }));

Deno.test("DICOM without images is refused in a sentence, and nothing beside it", () =>
  inTemporaryFolder(async (root) => {
    const bytes = new Uint8Array(200);
    bytes.set(new TextEncoder().encode("DICM"), 128);
    await Deno.mkdir(join(root, "damaged"));
    await Deno.writeFile(join(root, "damaged", "x.dcm"), bytes);
    await copySeries(join(root, "sound"));
    const { scans: [damaged, sound, ...others] } = await openScans([root]);
    assertEquals([damaged.id, sound.id, others], ["damaged", "sound", []]);
    const error = await assertRejects(() => damaged.load(), InputError, "the DICOM files of");
    assertEquals(/\n|\/in\b/.test(error.message), false, error.message);
    assertEquals((await sound.load()).shape, [16, 12, 5]);
    const { cases, leftOut } = await inspectDataset(root, {
      modality: "t1c",
      patients: null,
      target: "auto",
      labels: null,
      axis: 2,
      minTumourVoxels: 20,
    });
    assertEquals(cases.map(({ id }) => id), ["sound"]);
    assertEquals(leftOut[0].reason.startsWith("cannot be used: the DICOM files of"), true);
  }));

Deno.test("a slice that is cut short is named", () =>
  inTemporaryFolder(async (root) => {
    const folder = join(root, "scan");
    await copySeries(folder);
    const [{ name }] = [...Deno.readDirSync(folder)];
    const path = join(folder, name);
    await Deno.truncate(path, (await Deno.stat(path)).size - 100);
    const { scans: [scan] } = await openScans([root]);
    const error = await assertRejects(() => scan.load(), InputError, "not large enough");
    assertEquals(error.message.includes(name), true, error.message);
  }));

Deno.test("series of one name are told apart by the folders that they lie in", () =>
  inTemporaryFolder(async (root) => {
    for (const patient of ["A", "B"]) await copySeries(join(root, patient, "study", "SE0"));
    const { scans, notes } = await openScans([root]);
    assertEquals(scans.map(({ id }) => id), ["A_study_SE0", "B_study_SE0"]);
    assertEquals(notes, ["2 scans by the name SE0 are called A_study_SE0, B_study_SE0."]);
  }));
