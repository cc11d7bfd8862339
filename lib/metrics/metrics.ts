/**
 * The table of metrics: all that scoring, statistics, files and reports know of a metric is its row
 * here. A metric is added by one row and the function that computes it.
 *
 * Empty masks are scored as in the BraTS challenges: both empty is a perfect score, one empty the worst.
 *
 * @module
 */
import { scoreLesions } from "./lesion_wise.ts";
import { MaskPair } from "./mask_pair.ts";
import { diagonal, hausdorff95, surfaceDice } from "./surface_distance.ts";

/** Extent of the masks that one value of a metric describes: a 2D slice, a case's volume, or all of a patient. */
export type Level = "slice" | "case" | "patient";

/** Value of a metric where a mask is empty; null: it has none there and is left out of means. */
export type EmptyValue = number | null | ((pair: MaskPair) => number);

/** A row of {@linkcode METRICS}. */
export interface Metric {
  /** Name in tables and reports; by level where they differ. */
  readonly label: string | Readonly<Record<Level, string>>;
  /** Name in a column's header where the column before it says the rest. */
  readonly header?: string;
  /** Definition as captions print it, for all metrics that share it; absent if readers know the metric. */
  readonly definition?: string;
  /** Unit of the printed figure; "size" is mm² of a slice and mm³ of a volume. */
  readonly unit: "%" | "mm" | "cm²" | "size";
  /** Factor from the value to the printed figure: 100 for per cent. */
  readonly scale: number;
  /** Decimals of the printed figure: of a mean alone, and of a mean above its interval. */
  readonly decimals: readonly [alone: number, withInterval: number];
  /** The better values; "zero" is a signed error. */
  readonly direction: "higher" | "lower" | "zero";
  /** Least and greatest value that there can be. */
  readonly range: readonly [low: number, high: number];
  /**
   * True if a case has it where only some slices of its volume were scored: an overlap of these is what it
   * says. Outlines, connected parts and sizes are those of a whole volume; slices that were left out are not
   * empty ones.
   */
  readonly ofPart: boolean;
  /** Levels at which it is computed. */
  readonly levels: readonly Level[];
  /** Levels at which tables list it beside Dice, which has tables of its own for slices. */
  readonly columns: readonly Level[];
  /** True if differences between models are tested by it. */
  readonly tested?: boolean;
  /** True if tables of masks without a prompt list it: it tells how tumour-free slices fare. */
  readonly unprompted?: boolean;
  /** Values where both masks, the truth or the prediction are empty; one left out is computed. */
  readonly empty: {
    readonly both?: EmptyValue;
    readonly truth?: EmptyValue;
    readonly prediction?: EmptyValue;
  };
  /** The value for masks of which none is empty, but for those that `empty` leaves out; null: it has none. */
  readonly compute: (pair: MaskPair) => number | null;
}

/** Name of a metric, as code and files call it. */
export type MaskMetric =
  | "dice"
  | "iou"
  | "hd95"
  | "surfaceDice1mm"
  | "surfaceDice2mm"
  | "falsePositive"
  | "signedVolumeError"
  | "absoluteVolumeError"
  | "lesionDice"
  | "lesionHd95"
  | "sensitivity"
  | "healthyPainted"
  | "healthyArea";

const shareOfMasks = {
  unit: "%",
  scale: 100,
  decimals: [1, 1],
  direction: "higher",
  range: [0, 1],
  ofPart: false,
  levels: ["slice", "case"],
  empty: { both: 1, truth: 0, prediction: 0 },
} as const;

const distance = {
  unit: "mm",
  scale: 1,
  decimals: [2, 1],
  direction: "lower",
  range: [0, Infinity],
  ofPart: false,
} as const;

const unprompted = {
  decimals: [1, 1],
  ofPart: false,
  levels: ["slice"],
  columns: [],
  unprompted: true,
} as const;

const relativeError = {
  unit: "%",
  scale: 100,
  decimals: [1, 0],
  ofPart: false,
  levels: ["slice", "case"],
  columns: ["slice", "case"],
} as const;

/** All metrics by name, in the order of tables. */
export const METRICS: Readonly<Record<MaskMetric, Metric>> = {
  /** 2 |P ∩ T| / (|P| + |T|). */
  dice: {
    ...shareOfMasks,
    label: "Dice",
    ofPart: true,
    columns: ["case"],
    tested: true,
    compute: ({ counts: { predicted, truth, both } }) => (2 * both) / (predicted + truth),
  },
  /** Intersection over union (Jaccard index) |P ∩ T| / |P ∪ T|. */
  iou: {
    ...shareOfMasks,
    label: "IoU",
    ofPart: true,
    columns: [],
    compute: ({ counts: { predicted, truth, both } }) => both / (predicted + truth - both),
  },
  /** 95 % Hausdorff distance in mm; the grid's diagonal if one mask is empty. */
  hd95: {
    ...distance,
    label: "HD95",
    definition: "HD95: 95 % Hausdorff distance",
    levels: ["slice", "case"],
    columns: ["slice", "case"],
    tested: true,
    empty: {
      both: 0,
      truth: ({ grid }) => diagonal(grid),
      prediction: ({ grid }) => diagonal(grid),
    },
    compute: ({ surfaces }) => hausdorff95(surfaces),
  },
  /** Share of the surfaces within 1 mm of each other. */
  surfaceDice1mm: {
    ...shareOfMasks,
    label: "Surface Dice 1 mm",
    definition: "surface Dice: share of both outlines that lies within 1 or 2 mm of the other",
    columns: ["slice", "case"],
    tested: true,
    compute: ({ surfaces }) => surfaceDice(surfaces, 1),
  },
  /** Share of the surfaces within 2 mm of each other. */
  surfaceDice2mm: {
    ...shareOfMasks,
    label: "Surface Dice 2 mm",
    header: "2 mm",
    columns: ["slice", "case"],
    tested: true,
    compute: ({ surfaces }) => surfaceDice(surfaces, 2),
  },
  /** Size of what was predicted and is no tumour. */
  falsePositive: {
    label: "False positive",
    definition: "false positive: predicted area outside the tumour",
    unit: "size",
    scale: 1,
    decimals: [0, 0],
    direction: "lower",
    range: [0, Infinity],
    ofPart: false,
    levels: ["slice", "case"],
    columns: ["slice"],
    empty: { both: 0, prediction: 0 },
    compute: ({ counts: { predicted, both }, element }) => (predicted - both) * element,
  },
  /** (predicted - truth) / truth: its mean is the bias towards too much or too little. */
  signedVolumeError: {
    ...relativeError,
    label: {
      slice: "Area error, signed",
      case: "Volume error, signed",
      patient: "Volume error, signed",
    },
    header: "Signed error",
    definition: "signed error: (predicted − true) / true area or volume, whose mean is a bias",
    direction: "zero",
    range: [-1, Infinity],
    empty: { both: null, truth: null, prediction: -1 },
    compute: ({ counts: { predicted, truth } }) => (predicted - truth) / truth,
  },
  /** |predicted - truth| / truth: too much here does not make up for too little there. */
  absoluteVolumeError: {
    ...relativeError,
    label: {
      slice: "Area error, absolute",
      case: "Volume error, absolute",
      patient: "Volume error, absolute",
    },
    header: "Absolute error",
    definition: "absolute error: the same without its sign",
    direction: "lower",
    range: [0, Infinity],
    empty: { both: null, truth: null, prediction: 1 },
    compute: ({ counts: { predicted, truth } }) => Math.abs(predicted - truth) / truth,
  },
  /** Mean Dice over lesions, after BraTS-MEN 2023. */
  lesionDice: {
    ...shareOfMasks,
    label: "Lesion-wise Dice",
    definition:
      "lesion-wise: mean over connected lesions above 50 mm³, missed and invented ones as " +
      "0 and 374 mm (BraTS 2023)",
    levels: ["case"],
    columns: ["case"],
    empty: { both: 1, truth: 0 },
    compute: (pair) => scoreLesions(pair).dice,
  },
  /** Mean 95 % Hausdorff distance over lesions in mm, after BraTS-MEN 2023. */
  lesionHd95: {
    ...distance,
    label: "Lesion-wise HD95",
    levels: ["case"],
    columns: ["case"],
    empty: { both: 0 },
    compute: (pair) => scoreLesions(pair).hd95,
  },
  /** 1 where there is tumour and anything is painted: its mean is the sensitivity by slice. */
  sensitivity: {
    ...unprompted,
    label: "Sensitivity by slice",
    definition: "sensitivity: share of the slices with tumour in which anything is painted",
    unit: "%",
    scale: 100,
    direction: "higher",
    range: [0, 1],
    empty: { both: null, truth: null, prediction: 0 },
    compute: () => 1,
  },
  /** 1 where there is no tumour and anything is painted: its mean is the share of such slices. */
  healthyPainted: {
    ...unprompted,
    label: "Tumour-free slices painted",
    definition: "tumour-free slices painted: share of them in which anything is",
    unit: "%",
    scale: 100,
    direction: "lower",
    range: [0, 1],
    empty: { both: 0, truth: 1, prediction: null },
    compute: () => null,
  },
  /** Area painted into a slice without tumour; in cm² as it is printed, in mm² as it is recorded. */
  healthyArea: {
    ...unprompted,
    label: "Area painted there",
    definition: "area painted there: mean over tumour-free slices, painted or not",
    unit: "cm²",
    scale: 0.01,
    direction: "lower",
    range: [0, Infinity],
    empty: {
      both: 0,
      truth: ({ counts, element }) => counts.predicted * element,
      prediction: null,
    },
    compute: () => null,
  },
};

/** Names of all metrics, in the order of tables. */
export const MASK_METRICS: readonly MaskMetric[] = Object.keys(METRICS) as MaskMetric[];

/** Names of the metrics of a level, in the order of tables. */
export function metricsAt(level: Level): MaskMetric[] {
  return MASK_METRICS.filter((name) => METRICS[name].levels.includes(level));
}

/** Names of the metrics that tables list beside Dice at a level, in their order. */
export function columnsAt(level: Level): MaskMetric[] {
  return MASK_METRICS.filter((name) => METRICS[name].columns.includes(level));
}

/** Names of the metrics of masks without a prompt, in the order of tables. */
export const UNPROMPTED_METRICS: readonly MaskMetric[] = MASK_METRICS.filter((name) =>
  METRICS[name].unprompted
);

/** The value of a metric for a mask that is emptied: that of an empty prediction, with this truth or none. */
export function emptied(name: MaskMetric, { truth }: { truth: boolean }): number | null {
  const { both, prediction } = METRICS[name].empty;
  const value = truth ? prediction : both;
  if (typeof value === "number" || value === null) return value;
  throw new RangeError(`${name} of an empty mask depends on the truth`);
}

/** A metric's name and unit ("mm²") as tables print them at a level. */
export function labelOf(name: MaskMetric, level: Level): { label: string; unit: string } {
  const { label, unit } = METRICS[name];
  const size = level === "slice" ? "mm²" : "mm³";
  return {
    label: typeof label === "string" ? label : label[level],
    unit: unit === "size" ? size : unit,
  };
}

/** A metric's value for a pair of masks; null where it has none. */
export function measure(name: MaskMetric, pair: MaskPair): number | null {
  const { empty, compute } = METRICS[name];
  const { predicted, truth } = pair.counts;
  const state = truth > 0 ? predicted > 0 ? null : "prediction" : predicted > 0 ? "truth" : "both";
  const fixed = state === null ? undefined : empty[state];
  if (fixed === undefined) return compute(pair);
  return typeof fixed === "function" ? fixed(pair) : fixed;
}

/**
 * Dice coefficient 2 |P ∩ T| / (|P| + |T|) of two binary masks (any value but 0 is tumour): 1 if both
 * are empty, 0 if one is.
 *
 * @param prediction One byte a pixel.
 * @param truth The same grid.
 * @throws {RangeError} if the masks differ in length.
 */
export function dice(prediction: Uint8Array, truth: Uint8Array): number {
  const row = { shape: [truth.length, 1, 1], spacing: [1, 1, 1] } as const;
  return measure("dice", new MaskPair(prediction, truth, row))!;
}
