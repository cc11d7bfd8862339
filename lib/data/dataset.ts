import { basename, resolve } from "node:path";
import { excerpt, InputError } from "../errors.ts";
import { sources } from "./sources/mod.ts";
import { type Case, list, type Modality, MODALITY_NAMES } from "./sources/source.ts";

/** A folder of cases; nothing of its volumes is in memory. */
export interface Dataset {
  /** Absolute path of the folder. */
  readonly root: string;
  /** The folder's own name; what a terminal would obey in it is replaced. */
  readonly name: string;
  /** Modality of the cases' images. */
  readonly modality: Modality;
  /** The cases, sorted by id. */
  readonly cases: readonly Case[];
}

/** Options of {@linkcode openDataset}. */
export interface OpenDatasetOptions {
  /** Today's name (`t1c`) or an older one (`t1ce`, `t1`, `t2`, `flair`); default `t1c`. */
  modality?: string;
}

/**
 * Lists the cases of a folder in one of the layouts of `sources`. No voxel is read.
 *
 * @example
 * ```ts
 * const dataset = await openDataset("BraTS-MEN/", { modality: "t1c" });
 * ```
 * @throws {InputError} if the modality is unknown, the folder is missing or has no cases, or a case
 * lacks the modality or its segmentation or is named by control characters.
 */
export async function openDataset(
  root: string,
  options: OpenDatasetOptions = {},
): Promise<Dataset> {
  const modality = parseModality(options.modality ?? "t1c");
  const listing = await list(resolve(root), root);
  const source = sources.find((source) => source.recognises(listing))!;
  const cases = await source.cases(listing, modality);
  if (cases.length === 0) {
    const patterns = sources.map(({ name, pattern }) => `${name}: ${pattern}`);
    throw new InputError(
      `${root} holds no cases: give the folder of a data set (${patterns.join("; ")})`,
    );
  }
  return { root: listing.folder, name: excerpt(basename(listing.folder)), modality, cases };
}

function parseModality(name: string): Modality {
  const modalities = Object.keys(MODALITY_NAMES) as Modality[];
  const found = modalities.find((modality) =>
    MODALITY_NAMES[modality].includes(name.toLowerCase())
  );
  if (found) return found;
  throw new InputError(`unknown modality "${name}": choose ${modalities.join(", ")}`);
}
