/**
 * Volumes whose voxels lie in a file beside their header (.mhd, .nhdr, .hdr with .img): both made one file in
 * memory, as the formats have it, for their readers.
 *
 * @module
 */
import { gzipSync } from "fflate";
import { joinBytes } from "../byte_source.ts";
import { excerpt, InputError } from "../errors.ts";
import { gunzip } from "./gunzip.ts";

/** Bytes that a header may take. */
const MAX_HEADER = 2 ** 20;

/** Endings of the files that have their voxels in another one, or may have. */
const ENDINGS = /\.(mhd|nhdr|hdr|hdr\.gz)$/i;

/** A header, and the way to put the voxels behind it. */
export interface DetachedHeader {
  /** Bare name of the file with the voxels. */
  readonly voxels: string;
  /** Header and voxels as one file. */
  join(voxels: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>;
}

/** True if a file's name ends as that of a header whose voxels may lie in another file. */
export function mayBeDetached(name: string): boolean {
  return ENDINGS.test(name);
}

/**
 * Reads the header of a volume whose voxels lie in another file; null if they lie in the same.
 *
 * @param options.path Its path or name.
 * @param options.isThere Tells of a bare name if there is such a file beside it.
 * @throws {InputError} if the voxels lie in a file that is not beside it, or it is no such header.
 */
export function detachedHeader(
  bytes: Uint8Array<ArrayBuffer>,
  { path, isThere }: { path: string; isThere: (name: string) => boolean },
): DetachedHeader | null {
  const [, ending] = ENDINGS.exec(path) ?? [];
  const header = ending.toLowerCase() === "mhd"
    ? textHeader(bytes, /^ElementDataFile[^\S\n]*=[^\S\n]*(.*)\n?/m, "ElementDataFile = LOCAL\n")
    : ending.toLowerCase() === "nhdr"
    ? textHeader(bytes, /^data ?file:[^\S\n]*(.*)\n?/im, "", "\n\n")
    : niftiHeader(bytes, { path, isThere });
  const { voxels } = header;
  if (voxels === null || voxels === "LOCAL") return null;
  if (/[/\\]|^\.{1,2}$/.test(voxels) || voxels !== excerpt(voxels)) {
    throw new InputError(
      `${path} has its voxels in ${
        excerpt(voxels)
      }: put that file beside it, and its bare name in it`,
    );
  }
  return { ...header, voxels };
}

/** A header that may name no file with the voxels. */
type Header = Omit<DetachedHeader, "voxels"> & { readonly voxels: string | null };

/**
 * A header of lines of text.
 *
 * @param field Line that names the file with the voxels.
 * @param own What stands there where they are in the header's own file.
 * @param end What stands between header and voxels.
 */
function textHeader(
  bytes: Uint8Array<ArrayBuffer>,
  field: RegExp,
  own: string,
  end = "",
): Header {
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, MAX_HEADER)).replaceAll("\r", "");
  const [line, name] = field.exec(text) ?? [];
  return {
    voxels: name?.trim() || null,
    join: (voxels) => {
      const one = end === "" ? text.replace(line!, own) : text.replace(line!, own).trimEnd() + end;
      return joinBytes([Uint8Array.from(one, (letter) => letter.charCodeAt(0)), voxels]);
    },
  };
}

function isPacked(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/** A packed header; empty if it is damaged. */
function unpackHeader(packed: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for (const part of gunzip(() => [packed], { size: packed.length, onTrailer: () => {} })) {
      parts.push(part);
      if ((size += part.length) > MAX_HEADER) return new Uint8Array();
    }
    return joinBytes(parts);
  } catch {
    return new Uint8Array();
  }
}

/** A header of NIfTI-1 or -2 of a pair. Voxels that are packed stay so: a .gz may have several members. */
function niftiHeader(
  stored: Uint8Array<ArrayBuffer>,
  { path, isThere }: Parameters<typeof detachedHeader>[1],
): Header {
  const bytes = isPacked(stored) ? unpackHeader(stored) : stored;
  const length = [348, 540].find((length) => {
    const at = length === 348 ? 344 : 4;
    return bytes.length >= length &&
      /^ni[12]\0$/.test(String.fromCharCode(...bytes.subarray(at, at + 4)));
  });
  if (length === undefined) {
    throw new InputError(`${path} is no header of a NIfTI pair: give the .nii or .nii.gz file`);
  }
  const stem = path.replace(/^.*[/\\]/s, "").replace(ENDINGS, "");
  const names = [`${stem}.img`, `${stem}.img.gz`];
  const header = joinBytes([bytes.subarray(0, length), new Uint8Array(4)]); // no extensions
  const view = new DataView(header.buffer);
  const isLittle = view.getInt32(0, true) === length;
  header[length === 348 ? 345 : 5] = "+".charCodeAt(0);
  if (length === 348) view.setFloat32(108, view.getFloat32(108, isLittle) + 352, isLittle);
  else view.setBigInt64(168, view.getBigInt64(168, isLittle) + 544n, isLittle);
  return {
    voxels: names.find(isThere) ?? names[0],
    join: (voxels) => joinBytes([isPacked(voxels) ? gzipSync(header) : header, voxels]),
  };
}
