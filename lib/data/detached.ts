/**
 * Volumes whose voxels lie in a file beside their header (.mhd, .nhdr, .hdr with .img): both made one file in
 * memory, as the formats have it, for their readers.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { bytesOf, type ByteSource, joinBytes } from "../byte_source.ts";
import { excerpt, InputError } from "../errors.ts";
import { openBytes, readBytes } from "../fs.ts";

/** Bytes that a header may take. */
const MAX_HEADER = 2 ** 20;

/** A header, and the way to put the voxels behind it. */
interface Header {
  /** Name of the file with the voxels; null if the header names none. */
  readonly voxels: string | null;
  /** Header and voxels as one file. */
  join(voxels: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>;
}

/** Readers of headers, by the endings of their files. */
const HEADERS: Readonly<Record<string, (bytes: Uint8Array<ArrayBuffer>, path: string) => Header>> =
  {
    ".mhd": (bytes) =>
      textHeader(bytes, /^ElementDataFile[^\S\n]*=[^\S\n]*(.*)\n?/m, "ElementDataFile = LOCAL\n"),
    ".nhdr": (bytes) => textHeader(bytes, /^data ?file:[^\S\n]*(.*)\n?/im, "", "\n\n"),
    ".hdr": niftiHeader,
    ".hdr.gz": niftiHeader,
  };

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

/** A header of NIfTI-1 or -2 of a pair. Voxels that are packed stay so: a .gz may have several members. */
function niftiHeader(stored: Uint8Array<ArrayBuffer>, path: string): Header {
  const isPacked = stored[0] === 0x1f && stored[1] === 0x8b;
  const refuse = (): never => {
    throw new InputError(`${path} is no header of a NIfTI pair: give the .nii or .nii.gz file`);
  };
  let bytes = stored;
  try {
    if (isPacked) bytes = Uint8Array.from(gunzipSync(stored, { maxOutputLength: MAX_HEADER }));
  } catch {
    refuse();
  }
  const length = [348, 540].find((length) => {
    const at = length === 348 ? 344 : 4;
    return bytes.length >= length &&
      /^ni[12]\0$/.test(String.fromCharCode(...bytes.subarray(at, at + 4)));
  });
  if (length === undefined) return refuse();
  const stem = basename(path).replace(/\.hdr(\.gz)?$/i, "");
  const names = [`${stem}.img`, `${stem}.img.gz`];
  const header = joinBytes([bytes.subarray(0, length), new Uint8Array(4)]); // no extensions
  const view = new DataView(header.buffer);
  const isLittle = view.getInt32(0, true) === length;
  header[length === 348 ? 345 : 5] = "+".charCodeAt(0);
  if (length === 348) view.setFloat32(108, view.getFloat32(108, isLittle) + 352, isLittle);
  else view.setBigInt64(168, view.getBigInt64(168, isLittle) + 544n, isLittle);
  return {
    voxels: names.find((name) => isFile(join(dirname(path), name))) ?? names[0],
    join: (voxels) =>
      joinBytes([voxels[0] === 0x1f && voxels[1] === 0x8b ? gzipSync(header) : header, voxels]),
  };
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** The header of a volume whose voxels lie in another file, and the path of that; null of any other file. */
function openHeader(path: string): { header: Header; voxels: string } | null {
  const ending = Object.keys(HEADERS).find((ending) => path.toLowerCase().endsWith(ending));
  if (ending === undefined) return null;
  const header = HEADERS[ending](readBytes(path), path);
  if (header.voxels === null || header.voxels === "LOCAL") return null;
  if (/[/\\]|^\.{1,2}$/.test(header.voxels) || header.voxels !== excerpt(header.voxels)) {
    throw new InputError(
      `${path} has its voxels in ${
        excerpt(header.voxels)
      }: put that file beside it, and its bare name in it`,
    );
  }
  return { header, voxels: join(dirname(path), header.voxels) };
}

/**
 * The files that a volume is read from: its own, and that with its voxels if there is one.
 *
 * @throws {InputError} if its voxels lie in a file that is not beside it.
 */
export function filesOf(path: string): string[] {
  const found = openHeader(path);
  return found === null ? [path] : [path, found.voxels];
}

/** Files among those of a folder that hold the voxels of others. */
export function voxelFiles(folder: string, files: readonly string[]): Set<string> {
  return new Set(files.flatMap((file) => {
    try {
      return filesOf(join(folder, file)).slice(1).map((path) => basename(path));
    } catch {
      return []; // its reader says what is wrong with it
    }
  }));
}

/**
 * Opens a volume's file; of header and voxels apart, both as one file.
 *
 * @throws {InputError} if they cannot be read.
 */
export function openWhole(path: string): ByteSource {
  const found = openHeader(path);
  return found
    ? bytesOf(found.header.join(readBytes(found.voxels)), { source: path })
    : openBytes(path);
}
