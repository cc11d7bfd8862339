/**
 * Marks in the user's cache of the studies that were begun here. A study's record names files outside its
 * folder; on the word of a folder that came from elsewhere none of them is read.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { cacheDir, writeFileAtomic } from "../fs.ts";

/**
 * Names of the values that are paths outside a study's folder: data sets, a file of weights, and one that says
 * whose each case is.
 */
export const PATH_FIELDS = ["data", "healthy", "weights", "patients"] as const;

/** Paths outside a study's folder; null for what comes with the package or is not used. */
type Paths = Readonly<Record<typeof PATH_FIELDS[number], string | null>>;

/** Those paths as a record names them; earlier versions lacked some. */
export type NamedPaths = Partial<Paths>;

/** The paths among the values of a config. */
export function namedPaths(config: NamedPaths): Paths {
  const { data = null, healthy = null, weights = null, patients = null } = config;
  return { data, healthy, weights, patients };
}

function markOf(folder: string, paths: NamedPaths): string {
  const study = JSON.stringify([resolve(folder), namedPaths(paths)]);
  return cacheDir("begun", createHash("sha256").update(study).digest("hex"));
}

/** True if the study of a folder was begun here with these paths. */
export function isBegunHere(folder: string, paths: NamedPaths): boolean {
  try {
    return Deno.statSync(markOf(folder, paths)).isFile;
  } catch {
    return false;
  }
}

/**
 * Notes that the study of a folder is worked on with paths that the user named.
 *
 * @throws {InputError} if the cache cannot be written to.
 */
export async function noteBegun(folder: string, paths: NamedPaths): Promise<void> {
  await writeFileAtomic(markOf(folder, paths), "");
}

/** Forgets a study that has come to its end. */
export async function forgetBegun(folder: string, paths: NamedPaths): Promise<void> {
  await Deno.remove(markOf(folder, paths)).catch(() => {});
}
