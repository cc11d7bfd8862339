import { excerpt, InputError } from "../../errors.ts";
import { readNifti } from "../nifti_file.ts";
import type { Volume } from "../../formats/volume.ts";

/** An MRI sequence: T1 with contrast, T1 native, T2 FLAIR, T2 weighted. */
export type Modality = "t1c" | "t1n" | "t2f" | "t2w";

/** The names that data sets of different years give a modality, today's first, in lower case. */
export const MODALITY_NAMES: Readonly<Record<Modality, readonly string[]>> = {
  t1c: ["t1c", "t1ce", "t1gd"],
  t1n: ["t1n", "t1"],
  t2f: ["t2f", "flair"],
  t2w: ["t2w", "t2"],
};

/** One scan of one patient with its segmentation. */
export interface Case {
  /** Name of the case, unique in its data set. */
  readonly id: string;
  /** Name of the patient; all scans of a patient share it. */
  readonly patient: string;
  /** Path of the image. */
  readonly image: string;
  /** Path of the segmentation. */
  readonly seg: string;
  /**
   * Reads image and segmentation.
   *
   * @throws {InputError} naming the file that cannot be read.
   */
  load(): Promise<{ readonly image: Volume; readonly seg: Volume }>;
}

/** The entries of a data set's folder. */
export interface Listing {
  /** Absolute path of the folder. */
  readonly folder: string;
  /** The folder as the user named it, for messages. */
  readonly shown: string;
  /** Names of the entries in it, sorted, without hidden ones. */
  readonly names: readonly string[];
}

/** A layout of data sets on disk. */
export interface Source {
  /** Name of the layout. */
  readonly name: string;
  /** Paths of a case's image and segmentation, as help and messages show the layout. */
  readonly pattern: string;
  /** True if the folder looks like a data set of this layout. */
  recognises(listing: Listing): boolean;
  /**
   * Lists the cases; no voxel is read.
   *
   * @throws {InputError} if a case lacks the modality or its segmentation.
   */
  cases(listing: Listing, modality: Modality): Promise<Case[]>;
}

/** A case of two NIfTI files. */
export function niftiCase({ id, image, seg }: Pick<Case, "id" | "image" | "seg">): Case {
  return {
    id,
    patient: patientOf(id),
    image,
    seg,
    load: async () => ({ image: await readNifti(image), seg: await readNifti(seg) }),
  };
}

/**
 * The patient of a case: `<set>-<patient>` for a case named `<set>-<patient>-<scan>` with numbers
 * for patient and scan (BraTS-MEN-00004-000 is of BraTS-MEN-00004), else the whole name.
 */
export function patientOf(caseId: string): string {
  return /^(.+-\d+)-\d+$/.exec(caseId)?.[1] ?? caseId;
}

/**
 * The entries of a folder.
 *
 * @throws {InputError} if it cannot be read.
 */
export async function list(folder: string, shown: string): Promise<Listing> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(folder));
    const names = entries.map(({ name }) => name).filter((name) => !name.startsWith("."));
    return { folder, shown, names: names.sort() };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new InputError(`cannot read the data folder ${shown} (${reason}): check the path`);
  }
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
