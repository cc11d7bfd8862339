import { assertEquals, assertRejects } from "@std/assert";
import { writeNifti } from "../../lib/data/nifti_file.ts";
import { join } from "node:path";
import { openDataset } from "../../lib/data/dataset.ts";
import { openSlices } from "../../lib/data/slices.ts";
import { createVolume } from "../../lib/formats/volume.ts";
import { InputError } from "../../lib/errors.ts";
import { tinyCase, tinyShape } from "../experiments/tiny_dataset.ts";
import { inTemporaryFolder } from "./temporary.ts";

/** Writes cases in nnU-Net's layout, the image as its second channel, and dataset.json. */
async function write(root: string, description: unknown, ...ids: string[]): Promise<void> {
  for (const folder of ["imagesTr", "labelsTr"]) await Deno.mkdir(join(root, folder));
  for (const [patient, id] of ids.entries()) {
    const { image, mask } = tinyCase(patient + 1);
    const file = (path: string, data: Float32Array) =>
      writeNifti(join(root, path), createVolume(data, { shape: tinyShape }), {
        datatype: "float32",
      });
    await file(`imagesTr/${id}_0000.nii.gz`, image.map((grey) => 200 - grey));
    await file(`imagesTr/${id}_0001.nii.gz`, image);
    await file(`labelsTr/${id}.nii.gz`, mask);
  }
  await Deno.writeTextFile(join(root, "dataset.json"), JSON.stringify(description));
}

const description = { channel_names: { 0: "FLAIR", 1: "T1ce" }, file_ending: ".nii.gz" };

Deno.test("a data set in nnU-Net's layout gives the cases of labelsTr with the modality's channel", () =>
  inTemporaryFolder(async (root) => {
    await write(root, description, "MEN-002-0", "MEN-001-0", "MEN-001-1");
    const dataset = await openDataset(root);
    assertEquals(
      dataset.cases.map(({ id, patient }) => `${id} of ${patient}`),
      ["MEN-001-0 of MEN-001", "MEN-001-1 of MEN-001", "MEN-002-0 of MEN-002"],
    );
    assertEquals(dataset.cases[0].image, join(root, "imagesTr", "MEN-001-0_0001.nii.gz"));
    const flair = await openDataset(root, { modality: "flair" });
    assertEquals(flair.cases[0].image, join(root, "imagesTr", "MEN-001-0_0000.nii.gz"));
    const slices = await openSlices(dataset, { cache: join(root, "cache") });
    assertEquals(slices.refs.length, 6);
    const { mask } = await slices.read(slices.refs[4]); // of MEN-002-0, which was written first
    assertEquals([...mask], [...tinyCase(1).mask.subarray(0, 1024)]);
  }));

Deno.test("one channel is taken whatever its name, as is version 1 of dataset.json", () =>
  inTemporaryFolder(async (root) => {
    await write(root, { modality: { 0: "MRI" } }, "a");
    assertEquals((await openDataset(root)).cases[0].image, join(root, "imagesTr/a_0000.nii.gz"));
  }));

for (
  const [fault, given, text] of [
    ["channels of other names", { channel_names: { 0: "CT", 1: "PET" } }, "among CT, PET"],
    ["no channels", { labels: {} }, "names no channels"],
    ["other files", { ...description, file_ending: ".png" }, "convert them to .nii.gz"],
  ] as const
) {
  Deno.test(`nnU-Net's dataset.json with ${fault} is refused`, () =>
    inTemporaryFolder(async (root) => {
      await write(root, given, "a");
      await assertRejects(() => openDataset(root), InputError, text);
    }));
}

Deno.test("a label without its image, and a missing dataset.json, are refused by name", () =>
  inTemporaryFolder(async (root) => {
    await write(root, description, "a");
    await Deno.remove(join(root, "imagesTr/a_0001.nii.gz"));
    await assertRejects(() => openDataset(root), InputError, "has no imagesTr/a_0001.nii.gz");
    await Deno.remove(join(root, "dataset.json"));
    await assertRejects(() => openDataset(root), InputError, "dataset.json cannot be read");
  }));
