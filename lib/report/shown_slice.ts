/**
 * Slices as radiologists look at them: axial and coronal ones with the patient's right on the left, sagittal
 * ones with the front on the left; anterior or superior above; in the scan's aspect.
 *
 * @module
 */
import { type Axis, planeOf } from "../data/plane.ts";
import type { Volume } from "../formats/volume.ts";

/** The way in which slices along an axis are shown. */
export interface SliceDisplay {
  /** Plane of the body, or that the orientation is not known. */
  readonly plane: "axial" | "coronal" | "sagittal" | "orientation unknown";
  /** Letters of the sides where they are known: R, L, A, P, S, I. */
  readonly sides: { readonly left: string; readonly top: string } | null;
  /** True if rows become columns. */
  readonly transposed: boolean;
  /** True if columns, after that, run the other way. */
  readonly flippedX: boolean;
  /** True if rows, after that, run the other way. */
  readonly flippedY: boolean;
  /** Size of a pixel in mm between columns and between rows, as shown. */
  readonly spacing: readonly [number, number];
}

/** World axis that runs from left to right and from top to bottom, by the axis across the plane; all backwards in RAS. */
const SCREEN = [
  { plane: "sagittal", across: 1, down: 2, sides: { left: "A", top: "S" } },
  { plane: "coronal", across: 0, down: 2, sides: { left: "R", top: "S" } },
  { plane: "axial", across: 0, down: 1, sides: { left: "R", top: "A" } },
] as const;

/**
 * The way to show the slices of a volume. An oblique one is shown as the plane that is nearest; one that does
 * not say how it lies as its voxels do.
 */
export function displayOf(
  { shape, spacing, affine, isPlaced }: Pick<Volume, "shape" | "spacing" | "affine" | "isPlaced">,
  axis: Axis,
): SliceDisplay {
  const own = planeOf({ shape, spacing }, axis).spacing;
  const world = worldAxes(affine);
  if (!isPlaced || !world) {
    return {
      plane: "orientation unknown",
      sides: null,
      transposed: false,
      flippedX: false,
      flippedY: false,
      spacing: own,
    };
  }
  const { plane, across, down, sides } = SCREEN[world[axis].axis];
  const [column] = [0, 1, 2].filter((other) => other !== axis);
  const transposed = world[column].axis !== across;
  const along = (axis: number) => world.find((one) => one.axis === axis)!;
  return {
    plane,
    sides,
    transposed,
    flippedX: along(across).forwards,
    flippedY: along(down).forwards,
    spacing: transposed ? [own[1], own[0]] : own,
  };
}

/** For each voxel axis the world axis nearest to it, each once, and whether it runs that way. */
function worldAxes(affine: Float64Array): { axis: 0 | 1 | 2; forwards: boolean }[] | null {
  const orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] as const;
  const unit = (row: number, column: number) => {
    const length = Math.hypot(affine[column], affine[4 + column], affine[8 + column]);
    return affine[4 * row + column] / length;
  };
  const agreement = (order: readonly number[]) =>
    order.reduce((sum, row, column) => sum + Math.abs(unit(row, column)), 0);
  if (!Number.isFinite(agreement(orders[0]))) return null;
  const best = orders.toSorted((a, b) => agreement(b) - agreement(a))[0];
  return best.map((axis, column) => ({ axis, forwards: unit(axis, column) > 0 }));
}

/** Pixels of a slice as they are shown, of one size in both directions. */
export function asShown<T extends Float32Array | Uint8Array>(
  pixels: T,
  { width, height }: { width: number; height: number },
  { transposed, flippedX, flippedY, spacing }: SliceDisplay,
): { pixels: T; width: number; height: number } {
  const [columns, rows] = transposed ? [height, width] : [width, height];
  const pixel = Math.min(...spacing);
  const [shownWidth, shownHeight] = [columns * spacing[0], rows * spacing[1]]
    .map((length) => Math.max(1, Math.round(length / pixel)));
  const size = shownWidth * shownHeight;
  const shown =
    (pixels instanceof Float32Array ? new Float32Array(size) : new Uint8Array(size)) as T;
  for (let y = 0; y < shownHeight; y++) {
    const row = Math.floor((flippedY ? shownHeight - 1 - y : y) * rows / shownHeight);
    for (let x = 0; x < shownWidth; x++) {
      const column = Math.floor((flippedX ? shownWidth - 1 - x : x) * columns / shownWidth);
      shown[y * shownWidth + x] = pixels[transposed ? column * width + row : row * width + column];
    }
  }
  return { pixels: shown, width: shownWidth, height: shownHeight };
}
