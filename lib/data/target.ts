/**
 * Label schemes of public data sets: which labels are the whole tumour, its core and its enhancing part.
 *
 * @module
 */
import { InputError } from "../errors.ts";
import type { Volume } from "../formats/volume.ts";

/**
 * Labels that count as tumour: `auto` all of them; the others are BraTS' regions: whole tumour, tumour
 * core, enhancing tumour.
 */
export type Target = "auto" | "wt" | "tc" | "et";

/** All targets, for messages and option parsers. */
export const TARGETS: readonly Target[] = ["auto", "wt", "tc", "et"];

/** A scheme of labels. */
interface LabelScheme {
  /** Meaning of its labels, for help and messages. */
  readonly about: string;
  /** Labels of the whole tumour. */
  readonly wt: readonly number[];
  /** Those of its core. */
  readonly tc: readonly number[];
  /** Those of its enhancing part. */
  readonly et: readonly number[];
  /** Labels that are no tumour. */
  readonly other: readonly number[];
  /** Names of cases whose labels are surely of this scheme. */
  readonly cases: RegExp;
}

/** The schemes by the names that options take. */
export const LABEL_SCHEMES = {
  brats2016: {
    about: "BraTS to 2016: 1 necrotic core, 2 oedema, 3 non-enhancing core, 4 enhancing",
    wt: [1, 2, 3, 4],
    tc: [1, 3, 4],
    et: [4],
    other: [],
    cases: /^brats_(2013|tcia)_/i,
  },
  brats2020: {
    about: "BraTS 2017 to 2021: 1 core, 2 oedema, 4 enhancing",
    wt: [1, 2, 4],
    tc: [1, 4],
    et: [4],
    other: [],
    cases: /^brats1[7-9]_|^brats20_(training|validation)_|^brats2021_/i,
  },
  brats2023: {
    about: "BraTS 2023: 1 non-enhancing core, 2 oedema, 3 enhancing",
    wt: [1, 2, 3],
    tc: [1, 3],
    et: [3],
    other: [],
    cases: /^brats-(men|ssa)-\d/i,
  },
  brats2024: {
    about: "BraTS 2024: 1 non-enhancing core, 2 oedema, 3 enhancing, 4 cavity, which is no tumour",
    wt: [1, 2, 3],
    tc: [1, 3],
    et: [3],
    other: [4],
    cases: /^brats-(gli|met)-\d/i, // of 2023 as well: the same labels without a cavity
  },
  "brats-ped": {
    about: "BraTS paediatric: 1 enhancing, 2 non-enhancing core, 3 cystic, 4 oedema",
    wt: [1, 2, 3, 4],
    tc: [1, 2, 3],
    et: [1],
    other: [],
    cases: /^brats-ped-\d/i,
  },
  decathlon: {
    about: "Medical Segmentation Decathlon: 1 oedema, 2 non-enhancing core, 3 enhancing",
    wt: [1, 2, 3],
    tc: [2, 3],
    et: [3],
    other: [],
    cases: /^brats_\d{3}$/i,
  },
  any: {
    about: "every label above 0 is tumour, without regions",
    wt: [],
    tc: [],
    et: [],
    other: [],
    cases: /(?!)/,
  },
} as const satisfies Record<string, LabelScheme>;

/** Name of a scheme of labels. */
export type LabelSchemeName = keyof typeof LABEL_SCHEMES;

/** All of them, for messages and option parsers. */
export const LABEL_SCHEME_NAMES = Object.keys(LABEL_SCHEMES) as readonly LabelSchemeName[];

/** Meanings of labels as data sets describe them. */
const MEANINGS = {
  cavity: /cavity|resection/,
  core: /non[- _]?enh|necro|core|cyst|\bncr\b|\bnetc?\b/,
  et: /enhanc|\bet\b/,
  wt: /edema|snfh|\bed\b/,
} as const;

/**
 * The scheme of labels by their names, such as nnU-Net's `dataset.json` gives them.
 *
 * @param names Name of each label above 0.
 * @returns null if a name is not understood, or no scheme has these.
 */
export function schemeOfMeanings(names: ReadonlyMap<number, string>): LabelSchemeName | null {
  const kinds = Object.keys(MEANINGS) as (keyof typeof MEANINGS)[];
  const meant = [...names].map(([label, name]) =>
    `${label} ${kinds.find((kind) => MEANINGS[kind].test(name.toLowerCase()))}`
  ).sort().join();
  const found = LABEL_SCHEME_NAMES.find((name) => {
    const { wt, tc, et, other }: LabelScheme = LABEL_SCHEMES[name];
    const kindOf = (label: number) =>
      other.includes(label)
        ? "cavity"
        : et.includes(label)
        ? "et"
        : tc.includes(label)
        ? "core"
        : "wt";
    return [...wt, ...other].map((label) => `${label} ${kindOf(label)}`).sort().join() === meant;
  });
  return names.size === 0 ? null : found ?? null;
}

/** The scheme that the names of all cases are surely of; null if there is none. */
export function schemeOfNames(ids: readonly string[]): LabelSchemeName | null {
  const found = LABEL_SCHEME_NAMES.find((name) => {
    const { cases }: LabelScheme = LABEL_SCHEMES[name];
    return ids.every((id) => cases.test(id));
  });
  return ids.length === 0 ? null : found ?? null;
}

/**
 * Asks for the scheme of labels of which a region is wanted.
 *
 * @param name Name of the file or data set, for the message.
 * @throws {InputError} if it is not known.
 */
export function requireScheme(
  { target, scheme, name }: { target: Target; scheme: LabelSchemeName | null; name: string },
): void {
  if (scheme !== null && scheme !== "any" || target === "auto" || target === "wt") return;
  const schemes = LABEL_SCHEME_NAMES.filter((name) => name !== "any").map((name) =>
    `${name} (${LABEL_SCHEMES[name].about})`
  );
  throw new InputError(
    `the target ${target} needs to know what the labels of ${name} mean: give --labels ` +
      schemes.join(", or "),
  );
}

/** Part of a whole by which a label may be off, as those that were saved as floats with a slope are. */
const LABEL_TOLERANCE = 1e-3;

/**
 * Binarises a segmentation.
 *
 * @param options.target Region that counts as tumour.
 * @param options.scheme Scheme of the labels; null for any label above 0, of targets `auto` and `wt` alone.
 * @param options.name The file's name, for messages.
 * @returns 1 where there is tumour, in the volume's voxel order.
 * @throws {InputError} if a voxel is negative or not whole, or has a label that the scheme has not, or if
 * a region is asked of labels without a scheme.
 */
export function binarise(
  seg: Volume,
  { target, scheme = null, name }: {
    target: Target;
    scheme?: LabelSchemeName | null;
    name: string;
  },
): Uint8Array {
  requireScheme({ target, scheme, name });
  const labels = seg.data;
  const tumour = scheme === null || scheme === "any" ? null : tumourLabels(scheme, target);
  const mask = new Uint8Array(labels.length);
  // An iterator takes five times as long over millions of voxels.
  for (let i = 0; i < labels.length; i++) {
    if (labels[i] === 0) continue;
    const label = Math.round(labels[i]);
    if (label < 0 || Math.abs(labels[i] - label) > LABEL_TOLERANCE) {
      throw new InputError(
        `${name} is not a segmentation (it holds the value ${
          labels[i]
        }): labels are whole numbers ` +
          `from 0, so give the mask and not an image`,
      );
    }
    const value = tumour === null ? Number(label > 0) : tumour[label] ?? UNKNOWN;
    mask[i] = value;
    if (value === UNKNOWN) {
      throw new InputError(
        `${name} has label ${label}, which ${scheme} has not (${LABEL_SCHEMES[scheme!].about}): ` +
          `give the scheme that it is of by --labels, one of ${LABEL_SCHEME_NAMES.join(", ")}`,
      );
    }
  }
  return mask;
}

/** In a table of labels: not of the scheme. */
const UNKNOWN = 2;

/** For each label of a scheme 1 if it is of the target, else 0; {@linkcode UNKNOWN} for gaps. */
function tumourLabels(scheme: LabelSchemeName, target: Target): Uint8Array {
  const { wt, other, ...regions }: LabelScheme = LABEL_SCHEMES[scheme];
  const known = [0, ...wt, ...other];
  const wanted = target === "tc" || target === "et" ? regions[target] : wt;
  return Uint8Array.from(
    { length: Math.max(...known) + 1 },
    (_, label) => wanted.includes(label) ? 1 : known.includes(label) ? 0 : UNKNOWN,
  );
}

/** A word on labels 1 to 4 together, of which 4 may be no tumour; null for others. */
export function labelNote({ data }: Volume): string | null {
  const found = new Set<number>();
  for (let i = 0; i < data.length; i++) if (data[i] > 0) found.add(Math.round(data[i]));
  if (!found.has(3) || !found.has(4)) return null;
  return "its label 4 counts as tumour; where it is the cavity after treatment, give --labels brats2024";
}
