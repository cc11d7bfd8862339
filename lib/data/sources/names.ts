/**
 * Names of volumes' files: which modality a file is of, or that it is a segmentation, and of which case.
 *
 * @module
 */
import { bareName, endingOf, VOLUME_ENDINGS } from "../../formats/volume_file.ts";

/** An MRI sequence: T1 with contrast, T1 native, T2 FLAIR, T2 weighted. */
export type Modality = "t1c" | "t1n" | "t2f" | "t2w";

/** The names that data sets of different years give a modality, today's first, in lower case. */
export const MODALITY_NAMES: Readonly<Record<Modality, readonly string[]>> = {
  t1c: ["t1c", "t1ce", "t1gd", "t1wce", "t1post"],
  t1n: ["t1n", "t1", "t1w"],
  t2f: ["t2f", "flair"],
  t2w: ["t2w", "t2"],
};

/** The names that they give a segmentation, today's first, in lower case. */
const SEG_NAMES = ["seg", "segmentation", "tumor_segmentation", "mask", "label", "labels", "gtv"];

/** The parts of a file name such as `<case>-t1c.nii.gz`. */
export interface ScanName {
  /** Part before the kind; empty for `t1c.nii.gz`. */
  readonly stem: string;
  /** Kind of the file; null if its name does not say. */
  readonly kind: Modality | "seg" | null;
  /** Place among names of the same kind: today's names, `-` and `.nii.gz` come first. */
  readonly rank: number;
}

/** Kinds of files by their names, longest first, so that `tumor_segmentation` is not `segmentation`. */
const KINDS = [
  ...Object.entries({ ...MODALITY_NAMES, seg: SEG_NAMES }).flatMap(([kind, names]) =>
    names.map((name, rank) => ({ kind: kind as Modality | "seg", name, rank }))
  ),
].sort((a, b) => b.name.length - a.name.length);

/** Takes a file's name apart; null if it is of no volume. Letter case does not matter. */
export function parseName(file: string): ScanName | null {
  const ending = endingOf(file);
  if (ending === null) return null;
  const stem = file.slice(0, file.length - ending.length);
  const lower = stem.toLowerCase();
  const own = VOLUME_ENDINGS.indexOf(ending.toLowerCase());
  for (const { kind, name, rank } of KINDS) {
    if (lower === name) return { stem: "", kind, rank: 100 * rank + own };
    const separator = ["-", "_", "."].findIndex((separator) => lower.endsWith(separator + name));
    if (separator < 0) continue;
    return {
      stem: stem.slice(0, -name.length - 1),
      kind,
      rank: 100 * rank + 30 * separator + own,
    };
  }
  return { stem, kind: null, rank: own };
}

/** A channel at the end of nnU-Net's names; other four digits are a year, or a day. */
export const CHANNEL = /_00\d\d$/;

/**
 * Name of the case that a file is of, by the part of its name that tells it from its other modalities; empty
 * where the file is named after its modality alone, as `t1c.nii.gz` in the folder of its case.
 */
export function caseName(path: string): string {
  const name = bareName(path);
  const { stem, kind } = parseName(name) ?? { stem: name, kind: null };
  const isWhole = kind === null || kind === "seg";
  const own = isWhole ? name.slice(0, name.length - (endingOf(name)?.length ?? 0)) : stem;
  return own.replace(CHANNEL, "");
}
