/**
 * Lesion-wise scores of a volume after the rule of the BraTS 2023 challenges for meningioma (BraTS-MEN),
 * which the literature's figures for that data set follow.
 *
 * 1. Lesions are the 26-connected components of the truth after dilation by one voxel in all but the
 *    corner directions, so that parts a voxel or two apart count as one; their own voxels stay undilated.
 * 2. The prediction of a lesion are all 26-connected components of the predicted mask that touch the
 *    dilated lesion. A component may belong to several lesions.
 * 3. Each lesion above 50 mm³ has a Dice and an HD95; one without a prediction has 0 and 374 mm. Smaller
 *    ones are left out, with what was predicted of them.
 * 4. A predicted component that touches no lesion of any size counts as one more lesion with 0 and 374 mm.
 * 5. The case has the means; with nothing to score it has 1 and 0 mm.
 *
 * Source: https://github.com/rachitsaluja/BraTS-2023-Metrics (`get_lesion_wise_results`, "BraTS-MEN":
 * dilation factor 1, threshold 50) and the organisers' announcement,
 * https://www.synapse.org/Synapse:syn51156910/discussion/threadId=10357. Distances are this project's
 * (see `surface_distance.ts`); the challenge weighs pieces of a mesh by their area, which differs by a
 * fraction of a voxel.
 *
 * @module
 */
import { components } from "./components.ts";
import { MaskPair } from "./mask_pair.ts";
import { hausdorff95, type MaskGrid, type Window, windowOf } from "./surface_distance.ts";

/** Lesions of this size or smaller, in mm³, are not scored. */
const SMALLEST = 50;

/** HD95 in mm of a lesion that is missed or invented: the diagonal of BraTS's 240 x 240 x 155 voxels, rounded up. */
const FARTHEST = 374;

/** Means over a case's lesions. */
export interface LesionScore {
  /** Mean Dice, 0 to 1. */
  readonly dice: number;
  /** Mean HD95 in mm. */
  readonly hd95: number;
}

const scored = new WeakMap<MaskPair, LesionScore>();

/**
 * Mean Dice and HD95 over the lesions of a case; kept as long as the pair of masks is.
 *
 * @param pair A volume, or a slice, in which neighbours lie in the plane alone.
 */
export function scoreLesions(pair: MaskPair): LesionScore {
  const found = scored.get(pair) ?? computeLesions(pair);
  scored.set(pair, found);
  return found;
}

function computeLesions(pair: MaskPair): LesionScore {
  const window = windowOf([pair.prediction, pair.truth], pair.grid.shape);
  if (!window) return { dice: 1, hd95: 0 };
  const { grid, masks: [prediction, truth] } = crop(pair, window);
  const lesions = components(dilate(truth, grid.shape), grid.shape);
  const predicted = components(prediction, grid.shape);
  // The lesions that each predicted component touches, and the voxels of each lesion.
  const touched = Array.from({ length: predicted.count + 1 }, () => new Set<number>());
  const sizes = new Uint32Array(lesions.count + 1);
  for (let i = 0; i < truth.length; i++) {
    const lesion = lesions.labels[i];
    if (lesion === 0) continue;
    sizes[lesion] += truth[i];
    if (prediction[i] !== 0) touched[predicted.labels[i]].add(lesion);
  }
  const invented = touched.slice(1).filter(({ size }) => size === 0).length;
  let [dice, hd95, count] = [0, invented * FARTHEST, invented];
  for (let lesion = 1; lesion <= lesions.count; lesion++) {
    if (sizes[lesion] * pair.element <= SMALLEST) continue;
    count++;
    // A single lesion with all that was predicted is the pair itself, whose surfaces are at hand, unless they
    // are open: the challenge's lesions are closed.
    const isPair = lesions.count === 1 && invented === 0 && !pair.grid.openEnds;
    const own = isPair ? pair : new MaskPair(
      select(predicted.labels, touched.map((of) => of.has(lesion))),
      select(lesions.labels, Array.from(sizes, (_, label) => label === lesion), truth),
      grid,
    );
    dice += (2 * own.counts.both) / (own.counts.predicted + own.counts.truth);
    hd95 += own.counts.predicted === 0 ? FARTHEST : hausdorff95(own.surfaces);
  }
  return count === 0 ? { dice: 1, hd95: 0 } : { dice: dice / count, hd95: hd95 / count };
}

/** Both masks as zeros and ones within a window and a margin that dilation may fill. */
function crop(
  { prediction, truth, grid: { shape: [nx, ny, nz], spacing } }: MaskPair,
  { from: [fromX, fromY, fromZ], shape: [wx, wy, wz] }: Window,
): { grid: MaskGrid; masks: Uint8Array[] } {
  const deep = nz === 1 ? 0 : 1; // a slice has no margin across its plane
  const shape = [wx + 2, wy + 2, wz + 2 * deep] as const;
  const masks = [prediction, truth].map((mask) => {
    const cropped = new Uint8Array(shape[0] * shape[1] * shape[2]);
    for (let z = 0; z < wz; z++) {
      for (let y = 0; y < wy; y++) {
        const at = ((fromZ + z) * ny + fromY + y) * nx + fromX;
        const to = ((z + deep) * shape[1] + y + 1) * shape[0] + 1;
        for (let x = 0; x < wx; x++) cropped[to + x] = Number(mask[at + x] !== 0);
      }
    }
    return cropped;
  });
  return { grid: { shape, spacing }, masks };
}

/** A mask with an empty margin, grown by the neighbours that share a face or an edge with it. */
function dilate(mask: Uint8Array, [nx, ny, nz]: MaskGrid["shape"]): Uint8Array {
  const steps: number[] = [];
  for (const z of nz === 1 ? [0] : [-1, 0, 1]) {
    for (const y of [-1, 0, 1]) {
      for (const x of [-1, 0, 1]) if (x * y * z === 0) steps.push((z * ny + y) * nx + x);
    }
  }
  const grown = new Uint8Array(mask.length);
  for (let i = 0; i < mask.length; i++) {
    if (mask[i] !== 0) { for (const step of steps) grown[i + step] = 1; }
  }
  return grown;
}

/** The elements of the chosen labels, within a mask if one is given. */
function select(
  labels: Int32Array,
  chosen: readonly boolean[],
  within?: Uint8Array,
): Uint8Array {
  const mask = new Uint8Array(labels.length);
  for (let i = 0; i < mask.length; i++) {
    if (chosen[labels[i]] && within?.[i] !== 0) mask[i] = 1;
  }
  return mask;
}
