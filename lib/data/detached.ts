/**
 * Volumes on disk whose voxels lie in a file beside their header.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { bytesOf, type ByteSource } from "../byte_source.ts";
import { type DetachedHeader, detachedHeader, mayBeDetached } from "../formats/detached.ts";
import { openBytes, readBytes } from "../fs.ts";

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}

/** The header of a volume whose voxels lie in another file; null of any other file. */
function openHeader(path: string): DetachedHeader | null {
  if (!mayBeDetached(path)) return null;
  const isThere = (name: string) => isFile(join(dirname(path), name));
  return detachedHeader(readBytes(path), { path, isThere });
}

/**
 * The files that a volume is read from: its own, and that with its voxels if there is one.
 *
 * @throws {InputError} if its voxels lie in a file that is not beside it.
 */
export function filesOf(path: string): string[] {
  const header = openHeader(path);
  return header ? [path, join(dirname(path), header.voxels)] : [path];
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
  const header = openHeader(path);
  if (header === null) return openBytes(path);
  const voxels = readBytes(join(dirname(path), header.voxels));
  return bytesOf(header.join(voxels), { source: path });
}
