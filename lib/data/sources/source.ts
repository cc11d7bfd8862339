import { excerpt, InputError } from "../../errors.ts";
import { voxelFiles } from "../detached.ts";
import type { LabelSchemeName } from "../target.ts";
import type { Modality } from "./names.ts";

/** A scan as a layout lists it; no voxel of it has been read. */
export interface Listed {
  /** Name of the case, unique in its data set. */
  readonly id: string;
  /** Path of the image; null if it lacks the modality. */
  readonly image: string | null;
  /** Volume of the image's file, where it holds several. */
  readonly channel?: number;
  /** Path of the segmentation; null if there is none. */
  readonly seg: string | null;
  /** Remedies where image or segmentation is missing: "has no … image: add …". */
  readonly lacks: Readonly<Record<"image" | "seg", string>>;
}

/** A file or folder of a data set that is left aside. */
export interface Aside {
  /** Its name within the data set. */
  readonly name: string;
  /** Reason, as the end of a sentence: "is …". */
  readonly reason: string;
}

/** The scans of a folder, and what else is in it. */
export interface Contents {
  /** Scans with and without segmentations. */
  readonly scans: readonly Listed[];
  /** Files and folders that belong to none. */
  readonly aside: readonly Aside[];
  /** Scheme of the labels as the data set itself says it; null where names of cases may not tell either. */
  readonly labels?: LabelSchemeName | null;
}

/** The entries of a data set's folder. */
export interface Listing {
  /** Absolute path of the folder. */
  readonly folder: string;
  /** The folder as the user named it, for messages. */
  readonly shown: string;
  /** Names of the files in it, sorted, without hidden ones and those that hold the voxels of others. */
  readonly files: readonly string[];
  /** Names of the folders in it, likewise. */
  readonly folders: readonly string[];
}

/** A layout of data sets on disk. */
export interface Source {
  /** Name of the layout. */
  readonly name: string;
  /** Paths of a case's image and segmentation, as help and messages show the layout. */
  readonly pattern: string;
  /**
   * Lists the scans of a folder; null if it is not of this layout.
   *
   * @throws {InputError} if the folder is of this layout and cannot be used as such.
   */
  list(listing: Listing, modality: Modality): Promise<Contents | null>;
}

/**
 * The entries of a folder. A link counts as what it leads to.
 *
 * @throws {InputError} if it cannot be read, or an entry leads nowhere.
 */
export async function list(folder: string, shown: string): Promise<Listing> {
  const files: string[] = [];
  const folders: string[] = [];
  let name = "";
  try {
    for await (const entry of Deno.readDir(folder)) {
      ({ name } = entry);
      if (name.startsWith(".")) continue;
      const { isDirectory } = entry.isSymlink ? await Deno.stat(`${folder}/${name}`) : entry;
      (isDirectory ? folders : files).push(name);
    }
  } catch (error) {
    const reason = excerpt(error instanceof Error ? error.message : String(error));
    throw new InputError(
      name === ""
        ? `cannot read the data folder ${shown} (${reason}): check the path`
        : `cannot read ${excerpt(name)} in ${shown} (${reason}): repair or remove it`,
    );
  }
  const apart = voxelFiles(folder, files);
  const own = files.filter((file) => !apart.has(file));
  return { folder, shown, files: own.sort(), folders: folders.sort() };
}

/**
 * Refuses a name that would garble messages and reports.
 *
 * @throws {InputError} if a name has control characters or is very long.
 */
export function requirePlainName(name: string, shown: string): void {
  if (excerpt(name) === name) return;
  throw new InputError(
    `${shown} holds a case whose name has control characters or is very long (${excerpt(name)}): ` +
      `rename it`,
  );
}
