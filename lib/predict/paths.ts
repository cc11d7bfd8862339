/**
 * Paths that scans are named by on the command line.
 *
 * @module
 */
import { dirname, join, resolve } from "node:path";
import { endingOf } from "../formats/volume_file.ts";
import { excerpt, InputError } from "../errors.ts";

/** Characters that make a path a pattern. */
const PATTERN = /[*?[\]{}]/;

/** The folder that a path or pattern is read from, and whether it is a pattern. */
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
 * Paths with the patterns among them, such as `scans/*.nii.gz`, replaced by the files that they match: `*` and
 * `?` stand for letters of one name, `**` for any folders. A path that exists is no pattern.
 *
 * @throws {InputError} if a pattern matches no volume.
 */
export function expandPatterns(paths: readonly string[]): string[] {
  const found = paths.flatMap((path) => {
    const { folder, isPattern } = placeOf(path);
    if (!isPattern) return [path];
    const files = filesBelow(folder).filter((file) => expression(path).test(resolve(file)));
    if (files.length > 0) return files;
    throw new InputError(`${excerpt(path)} matches no volume: give files, or another pattern`);
  });
  return [...new Set(found)];
}

/** Volumes in a folder and those below it, sorted by path. */
function filesBelow(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
      const path = join(folder, name);
      return isDirectory ? filesBelow(path) : endingOf(name) !== null ? [path] : [];
    }).sort();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${excerpt(folder)} (${reason}): check the path`);
  }
}

/** A pattern as a regular expression for absolute paths. */
function expression(pattern: string): RegExp {
  const parts = resolve(pattern).replaceAll(
    /\*\*\/?|[*?]|\[[^\]]+\]|\{[^}]*\}|[^]/g,
    (part) => {
      if (part.startsWith("**")) return part.endsWith("/") ? "(?:.*/)?" : ".*";
      if (part === "*") return "[^/]*";
      if (part === "?") return "[^/]";
      if (part.length > 1 && part.startsWith("[")) return part.replace("[!", "[^");
      if (part.length > 1 && part.startsWith("{")) {
        return `(?:${part.slice(1, -1).split(",").map(RegExp.escape).join("|")})`;
      }
      return RegExp.escape(part);
    },
  );
  return new RegExp(`^${parts}$`);
}
