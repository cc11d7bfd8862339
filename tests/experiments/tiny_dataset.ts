import { join } from "node:path";
import { writeNifti } from "../../lib/data/nifti_file.ts";
import { createVolume } from "../../lib/formats/volume.ts";
import { Random } from "../../lib/random.ts";

/** Voxels of a tiny case: two slices of 32 x 32. */
export const tinyShape: readonly [number, number, number] = [32, 32, 2];

/** Noise with a bright disc, and the disc as its mask. */
export function tinyCase(patient: number): { image: Float32Array; mask: Float32Array } {
  const random = new Random(patient);
  const [cx, cy, r] = [10 + random.int(12), 10 + random.int(12), 5 + random.int(3)];
  const mask = Float32Array.from({ length: 2048 }, (_, i) => {
    const [x, y] = [i % 32, Math.floor(i / 32) % 32];
    return (x - cx) ** 2 + (y - cy) ** 2 < r * r ? 1 : 0;
  });
  return { image: mask.map((inside) => 40 + 100 * inside + 10 * random.normal()), mask };
}

/** Path of a file of a tiny data set. */
export function tinyFile(
  folder: string,
  patient: number,
  kind: "t1c" | "seg",
  name = "TINY",
): string {
  const id = `${name}-MEN-0000${patient}-000`;
  return join(folder, "data", id, `${id}-${kind}.nii.gz`);
}

/**
 * A new folder with a data set of some patients, in BraTS layout, in its subfolder `data`.
 *
 * @param options.name First part of the patients' names.
 * @param options.tumour False for noise alone.
 */
export async function tinyDataset(
  patients: number,
  { name = "TINY", tumour = true }: { name?: string; tumour?: boolean } = {},
): Promise<string> {
  const folder = await Deno.makeTempDir();
  for (let patient = 1; patient <= patients; patient++) {
    const made = tinyCase(patient);
    const image = tumour ? made.image : made.image.map((value, i) => value - 100 * made.mask[i]);
    const mask = tumour ? made.mask : made.mask.map(() => 0);
    await Deno.mkdir(join(tinyFile(folder, patient, "t1c", name), ".."), { recursive: true });
    const write = (kind: "t1c" | "seg", data: Float32Array) =>
      writeNifti(tinyFile(folder, patient, kind, name), createVolume(data, { shape: tinyShape }), {
        datatype: kind === "seg" ? "uint8" : "float32",
      });
    await write("t1c", image);
    await write("seg", mask);
  }
  return folder;
}
