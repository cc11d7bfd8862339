/**
 * Files that a command is about to write.
 *
 * @module
 */
import { resolve } from "node:path";
import { excerpt, InputError } from "../errors.ts";

/**
 * Refuses files that would be written over inputs, or over others unasked.
 *
 * @param outputs Paths of the files.
 * @param options.inputs Paths of what is read; null for none.
 * @param options.overwrite True if files that are there may be replaced; inputs never are.
 * @param options.remedy Other place for them, as in "name another folder with --out".
 * @throws {InputError} naming the first of them.
 */
export function requireFree(
  outputs: readonly string[],
  { inputs, overwrite, remedy }: {
    inputs: readonly (string | null)[];
    overwrite: boolean;
    remedy: string;
  },
): void {
  const read = new Set(inputs.filter((path) => path !== null).map(realPath));
  for (const path of outputs) {
    if (read.has(realPath(path))) {
      throw new InputError(`${excerpt(path)} is an input, which would be replaced: ${remedy}`);
    }
    if (!overwrite && statOf(path)) {
      throw new InputError(`${excerpt(path)} exists: ${remedy}, or give --overwrite`);
    }
  }
}

/** Facts of a file or folder; null if there is none. */
export function statOf(path: string): Deno.FileInfo | null {
  try {
    return Deno.statSync(path);
  } catch {
    return null;
  }
}

/** The path behind links, where it exists. */
export function realPath(path: string): string {
  try {
    return Deno.realPathSync(path);
  } catch {
    return resolve(path);
  }
}
