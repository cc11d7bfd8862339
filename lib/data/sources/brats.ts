import { basename, join, resolve } from "node:path";
import { excerpt, InputError } from "../../errors.ts";

/** The MRI sequences of a BraTS case: T1 with contrast, T1 native, T2 FLAIR, T2 weighted. */
export type Modality = "t1c" | "t1n" | "t2f" | "t2w";

/** The names that data sets of different years give a modality, today's first. */
const FILE_SUFFIXES: Record<Modality | "seg", readonly string[]> = {
  t1c: ["t1c", "t1ce", "t1gd"],
  t1n: ["t1n", "t1"],
  t2f: ["t2f", "flair"],
  t2w: ["t2w", "t2"],
  seg: ["seg"],
};

/** One scan of one patient. */
export interface Case {
  /** The name of the case's folder. */
  readonly id: string;
  /** Who was scanned; all scans of a patient share it (see {@linkcode patientOf}). */
  readonly patient: string;
  /** Path of the image. */
  readonly image: string;
  /** Path of the segmentation. */
  readonly seg: string;
}

/** A folder of cases; nothing of its volumes is in memory. */
export interface Dataset {
  /** Absolute path of the folder. */
  readonly root: string;
  /** The folder's own name. */
  readonly name: string;
  /** The modality that the cases' images are of. */
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
 * Lists the cases of a folder in BraTS' layout, `<case>/<case>-t1c.nii.gz` beside
 * `<case>/<case>-seg.nii.gz`, or with the older names (`<case>_t1ce.nii.gz`), compressed or not.
 * Only folders that hold a NIfTI file are cases. No voxel is read.
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
  const folder = resolve(root);
  const cases: Case[] = [];
  for (const id of (await list(folder, root)).sort()) {
    if (id.startsWith(".") || !await isFolder(join(folder, id))) continue;
    const files = await list(join(folder, id), join(root, excerpt(id)));
    if (!files.some((file) => /\.nii(\.gz)?$/.test(file))) continue;
    if (excerpt(id) !== id) {
      throw new InputError(
        `${root} holds a case whose name has control characters or is very long (${
          excerpt(id)
        }): ` +
          `rename its folder`,
      );
    }
    cases.push({
      id,
      patient: patientOf(id),
      image: join(folder, id, find(files, id, { kind: modality, root })),
      seg: join(folder, id, find(files, id, { kind: "seg", root })),
    });
  }
  if (cases.length === 0) {
    throw new InputError(
      `${root} holds no cases: give the folder that holds the case folders ` +
        `(<case>/<case>-${modality}.nii.gz with <case>/<case>-seg.nii.gz)`,
    );
  }
  return { root: folder, name: basename(folder), modality, cases };
}

/**
 * The patient of a case: `<set>-<patient>` for a case named `<set>-<patient>-<scan>` with numbers
 * for patient and scan (BraTS-MEN-00004-000 is of BraTS-MEN-00004), else the whole name.
 */
export function patientOf(caseId: string): string {
  return /^(.+-\d+)-\d+$/.exec(caseId)?.[1] ?? caseId;
}

function parseModality(name: string): Modality {
  for (const modality of ["t1c", "t1n", "t2f", "t2w"] as const) {
    if (FILE_SUFFIXES[modality].includes(name.toLowerCase())) return modality;
  }
  throw new InputError(`unknown modality "${name}": choose t1c, t1n, t2f or t2w`);
}

async function list(folder: string, shown: string): Promise<string[]> {
  try {
    const names: string[] = [];
    for await (const entry of Deno.readDir(folder)) names.push(entry.name);
    return names;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read the data folder ${shown} (${reason}): check the path`);
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await Deno.stat(path)).isDirectory;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read ${excerpt(path)} (${excerpt(reason)}): repair or remove it`);
  }
}

function find(
  files: readonly string[],
  id: string,
  { kind, root }: { kind: Modality | "seg"; root: string },
): string {
  for (const suffix of FILE_SUFFIXES[kind]) {
    for (const separator of ["-", "_"]) {
      for (const extension of [".nii.gz", ".nii"]) {
        const name = `${id}${separator}${suffix}${extension}`;
        if (files.includes(name)) return name;
      }
    }
  }
  const what = kind === "seg" ? "segmentation" : `${kind} image`;
  throw new InputError(
    `case ${id} in ${root} has no ${what}: add ${id}-${kind}.nii.gz or remove the case's folder`,
  );
}
