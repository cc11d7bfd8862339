// Makes experiments/sample from a data set in BraTS layout, one slice a scan:
//   deno run -A tests/reference/make_sample.ts DATA
// Rule: of each scan the slice along the last axis with the most tumour voxels, the first of equal ones.
// Image and mask keep their voxels and spacing; the affine's origin moves to the slice.
import { join } from "node:path";
import { readNifti, writeNifti } from "../../lib/data/nifti_file.ts";
import { openDataset } from "../../lib/data/dataset.ts";
import { createVolume, type Volume } from "../../lib/formats/volume.ts";

/** Slice z of a volume, as a volume of one slice that lies where it did. */
function sliceOf(volume: Volume, z: number): Volume {
  const [nx, ny] = volume.shape;
  const affine = volume.affine.slice();
  for (let row = 0; row < 3; row++) affine[4 * row + 3] += z * affine[4 * row + 2];
  return createVolume(volume.data.slice(z * nx * ny, (z + 1) * nx * ny), {
    shape: [nx, ny, 1],
    spacing: volume.spacing,
    affine,
  });
}

const sample = join(import.meta.dirname!, "..", "..", "experiments", "sample");
for (const { id, image, seg } of (await openDataset(Deno.args[0])).cases) {
  const mask = await readNifti(seg);
  const [nx, ny, nz] = mask.shape;
  const areas = Array.from(
    { length: nz },
    (_, z) =>
      mask.data.subarray(z * nx * ny, (z + 1) * nx * ny).filter((label) => label > 0).length,
  );
  const z = areas.indexOf(Math.max(...areas));
  await Deno.mkdir(join(sample, id), { recursive: true });
  for (const [volume, kind] of [[await readNifti(image), "t1c"], [mask, "seg"]] as const) {
    const path = join(sample, id, `${id}-${kind}.nii.gz`);
    const description = new TextDecoder().decode(volume.header!.subarray(148, 228))
      .replace(/\0.*$/s, "");
    await writeNifti(path, sliceOf(volume, z), { datatype: "uint8", description });
  }
}
