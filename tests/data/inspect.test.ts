import { assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { inspectDataset, type InspectOptions } from "../../lib/data/inspect.ts";
import { InputError } from "../../lib/errors.ts";
import { inTemporaryFolder, writeCase } from "./temporary.ts";

const DICOM = join(import.meta.dirname!, "..", "formats", "fixtures", "formats", "dicom_two");

const options: InspectOptions = {
  modality: "t1c",
  patients: null,
  target: "auto",
  labels: null,
  axis: 2,
  minTumourVoxels: 5,
};

Deno.test("a survey counts cases, patients, labels and slices, and goes on past what cannot be used", () =>
  inTemporaryFolder(async (root) => {
    // 4 x 3 pixels of label 1 in slices 1 to 4 of 6, unless told otherwise.
    await writeCase(root, { id: "S-1-000" });
    await writeCase(root, {
      id: "S-1-001",
      seg: (x, y, z) => z === 2 && x < 3 && y < 3 ? 2 : z === 3 && x === 0 && y < 2 ? 4 : 0,
    });
    await writeCase(root, { id: "S-2-000", seg: () => 0 });
    await writeCase(root, { id: "S-3-000", image: () => 7 });
    await writeCase(root, { id: "S-4-000" });
    await Deno.writeTextFile(join(root, "S-4-000", "S-4-000-seg.nii.gz"), "text");
    await writeCase(root, { id: "S-5-000" });
    await Deno.remove(join(root, "S-5-000", "S-5-000-t1c.nii.gz"));
    await Deno.mkdir(join(root, "lost+found"));
    const progress: number[] = [];
    const found = await inspectDataset(root, {
      ...options,
      onProgress: (done) => progress.push(done),
    });
    assertEquals(progress, [1, 2, 3, 4, 5]);
    assertEquals([found.layout, found.modality, found.scheme], ["BraTS", "t1c", null]);
    assertEquals(found.cases.map(({ id }) => id), ["S-1-000", "S-1-001", "S-2-000", "S-3-000"]);
    assertEquals(found.patients, [
      { id: "S-1", cases: ["S-1-000", "S-1-001"] },
      { id: "S-2", cases: ["S-2-000"] },
      { id: "S-3", cases: ["S-3-000"] },
      { id: "S-4", cases: ["S-4-000"] },
    ]);
    assertEquals(found.cases[1].slices, { tumour: 1, little: 1, empty: 4 });
    assertEquals(found.cases[1].labels, { 2: 9, 4: 2 });
    assertEquals(found.labels, { 1: 96, 2: 9, 4: 2 });
    assertEquals(found.slices, { tumour: 9, little: 1, empty: 14 });
    assertEquals(found.spacings, [{ spacing: [1, 2, 3], cases: 4 }]);
    assertEquals(found.warnings, ["Note: S-3-000-t1c.nii.gz: its voxels all have the value 7"]);
    assertEquals(found.leftOut.map(({ name }) => name), [
      "lost+found",
      "S-5-000",
      "S-2-000",
      "S-4-000",
    ]);
    assertEquals(found.leftOut[2].reason, "has no slice with 5 tumour pixels or more");
    assertEquals(
      /cannot be used: .*seg.nii.gz is not a NIfTI file/.test(found.leftOut[3].reason),
      true,
    );

    const other = await inspectDataset(root, { ...options, axis: 0, labels: "brats2024" });
    assertEquals(other.cases[0].slices, { tumour: 4, little: 0, empty: 8 });
    assertEquals(other.cases[1].slices, { tumour: 0, little: 3, empty: 9 }); // 4 is no tumour there
    await assertRejects(
      () => inspectDataset(root, { ...options, target: "et" }),
      InputError,
      "give --labels",
    );
  }));

Deno.test("scans without segmentations are surveyed, DICOM's with the patient of their headers", async () => {
  const found = await inspectDataset(DICOM, options);
  assertEquals(found.layout, null);
  assertEquals(found.patients, [{ id: "P7", cases: ["dicom_two_3", "dicom_two_4"] }]);
  assertEquals(found.grouping, "1 patient in 2 cases (by DICOM headers)");
  assertEquals(found.leftOut.map(({ reason }) => reason), Array(2).fill("has no segmentation"));
});
