/**
 * Marks in the user's cache of the studies that were begun here. A study's record names files outside its
 * folder; on the word of a folder that came from elsewhere none of them is read.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { cacheDir, writeFileAtomic } from "../fs.ts";

/** Paths outside a study's folder that its record names; null for what comes with the package. */
export interface NamedPaths {
  /** Folder of the data set. */
  readonly data: string | null;
  /** File of the pretrained weights. */
  readonly weights: string | null;
  /** File that says whose each case is. */
  readonly patients: string | null;
}

function markOf(folder: string, { data, weights, patients }: NamedPaths): string {
  const paths = patients === null ? [data, weights] : [data, weights, patients];
  const study = JSON.stringify([resolve(folder), ...paths]);
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
