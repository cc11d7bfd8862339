/**
 * Distances between the surfaces of two masks, in mm.
 *
 * A mask's surface are its elements (pixels of a slice, voxels of a volume) with a face neighbour that
 * is not in the mask; beyond the image nothing is, but for ends that are open (`openEnds`). Distances run between the elements' centres. That
 * is the convention of MONAI's `compute_hausdorff_distance` and `compute_surface_dice` and of
 * Metrics Reloaded (Maier-Hein et al. 2024); DeepMind's surface-distance instead weighs pieces of a
 * mesh by their area, which differs by a fraction of a voxel.
 *
 * @module
 */
import { squaredDistanceTo } from "../data/distance.ts";
import { quantile } from "../stats/summary.ts";

/** Shape and spacing of a mask: a volume, or a slice with one element along the last axis. */
export interface MaskGrid {
  /** Elements along x (fastest), y and z. */
  readonly shape: readonly [nx: number, ny: number, nz: number];
  /** Size of an element along each axis, in mm. */
  readonly spacing: readonly [x: number, y: number, z: number];
  /**
   * True if nothing is known beyond the first and the last plane, as of slices that were cut out of a
   * tumour: then what is set there is no surface for that alone. A slice's own grid is open always.
   */
  readonly openEnds?: boolean;
}

/** The distances between two surfaces, in mm; empty where a mask is empty. */
export interface SurfaceDistances {
  /** From each element of the prediction's surface to the nearest of the truth's. */
  readonly toTruth: Float64Array;
  /** From each element of the truth's surface to the nearest of the prediction's. */
  readonly toPrediction: Float64Array;
}

/** Box within a grid. */
export interface Window {
  /** Its first element along x, y and z. */
  readonly from: readonly [x: number, y: number, z: number];
  /** Elements along each axis. */
  readonly shape: readonly [nx: number, ny: number, nz: number];
}

/** The smallest box with all set elements of some masks; null if there are none. */
export function windowOf(
  masks: readonly Uint8Array[],
  [nx, ny, nz]: MaskGrid["shape"],
): Window | null {
  const low = [nx, ny, nz];
  const high = [-1, -1, -1];
  const include = (axis: number, from: number, to: number) => {
    low[axis] = Math.min(low[axis], from);
    high[axis] = Math.max(high[axis], to);
  };
  for (const mask of masks) {
    for (let row = 0; row < ny * nz; row++) {
      let [first, last] = [row * nx, (row + 1) * nx - 1];
      while (first <= last && mask[first] === 0) first++;
      if (first > last) continue;
      while (mask[last] === 0) last--;
      include(0, first - row * nx, last - row * nx);
      include(1, row % ny, row % ny);
      include(2, Math.floor(row / ny), Math.floor(row / ny));
    }
  }
  if (high[0] < 0) return null;
  const size = (axis: number) => high[axis] - low[axis] + 1;
  return { from: [low[0], low[1], low[2]], shape: [size(0), size(1), size(2)] };
}

/** The surface of a mask within a window that holds all of it, on the window's grid. */
function surfaceOf(
  mask: Uint8Array,
  { shape: [nx, ny, nz], openEnds = nz === 1 }: Pick<MaskGrid, "shape" | "openEnds">,
  window: Window,
): Uint8Array {
  const [wx, wy, wz] = window.shape;
  const [fromX, fromY, fromZ] = window.from;
  const surface = new Uint8Array(wx * wy * wz);
  const plane = nx * ny;
  for (let z = fromZ, at = 0; z < fromZ + wz; z++) {
    for (let y = fromY; y < fromY + wy; y++) {
      for (let x = fromX; x < fromX + wx; x++, at++) {
        const i = z * plane + y * nx + x;
        if (mask[i] === 0) continue;
        const inner = x > 0 && mask[i - 1] !== 0 && x < nx - 1 && mask[i + 1] !== 0 &&
          y > 0 && mask[i - nx] !== 0 && y < ny - 1 && mask[i + nx] !== 0 &&
          (z > 0 ? mask[i - plane] !== 0 : openEnds) &&
          (z < nz - 1 ? mask[i + plane] !== 0 : openEnds);
        if (!inner) surface[at] = 1;
      }
    }
  }
  return surface;
}

/**
 * Distances between the surfaces of two masks. All are infinite if one of the masks is empty.
 *
 * @param prediction One byte an element, 0 or not.
 * @param truth The same grid.
 */
export function surfaceDistances(
  prediction: Uint8Array,
  truth: Uint8Array,
  { shape, spacing, openEnds }: MaskGrid,
): SurfaceDistances {
  const window = windowOf([prediction, truth], shape);
  if (!window) return { toTruth: new Float64Array(0), toPrediction: new Float64Array(0) };
  const own = surfaceOf(prediction, { shape, openEnds }, window);
  const other = surfaceOf(truth, { shape, openEnds }, window);
  const distances = (from: Uint8Array, to: Uint8Array) => {
    const squared = squaredDistanceTo(to, { shape: window.shape, spacing });
    let count = 0;
    for (let i = 0; i < from.length; i++) {
      if (from[i] !== 0) squared[count++] = Math.sqrt(squared[i]);
    }
    return squared.slice(0, count);
  };
  return { toTruth: distances(own, other), toPrediction: distances(other, own) };
}

/** The length of a grid's diagonal in mm: the farthest that two masks on it can be apart. */
export function diagonal({ shape, spacing }: MaskGrid): number {
  return Math.hypot(...shape.map((n, axis) => n > 1 ? n * spacing[axis] : 0));
}

/**
 * 95 % Hausdorff distance in mm of two masks that are not empty: the larger of the two directions' 95th
 * percentiles (interpolated linearly).
 */
export function hausdorff95({ toTruth, toPrediction }: SurfaceDistances): number {
  return Math.max(quantile(toTruth, 0.95), quantile(toPrediction, 0.95));
}

/** Spacings come from 32-bit headers: a distance so little above a tolerance is that tolerance. */
const ROUNDING_MM = 1e-6;

/**
 * Surface Dice (Nikolov et al. 2018) of two masks that are not empty: the share of both surfaces that
 * lies within a tolerance of the other.
 *
 * @param tolerance In mm; a distance of exactly it still counts as within.
 */
export function surfaceDice(
  { toTruth, toPrediction }: SurfaceDistances,
  tolerance: number,
): number {
  let within = 0;
  for (const distance of toTruth) within += Number(distance <= tolerance + ROUNDING_MM);
  for (const distance of toPrediction) within += Number(distance <= tolerance + ROUNDING_MM);
  return within / (toTruth.length + toPrediction.length);
}
