import { InputError } from "../errors.ts";
import type { Volume } from "../formats/volume.ts";

/**
 * Labels that count as tumour. `auto` is any label above 0 and suits every data set; the others are BraTS'
 * regions: whole tumour, tumour core, enhancing tumour.
 */
export type Target = "auto" | "wt" | "tc" | "et";

/** All targets, for messages and option parsers. */
export const TARGETS: readonly Target[] = ["auto", "wt", "tc", "et"];

/**
 * Binarises a segmentation. Labels as in BraTS-MEN: 1 non-enhancing core, 2 oedema (SNFH), 3
 * enhancing; tc is 1 and 3, et is 3. A volume that has label 4 is of the older BraTS scheme, where 4
 * is the enhancing tumour and 3 a part of the core: there et is 4, and tc is 1, 3 and 4. `wt` and
 * `auto` are everything above 0.
 *
 * @param name The file's name, for messages.
 * @returns 1 where there is tumour, in the volume's voxel order.
 * @throws {InputError} if a voxel is negative or not whole, or a region other than the whole is asked
 * of labels that are not BraTS'.
 */
export function binarise(
  seg: Volume,
  { target, name }: { target: Target; name: string },
): Uint8Array {
  const labels = seg.data;
  let highest = 0;
  // An iterator takes five times as long over millions of voxels.
  for (let i = 0; i < labels.length; i++) {
    const label = labels[i];
    if (label < 0 || label !== Math.floor(label)) {
      throw new InputError(
        `${name} is not a segmentation (it holds the value ${label}): labels are whole numbers ` +
          `from 0, so give the mask and not an image`,
      );
    }
    if (label > highest) highest = label;
  }
  const mask = new Uint8Array(labels.length);
  if (target === "auto" || target === "wt") {
    for (let i = 0; i < labels.length; i++) mask[i] = labels[i] > 0 ? 1 : 0;
    return mask;
  }
  if (highest > 4) {
    throw new InputError(
      `${name} has label ${highest}, which is not one of BraTS' 0 to 4: ` +
        `ask for the target auto instead of ${target}`,
    );
  }
  const older = highest === 4;
  const wanted = target === "et" ? [older ? 4 : 3] : [1, 3, 4];
  for (let i = 0; i < labels.length; i++) mask[i] = wanted.includes(labels[i]) ? 1 : 0;
  return mask;
}
