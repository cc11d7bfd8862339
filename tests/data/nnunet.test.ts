import { assertEquals, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { encodeNifti } from "../../lib/formats/nifti_writer.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
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

/** Writes volumes of one grid as one 4D file. */
async function writeChannels(path: string, channels: readonly Float32Array[]): Promise<void> {
  const volumes = channels.map((data) =>
    encodeNifti(createVolume(data, { shape: tinyShape }), {
      datatype: "float32",
      source: path,
    })
  );
  const file = Buffer.concat([volumes[0].subarray(0, 352), ...volumes.map((v) => v.subarray(352))]);
  file.writeInt16LE(4, 40);
  file.writeInt16LE(channels.length, 48);
  await writeFileAtomic(path, gzipSync(file));
}

Deno.test("the Decathlon's files of all channels give the modality's, and its labels are known", () =>
  inTemporaryFolder(async (root) => {
    const labels = { 0: "background", 1: "edema", 2: "non-enhancing tumor", 3: "enhancing tumour" };
    await write(root, { modality: { 0: "FLAIR", 1: "t1gd" }, labels }, "BRATS_001", "BRATS_002");
    const images = new Map<string, readonly Float32Array[]>();
    for (const { name } of [...Deno.readDirSync(join(root, "imagesTr"))]) {
      await Deno.remove(join(root, "imagesTr", name));
    }
    for (const [i, id] of ["BRATS_001", "BRATS_002"].entries()) {
      const { image } = tinyCase(i + 1);
      images.set(id, [image.map((grey) => 200 - grey), image]);
      await writeChannels(join(root, `imagesTr/${id}.nii.gz`), images.get(id)!);
    }
    const opened = await openDataset(root);
    assertEquals([opened.labels, opened.cases.map(({ channel }) => channel)], ["decathlon", [
      1,
      1,
    ]]);
    const first = async (modality: string) => {
      const dataset = await openDataset(root, { modality });
      const { image } = await dataset.cases[0].load();
      assertEquals(image.data, images.get("BRATS_001")![modality === "t1c" ? 1 : 0]);
      await writeNifti(join(root, "mask.nii"), image, { datatype: "float32" });
      assertEquals((await readNifti(join(root, "mask.nii"))).data, image.data);
      const slices = await openSlices(dataset, { cache: join(root, "cache"), labels: "brats2023" });
      return (await slices.read(slices.refs[0])).image;
    };
    assertEquals(await first("t1c") === await first("flair"), false);
    const [t1c, flair] = [await first("t1c"), await first("flair")];
    assertEquals(t1c.every((value, i) => value === flair[i]), false); // each cached by itself
    await writeChannels(join(root, "imagesTr/BRATS_002.nii.gz"), [images.get("BRATS_002")![0]]);
    const short = await openDataset(root);
    await assertRejects(() => short.cases[1].load(), InputError, "has 1 channels, and channel 1");
  }));

for (
  const [labels, scheme] of [
    [{ background: 0, edema: 1, necrosis: 2, enhancing: 3 }, "decathlon"],
    [{ background: 0, NETC: 1, SNFH: 2, ET: 3 }, "brats2023"],
    [{ background: 0, NCR: 1, ED: 2, ET: 3, "resection cavity": 4 }, "brats2024"],
    [{ background: 0, NCR: 1, ED: 2, ET: 4 }, "brats2020"],
    [{ background: 0, tumour: 1 }, null],
    [
      { background: 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3] },
      null,
    ],
  ] as const
) {
  Deno.test(`labels ${Object.keys(labels).slice(1).join(", ")} of nnU-Net are ${scheme}`, () =>
    inTemporaryFolder(async (root) => {
      await write(root, { ...description, labels }, "BraTS2021_00001"); // the name tells nothing here
      assertEquals((await openDataset(root)).labels, scheme);
    }));
}

for (
  const [fault, given, text] of [
    ["channels of other names", { channel_names: { 0: "CT", 1: "PET" } }, "among CT, PET"],
    ["no channels", { labels: {} }, "names no channels"],
    ["other files", { ...description, file_ending: ".mat" }, "convert them to .nii.gz"],
    ["another ending", { ...description, file_ending: ".png" }, "no file that ends in .png"],
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
