import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { excerpt, InputError } from "../errors.ts";

/** A scan to segment. */
export interface Scan {
  /** Its file. */
  readonly path: string;
  /** Its name: that of the file, without its ending. */
  readonly name: string;
  /** Name of its mask's file. */
  readonly maskName: string;
}

/** Ends of the names of scans. */
const ENDING = /\.nii(\.gz)?$/i;

/** Names that masks have, which are no scans of a folder. */
const MASK = /[-_.](seg|mask|dseg|label|labels)\.nii(\.gz)?$/i;

/** Characters that make a path a pattern. */
const PATTERN = /[*?[\]{}]/;

/** The folder that a path or pattern of scans is read from, and whether it is a pattern. */
export function placeOf(path: string): { folder: string; isPattern: boolean } {
  if (!PATTERN.test(path) || exists(path)) return { folder: path, isPattern: false };
  let folder = dirname(path);
  while (PATTERN.test(folder)) folder = dirname(folder);
  return { folder, isPattern: true };
}

function exists(path: string): boolean {
  try {
    return Deno.statSync(path) !== null;
  } catch {
    return false;
  }
}

/**
 * The scans of files, folders and patterns such as `scans/*.nii.gz`, in which `*` and `?` stand for letters
 * of one name and `**` for any folders. A folder's scans are all of its NIfTI files but those that are
 * named as masks.
 *
 * @param say Receives what is left out.
 * @throws {InputError} if an argument names no scan, or two scans would have one mask.
 */
export function findScans(paths: readonly string[], say: (line: string) => void): Scan[] {
  const files = new Set<string>();
  for (const path of paths) {
    const { folder, isPattern } = placeOf(path);
    const found = isPattern ? matching(path, folder) : isFolder(path) ? scansOf(path, say) : [path];
    if (found.length === 0) {
      throw new InputError(
        `${
          excerpt(path)
        } holds no scan: give .nii or .nii.gz files, or a folder or pattern of them`,
      );
    }
    for (const file of found) files.add(file);
  }
  const scans = [...files].map((path): Scan => {
    const name = basename(path).replace(ENDING, "");
    return { path, name, maskName: maskName(name) };
  });
  for (const [i, { path, maskName }] of scans.entries()) {
    const other = scans.slice(0, i).find((scan) => scan.maskName === maskName);
    if (other) {
      throw new InputError(
        `${excerpt(other.path)} and ${excerpt(path)} would both have the mask ${maskName}: ` +
          `segment them into folders of their own`,
      );
    }
  }
  return scans;
}

function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${excerpt(path)} (${reason}): check the path`);
  }
}

/** NIfTI files in a folder and those below it, sorted by path. */
function filesBelow(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
    const path = join(folder, name);
    return isDirectory ? filesBelow(path) : ENDING.test(name) ? [path] : [];
  }).sort();
}

function scansOf(folder: string, say: (line: string) => void): string[] {
  const files = filesBelow(folder);
  const masks = files.filter((path) => MASK.test(path));
  if (masks.length > 0) {
    say(`${folder}: ${masks.length} files are left out as masks, by their names`);
  }
  return files.filter((path) => !MASK.test(path));
}

/** Files below a folder that a pattern matches. */
function matching(pattern: string, folder: string): string[] {
  const path = isAbsolute(pattern) ? pattern : resolve(pattern);
  const source = path.replaceAll(/\*\*\/?|[*?]|\[[^\]]+\]|\{[^}]*\}|[^]/g, (part) => {
    if (part.startsWith("**")) return part.endsWith("/") ? "(?:.*/)?" : ".*";
    if (part === "*") return "[^/]*";
    if (part === "?") return "[^/]";
    if (part.startsWith("[") && part.length > 1) return part.replace("[!", "[^");
    if (part.startsWith("{") && part.length > 1) {
      return `(?:${part.slice(1, -1).split(",").map((one) => RegExp.escape(one)).join("|")})`;
    }
    return RegExp.escape(part);
  });
  const expression = new RegExp(`^${source}$`);
  return filesBelow(folder).filter((file) => expression.test(resolve(file)));
}

/**
 * The name of a scan's mask: nnU-Net's and BIDS's where the scan is named so, else BraTS's.
 *
 * @param scan The scan's name without its ending.
 */
function maskName(scan: string): string {
  const ending = ".nii.gz";
  if (/_\d{4}$/.test(scan)) return scan.replace(/_\d{4}$/, "") + ending; // nnU-Net's channel
  if (/^sub-.*_[A-Za-z0-9]+$/.test(scan)) return scan.replace(/_[A-Za-z0-9]+$/, "_dseg") + ending;
  return scan.replace(/[-_](t1c|t1ce|t1n|t1|t2w|t2|t2f|flair)$/i, "") + "-seg" + ending;
}
