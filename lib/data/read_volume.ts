/**
 * Volumes from files on disk.
 *
 * @module
 */
import { noteConstant, type Volume } from "../formats/volume.ts";
import { parseVolume, requireExact, requireFormat } from "../formats/volume_file.ts";
import { openWhole } from "./detached.ts";
import { gunzip } from "./nifti_file.ts";

/**
 * Reads a volume of any of the formats.
 *
 * @param channel Index of the volume in a file of several; null for a file of one.
 * @throws {InputError} if the ending is not known, or the file is not one sound volume.
 */
export async function readVolume(path: string, channel: number | null = null): Promise<Volume> {
  requireFormat(path);
  using file = openWhole(path);
  return await parseVolume(file, { channel, gunzip });
}

/**
 * Reads an image, noting if it shows nothing.
 *
 * @param channel Index of the volume in a file of several; null for a file of one.
 * @throws {InputError} as {@linkcode readVolume}.
 */
export async function readImage(
  path: string,
  channel: number | null = null,
): Promise<Volume> {
  return noteConstant(await readVolume(path, channel));
}

/**
 * Reads a segmentation.
 *
 * @throws {InputError} as {@linkcode readVolume}, and for a format that does not keep labels exactly.
 */
export async function readSegmentation(path: string): Promise<Volume> {
  requireExact(path);
  return await readVolume(path);
}
