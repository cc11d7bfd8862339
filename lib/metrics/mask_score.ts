import { dice, iou } from "./metrics.ts";
import { hausdorff95, type MaskGrid, surfaceDice, surfaceDistances } from "./surface_distance.ts";

/**
 * How well a mask, of a slice or of a volume, agrees with the truth. Sizes are mm² for a slice and mm³
 * for a volume.
 *
 * Empty masks are scored as in the BraTS challenges: both empty is a perfect score (Dice, IoU and
 * surface Dice 1, distance 0), one empty the worst (0, and the diagonal of the grid as distance).
 */
export interface MaskScore {
  /** 2 |P ∩ T| / (|P| + |T|). */
  readonly dice: number;
  /** |P ∩ T| / |P ∪ T|. */
  readonly iou: number;
  /** 95 % Hausdorff distance in mm. */
  readonly hd95: number;
  /** Share of the surfaces within 1 mm of each other. */
  readonly surfaceDice1mm: number;
  /** Share of the surfaces within 2 mm of each other. */
  readonly surfaceDice2mm: number;
  /** Size of the true tumour. */
  readonly truth: number;
  /** Size of the prediction. */
  readonly predicted: number;
  /** Size of what was predicted and is no tumour. */
  readonly falsePositive: number;
  /** (predicted - truth) / truth; null where there is no tumour. */
  readonly volumeError: number | null;
}

/** The metrics of a {@linkcode MaskScore} that tables and statistics take. */
export type MaskMetric =
  | "dice"
  | "iou"
  | "hd95"
  | "surfaceDice1mm"
  | "surfaceDice2mm"
  | "falsePositive"
  | "volumeError";

/** All metrics, in the order of tables. */
export const MASK_METRICS: readonly MaskMetric[] = [
  "dice",
  "iou",
  "hd95",
  "surfaceDice1mm",
  "surfaceDice2mm",
  "falsePositive",
  "volumeError",
];

/**
 * Scores a mask.
 *
 * @param prediction One byte an element, 0 or not.
 * @param truth The same grid.
 * @param grid Its sizes; a slice has one element of size 1 along the last axis, so that sizes are mm².
 * @throws {RangeError} if the masks differ in length.
 */
export function scoreMask(
  prediction: Uint8Array,
  truth: Uint8Array,
  grid: MaskGrid,
): MaskScore {
  const overlap = { dice: dice(prediction, truth), iou: iou(prediction, truth) };
  const distances = surfaceDistances(prediction, truth, grid);
  const [dx, dy, dz] = grid.spacing;
  const element = dx * dy * dz;
  let [set, predicted, wrong] = [0, 0, 0];
  for (let i = 0; i < truth.length; i++) {
    set += Number(truth[i] !== 0);
    predicted += Number(prediction[i] !== 0);
    wrong += Number(prediction[i] !== 0 && truth[i] === 0);
  }
  return {
    ...overlap,
    hd95: hausdorff95(distances, grid),
    surfaceDice1mm: surfaceDice(distances, 1),
    surfaceDice2mm: surfaceDice(distances, 2),
    truth: set * element,
    predicted: predicted * element,
    falsePositive: wrong * element,
    volumeError: set === 0 ? null : (predicted - set) / set,
  };
}
