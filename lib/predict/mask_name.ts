import { CHANNEL } from "../data/sources/names.ts";
import { bareName, endingOf } from "../formats/volume_file.ts";

/**
 * The name of a scan's mask: nnU-Net's and BIDS's where the scan's file is named so, else BraTS's.
 *
 * @param scan.id Name of the case.
 * @param scan.path File of the scan.
 */
export function maskName({ id, path }: { id: string; path: string }): string {
  const ending = endingOf(path);
  const name = bareName(path).slice(0, ending === null ? undefined : -ending.length);
  if (CHANNEL.test(name)) return `${name.slice(0, -5)}.nii.gz`; // nnU-Net's channel
  if (/^sub-.*_[A-Za-z0-9]+$/.test(name)) return name.replace(/_[A-Za-z0-9]+$/, "_dseg.nii.gz");
  return `${id}-seg.nii.gz`;
}
