/**
 * Exports the slices of one part of a finished study in nnU-Net's raw layout, with the part's own split, so that a
 * peer trains, validates and is tested on the same slices:
 *
 *     deno run -A tests/peers/export_slices.ts STUDY --part seed_0-fold_1 --data DIR [--healthy DIR] --out DIR
 *
 * Writes `Dataset001_Peer` (imagesTr, labelsTr, imagesTs, dataset.json), `splits_final.json` and `slices.json`,
 * the slice of each file. Pixels are those that the models see before they are resized, 0 to 255; tumour-free
 * slices of training patients are trained on where the study did.
 *
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import type { SliceRef } from "../../lib/data/slices.ts";
import { writeNifti } from "../../lib/data/nifti_file.ts";
import { createVolume } from "../../lib/formats/volume.ts";
import { readRuns } from "../../lib/study/results.ts";
import { parseConfig } from "../../lib/study/schema.ts";
import { openStudyData, type StudyData } from "../../lib/study/study_data.ts";

/** Data of a part of a study, as it was split and cut there. */
export async function openPart(
  study: string,
  { part, data, healthy }: { part: string; data: string; healthy: string | null },
): Promise<StudyData> {
  const run = (await readRuns(study))?.find((run) => run.part === part);
  if (!run) throw new Error(`${study} has no part "${part}": see its runs.json`);
  const config = parseConfig(run.config, study);
  const found = await openStudyData({ ...config, data, healthy }, console.log);
  const same = (["train", "validation", "test"] as const).every((name) =>
    found.split[name].join() === run.split[name].join()
  );
  if (!same) throw new Error(`${data} is not the data set that ${study} was split from`);
  return found;
}

/** Writes some slices as volumes of one slice, and returns their files' names by slice. */
async function write(
  { slices }: StudyData,
  refs: readonly SliceRef[],
  { images, labels, prefix }: { images: string; labels: string | null; prefix: string },
): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  for (const [i, ref] of refs.entries()) {
    const { image, mask } = await slices.read(ref);
    const name = `${prefix}_${String(i).padStart(4, "0")}`;
    names.set(ref.id, name);
    const volume = (values: Float32Array) =>
      createVolume(values, {
        shape: [ref.width, ref.height, 1],
        spacing: [...ref.spacing, ref.sliceSpacing],
      });
    await writeNifti(join(images, `${name}_0000.nii.gz`), volume(image), { datatype: "float32" });
    if (labels === null) continue;
    const truth = volume(Float32Array.from(mask, (pixel) => Number(pixel !== 0)));
    await writeNifti(join(labels, `${name}.nii.gz`), truth, { datatype: "uint8" });
  }
  return names;
}

if (import.meta.main) {
  const { _: [study], part, data, healthy, out } = parseArgs(Deno.args, {
    string: ["part", "data", "healthy", "out", "_"],
  }) as { _: string[]; part?: string; data?: string; healthy?: string; out?: string };
  if (!study || !data || !out) throw new Error("give STUDY, --data and --out");
  const found = await openPart(study, { part: part ?? "", data, healthy: healthy ?? null });
  const { parts, healthy: free } = found;
  const root = join(out, "Dataset001_Peer");
  const [images, labels] = [join(root, "imagesTr"), join(root, "labelsTr")];
  const train = await write(found, [...parts.train, ...free.train], {
    images,
    labels,
    prefix: "train",
  });
  // Inner validation is by Dice: of tumour-free slices there is none.
  const validation = await write(found, parts.validation, { images, labels, prefix: "val" });
  const test = await write(found, [...parts.test, ...free.test], {
    images: join(root, "imagesTs"),
    labels: null,
    prefix: "test",
  });
  const json = (path: string, value: unknown) =>
    Deno.writeTextFile(path, JSON.stringify(value, null, 1) + "\n");
  await json(join(root, "dataset.json"), {
    channel_names: { "0": "T1c" },
    labels: { background: 0, tumour: 1 },
    numTraining: train.size + validation.size,
    file_ending: ".nii.gz",
  });
  await json(join(out, "splits_final.json"), [
    { train: [...train.values()], val: [...validation.values()] },
  ]);
  await json(
    join(out, "slices.json"),
    Object.fromEntries([...test].map(([id, name]) => [name, id])),
  );
  console.log(
    `Written: ${out}: ${train.size} slices to train on, ${validation.size} to validate, ${test.size} to segment`,
  );
}
