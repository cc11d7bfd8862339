/**
 * Readers of volumes, by the endings of file names.
 *
 * @module
 */
import { basename } from "node:path";
import { excerpt, InputError } from "../errors.ts";
import type { Volume } from "../formats/volume.ts";
import { readNifti } from "./nifti_file.ts";

/** A format that volumes are read from. */
interface Reader {
  /** Endings of its files in lower case, the preferred one first. */
  readonly endings: readonly string[];
  /**
   * Reads a file.
   *
   * @throws {InputError} if it is not one sound volume.
   */
  read(path: string): Promise<Volume>;
}

/** The formats; where two files differ only in their endings, the first one's is read. */
const READERS: readonly Reader[] = [
  { endings: [".nii.gz", ".nii"], read: readNifti },
];

/** Endings of the files that can be read, in lower case, those to prefer first. */
export const VOLUME_ENDINGS: readonly string[] = READERS.flatMap(({ endings }) => endings);

/** The ending of a file's name, as it is spelled there, if it is one of a volume. */
export function endingOf(name: string): string | null {
  const lower = name.toLowerCase();
  const ending = VOLUME_ENDINGS.find((ending) => lower.endsWith(ending));
  return ending === undefined ? null : name.slice(name.length - ending.length);
}

/**
 * Reads a volume of any of the formats.
 *
 * @throws {InputError} if the ending is not known, or the file is not one sound volume.
 */
export async function readVolume(path: string): Promise<Volume> {
  const ending = endingOf(path)?.toLowerCase();
  const reader = READERS.find(({ endings }) => ending !== undefined && endings.includes(ending));
  if (reader) return await reader.read(path);
  throw new InputError(
    `${excerpt(basename(path))} is of no format that is read: give one that ends in ` +
      VOLUME_ENDINGS.join(", "),
  );
}

/**
 * Reads an image, noting if it shows nothing.
 *
 * @throws {InputError} as {@linkcode readVolume}.
 */
export async function readImage(path: string): Promise<Volume> {
  const volume = await readVolume(path);
  const [first] = volume.data;
  if (volume.data.some((value) => value !== first)) return volume;
  return { ...volume, notes: [...volume.notes, `its voxels all have the value ${first}`] };
}
