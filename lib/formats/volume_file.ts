/**
 * Formats that volumes are read from, told apart by the endings of file names.
 *
 * @module
 */
import type { ByteSource } from "../byte_source.ts";
import { excerpt, InputError } from "../errors.ts";
import { parseMetaImage } from "./metaimage.ts";
import type { Gunzip } from "./gunzip.ts";
import { parseNifti } from "./nifti.ts";
import { parseNrrd } from "./nrrd.ts";
import { parseJpeg, parsePng, parseTiff } from "./picture.ts";
import type { Volume } from "./volume.ts";

/** Options of {@linkcode parseVolume}. */
export interface VolumeFileOptions {
  /** Index of the volume in a file of several; null (the default) for a file of one. */
  readonly channel?: number | null;
  /** Unpacks a `.nii.gz`; default: by code that runs anywhere. */
  readonly gunzip?: Gunzip;
}

/** A format that volumes are read from. */
interface Format {
  /** Endings of its files in lower case, the preferred one first. */
  readonly endings: readonly string[];
  /** True if values are not kept exactly, so that labels are lost. */
  readonly isLossy?: boolean;
  /**
   * Reads a file.
   *
   * @throws {InputError} if it is not one sound volume.
   */
  parse(file: ByteSource, options: VolumeFileOptions): Promise<Volume>;
}

/** The formats; where two files differ only in their endings, the first one's is read. */
const FORMATS: readonly Format[] = [
  { endings: [".nii.gz", ".nii", ".hdr", ".hdr.gz"], parse: parseNifti },
  { endings: [".nrrd", ".nhdr"], parse: single(parseNrrd) },
  { endings: [".mha", ".mhd"], parse: single(parseMetaImage) },
  { endings: [".png"], parse: single(parsePng) },
  { endings: [".tif", ".tiff"], parse: single(parseTiff) },
  { endings: [".jpg", ".jpeg"], parse: single(parseJpeg), isLossy: true },
];

/** Endings of the files that can be read, in lower case, those to prefer first. */
export const VOLUME_ENDINGS: readonly string[] = FORMATS.flatMap(({ endings }) => endings);

/** A format whose files hold one volume each. */
function single(parse: (file: ByteSource) => Promise<Volume>): Format["parse"] {
  return async (file, { channel = null }) => {
    if (channel === null) return await parse(file);
    throw new InputError(`${file.name} has no channels: convert it to NIfTI`);
  };
}

/** The last part of a path. */
export function bareName(path: string): string {
  return path.replace(/[/\\]+$/, "").replace(/^.*[/\\]/s, "");
}

/** The ending of a file's name, as it is spelled there, if it is one of a volume. */
export function endingOf(name: string): string | null {
  const lower = name.toLowerCase();
  const ending = VOLUME_ENDINGS.find((ending) => lower.endsWith(ending));
  return ending === undefined ? null : name.slice(name.length - ending.length);
}

function formatOf(path: string): Format {
  const ending = endingOf(path)?.toLowerCase();
  const format = FORMATS.find(({ endings }) => ending !== undefined && endings.includes(ending));
  if (format) return format;
  throw new InputError(
    `${excerpt(bareName(path))} is of no format that is read: give one that ends in ` +
      VOLUME_ENDINGS.join(", "),
  );
}

/**
 * Reads a volume of any of the formats, by the ending of the source's name.
 *
 * @throws {InputError} if the ending is not known, or the file is not one sound volume.
 */
export async function parseVolume(
  file: ByteSource,
  options: VolumeFileOptions = {},
): Promise<Volume> {
  return await formatOf(file.name).parse(file, options);
}

/**
 * Refuses a file of a format that is not read.
 *
 * @param path Its path or bare name.
 * @throws {InputError} if its ending is not known.
 */
export function requireFormat(path: string): void {
  formatOf(path);
}

/**
 * Refuses a format that does not keep labels exactly.
 *
 * @throws {InputError} also if the ending is not known.
 */
export function requireExact(path: string): void {
  if (!formatOf(path).isLossy) return;
  throw new InputError(
    `${path} is compressed with loss, so that its labels are not what they were: give it as PNG`,
  );
}
