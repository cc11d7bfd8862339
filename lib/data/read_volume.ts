/**
 * Readers of volumes, by the endings of file names.
 *
 * @module
 */
import { basename } from "node:path";
import type { ByteSource } from "../byte_source.ts";
import { excerpt, InputError } from "../errors.ts";
import { parseMetaImage } from "../formats/metaimage.ts";
import { parseNrrd } from "../formats/nrrd.ts";
import { parseJpeg, parsePng, parseTiff } from "../formats/picture.ts";
import type { Volume } from "../formats/volume.ts";
import { openWhole } from "./detached.ts";
import { readNifti } from "./nifti_file.ts";

/** A format that volumes are read from. */
interface Reader {
  /** Endings of its files in lower case, the preferred one first. */
  readonly endings: readonly string[];
  /** True if values are not kept exactly, so that labels are lost. */
  readonly isLossy?: boolean;
  /**
   * Reads a file.
   *
   * @param options.channel Index of the volume in a file of several; null for a file of one.
   * @throws {InputError} if it is not one sound volume.
   */
  read(path: string, options: { channel: number | null }): Promise<Volume>;
}

/** The formats; where two files differ only in their endings, the first one's is read. */
const READERS: readonly Reader[] = [
  { endings: [".nii.gz", ".nii", ".hdr", ".hdr.gz"], read: readNifti },
  { endings: [".nrrd", ".nhdr"], read: whole(parseNrrd) },
  { endings: [".mha", ".mhd"], read: whole(parseMetaImage) },
  { endings: [".png"], read: whole(parsePng) },
  { endings: [".tif", ".tiff"], read: whole(parseTiff) },
  { endings: [".jpg", ".jpeg"], read: whole(parseJpeg), isLossy: true },
];

/** Endings of the files that can be read, in lower case, those to prefer first. */
export const VOLUME_ENDINGS: readonly string[] = READERS.flatMap(({ endings }) => endings);

/** Reads a file by a parser of its bytes. */
function whole(parse: (file: ByteSource) => Promise<Volume>): Reader["read"] {
  return async (path, { channel }) => {
    if (channel !== null) throw new InputError(`${path} has no channels: convert it to NIfTI`);
    using file = openWhole(path);
    return await parse(file);
  };
}

/** The ending of a file's name, as it is spelled there, if it is one of a volume. */
export function endingOf(name: string): string | null {
  const lower = name.toLowerCase();
  const ending = VOLUME_ENDINGS.find((ending) => lower.endsWith(ending));
  return ending === undefined ? null : name.slice(name.length - ending.length);
}

/** The reader of a file. */
function readerOf(path: string): Reader {
  const ending = endingOf(path)?.toLowerCase();
  const reader = READERS.find(({ endings }) => ending !== undefined && endings.includes(ending));
  if (reader) return reader;
  throw new InputError(
    `${excerpt(basename(path))} is of no format that is read: give one that ends in ` +
      VOLUME_ENDINGS.join(", "),
  );
}

/**
 * Reads a volume of any of the formats.
 *
 * @param channel Index of the volume in a file of several; null for a file of one.
 * @throws {InputError} if the ending is not known, or the file is not one sound volume.
 */
export async function readVolume(path: string, channel: number | null = null): Promise<Volume> {
  return await readerOf(path).read(path, { channel });
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

/** An image with a note if it shows nothing. */
export function noteConstant(image: Volume): Volume {
  const [first] = image.data;
  if (image.data.some((value) => value !== first)) return image;
  return { ...image, notes: [...image.notes, `its voxels all have the value ${first}`] };
}

/**
 * Reads a segmentation.
 *
 * @throws {InputError} as {@linkcode readVolume}, and for a format that does not keep labels exactly.
 */
export async function readSegmentation(path: string): Promise<Volume> {
  if (!readerOf(path).isLossy) return await readVolume(path);
  throw new InputError(
    `${path} is compressed with loss, so that its labels are not what they were: give it as PNG`,
  );
}
