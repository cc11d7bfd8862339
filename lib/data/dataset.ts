import { basename, resolve } from "node:path";
import { excerpt, InputError } from "../errors.ts";
import type { Volume } from "../formats/volume.ts";
import { groupPatients } from "./patients.ts";
import { readImage, readSegmentation } from "./read_volume.ts";
import { sources } from "./sources/mod.ts";
import { type Modality, MODALITY_NAMES } from "./sources/names.ts";
import {
  type Aside,
  type Contents,
  list,
  type Listed,
  requirePlainName,
} from "./sources/source.ts";
import { type LabelSchemeName, schemeOfNames } from "./target.ts";

/** One scan of one patient with its segmentation. */
export interface Case {
  /** Name of the case, unique in its data set. */
  readonly id: string;
  /** Name of the patient; all scans of a patient share it. */
  readonly patient: string;
  /** Path of the image. */
  readonly image: string;
  /** Volume of that file, where it holds several; else null. */
  readonly channel: number | null;
  /** Path of the segmentation. */
  readonly seg: string;
  /**
   * Reads image and segmentation.
   *
   * @throws {InputError} naming the file that cannot be read.
   */
  load(): Promise<{ readonly image: Volume; readonly seg: Volume }>;
}

/** A folder of cases; nothing of its volumes is in memory. */
export interface Dataset {
  /** Absolute path of the folder. */
  readonly root: string;
  /** The folder's own name; what a terminal would obey in it is replaced. */
  readonly name: string;
  /** Name of its layout. */
  readonly layout: string;
  /** Modality of the cases' images. */
  readonly modality: Modality;
  /** The cases, sorted by id. */
  readonly cases: readonly Case[];
  /** Files and folders that belong to no case. */
  readonly aside: readonly Aside[];
  /** "52 patients in 123 cases (by BraTS names)". */
  readonly grouping: string;
  /** Scheme of the labels, by the names of the cases or what the data set says; null if none tells. */
  readonly labels: LabelSchemeName | null;
}

/** Options of {@linkcode openDataset}. */
export interface OpenDatasetOptions {
  /** Today's name (`t1c`) or an older one (`t1ce`, `t1`, `t2`, `flair`); default `t1c`. */
  modality?: string;
  /** File that says whose each case is (`readPatients`); default: their names do. */
  patients?: string | null;
}

/**
 * Lists the cases of a folder in one of the layouts of `sources`. No voxel is read.
 *
 * @example
 * ```ts
 * const dataset = await openDataset("BraTS-MEN/", { modality: "t1c" });
 * ```
 * @throws {InputError} if the modality is unknown, the folder is missing or has no cases, two cases have
 * one name, or a case lacks the modality or its segmentation or is named by control characters.
 */
export async function openDataset(
  root: string,
  options: OpenDatasetOptions = {},
): Promise<Dataset> {
  const modality = parseModality(options.modality ?? "t1c");
  const { layout, scans, aside, labels } = await listFolder(root, modality);
  const { patients, summary } = groupPatients(scans.map(({ id }) => id), options.patients);
  const cases = scans.map((scan): Case => {
    const { id, image, seg } = requireWhole(scan, root);
    const patient = patients.get(id)!;
    const { channel = null } = scan;
    const load = async () => ({
      image: await readImage(image, channel),
      seg: await readSegmentation(seg),
    });
    return { id, patient, image, channel, seg, load };
  });
  const folder = resolve(root);
  const name = excerpt(basename(folder));
  return { root: folder, name, layout, modality, cases, aside, grouping: summary, labels };
}

/**
 * The scans of a folder by the first layout that finds some, sorted by name.
 *
 * @throws {InputError} if no layout does, or two scans have one name.
 */
export async function listFolder(
  root: string,
  modality: Modality,
): Promise<Required<Contents> & { readonly layout: string }> {
  const listing = await list(resolve(root), root);
  for (const source of sources) {
    const found = await source.list(listing, modality);
    if (found === null || found.scans.length === 0) continue;
    const scans = found.scans.toSorted((a, b) => a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
    for (const [i, { id }] of scans.entries()) {
      requirePlainName(id, root);
      if (id !== scans[i + 1]?.id) continue;
      throw new InputError(`${root} holds two cases by the name ${id}: rename one`);
    }
    const { aside, labels = schemeOfNames(scans.map(({ id }) => id)) } = found;
    return { layout: source.name, scans, aside, labels };
  }
  const patterns = sources.map(({ name, pattern }) => `${name}: ${pattern}`);
  throw new InputError(
    `${root} holds no cases: give the folder of a data set (${patterns.join("; ")})`,
  );
}

/** Refuses a case that lacks a file. */
function requireWhole(
  { id, image, seg, lacks }: Listed,
  root: string,
): { id: string; image: string; seg: string } {
  if (image !== null && seg !== null) return { id, image, seg };
  throw new InputError(`case ${id} in ${root} ${lacks[image === null ? "image" : "seg"]}`);
}

/**
 * The modality of a name.
 *
 * @throws {InputError} if there is none by that name.
 */
export function parseModality(name: string): Modality {
  const modalities = Object.keys(MODALITY_NAMES) as Modality[];
  const found = modalities.find((modality) =>
    MODALITY_NAMES[modality].includes(name.toLowerCase())
  );
  if (found) return found;
  throw new InputError(`unknown modality "${name}": choose ${modalities.join(", ")}`);
}

/** A line that names files left aside; null if there are none. */
export function asideLine(root: string, aside: readonly Aside[]): string | null {
  if (aside.length === 0) return null;
  const shown = aside.slice(0, MOST_SHOWN).map(({ name, reason }) => `${excerpt(name)} ${reason}`);
  const more = aside.length > MOST_SHOWN ? `; and ${aside.length - MOST_SHOWN} more` : "";
  return `Left aside in ${root}: ${shown.join("; ")}${more}.`;
}

/** Most names that a line holds. */
const MOST_SHOWN = 5;
