/**
 * Slices as radiologists look at them: axial and coronal ones with the patient's right on the left, sagittal
 * ones with the front on the left; anterior or superior above; in the scan's aspect.
 *
 * @module
 */
import type { Axis } from "../data/plane.ts";
import type { Box } from "../data/prompts.ts";
import type { SliceRef } from "../data/slices.ts";
import type { GreySlice } from "./slice_view.ts";

/** A slice as it is stored, and all that says how to show it. */
export interface StoredSlice
  extends GreySlice, Pick<SliceRef, "axis" | "spacing" | "orientation"> {}

/** Letters of the patient's sides at a picture's left and top. */
export interface Sides {
  /** R or A. */
  readonly left: string;
  /** A or S. */
  readonly top: string;
}

/** The way in which slices along an axis are shown. */
interface SliceDisplay {
  readonly plane: "axial" | "coronal" | "sagittal" | "as stored";
  readonly sides: Sides | null;
  /** True if rows become columns. */
  readonly transposed: boolean;
  /** True if columns, after that, run the other way. */
  readonly flippedX: boolean;
  /** True if rows, after that, run the other way. */
  readonly flippedY: boolean;
}

/** Letters of the axes that run to the right and down, both backwards, by that of the axis across. */
const SCREEN = [
  { plane: "sagittal", normal: "RL", across: "AP", down: "SI" },
  { plane: "coronal", normal: "AP", across: "RL", down: "SI" },
  { plane: "axial", normal: "SI", across: "RL", down: "AP" },
] as const;

/**
 * The way to show the slices of a volume along an axis; as they are stored where its orientation is not known.
 *
 * @param orientation Sides that the voxel axes run to, such as `LPS`.
 */
function displayOf(orientation: string | null, axis: Axis): SliceDisplay {
  if (orientation === null) {
    return {
      plane: "as stored",
      sides: null,
      transposed: false,
      flippedX: false,
      flippedY: false,
    };
  }
  const { plane, across, down } = SCREEN.find(({ normal }) => normal.includes(orientation[axis]))!;
  const [column] = [0, 1, 2].filter((other) => other !== axis);
  return {
    plane,
    sides: { left: across[0], top: down[0] },
    transposed: !across.includes(orientation[column]),
    flippedX: orientation.includes(across[0]),
    flippedY: orientation.includes(down[0]),
  };
}

/** A slice as it is shown, and the way to its masks. */
export interface ShownSlice extends GreySlice {
  readonly image: Float32Array | Uint8Array;
  /** Plane of the body, or that the slice is shown as it is stored. */
  readonly plane: SliceDisplay["plane"];
  /** The patient's sides, where they are known. */
  readonly sides: Sides | null;
  /** A mask of the stored slice as it is shown. */
  readonly showMask: (stored: Uint8Array) => Uint8Array;
  /** A box in the stored slice as it is shown. */
  readonly showBox: (stored: Readonly<Box>) => Box;
}

/** Shows a slice in radiological convention where its orientation is known, with pixels of one size in both directions. */
export function showSlice(slice: StoredSlice): ShownSlice {
  const display = displayOf(slice.orientation, slice.axis);
  const { transposed, flippedX, flippedY } = display;
  const spacing = transposed ? slice.spacing.toReversed() : slice.spacing;
  const [columns, rows] = transposed ? [slice.height, slice.width] : [slice.width, slice.height];
  const pixel = Math.min(...spacing);
  const [width, height] = [columns * spacing[0], rows * spacing[1]]
    .map((length) => Math.max(1, Math.round(length / pixel)));
  const shown = <T extends Float32Array | Uint8Array>(pixels: T, result: T): T => {
    for (let y = 0; y < height; y++) {
      const row = Math.floor((flippedY ? height - 1 - y : y) * rows / height);
      for (let x = 0; x < width; x++) {
        const column = Math.floor((flippedX ? width - 1 - x : x) * columns / width);
        const from = transposed ? column * slice.width + row : row * slice.width + column;
        result[y * width + x] = pixels[from];
      }
    }
    return result;
  };
  const side = ([from, to]: number[], isFlipped: boolean, count: number, length: number) =>
    (isFlipped ? [count - to, count - from] : [from, to]).map((at) => at * length / count);
  return {
    image: shown(slice.image, new Float32Array(width * height)),
    width,
    height,
    plane: display.plane,
    sides: display.sides,
    showMask: (stored) => shown(stored, new Uint8Array(width * height)),
    showBox: ([x0, y0, x1, y1]) => {
      const [across, down] = transposed ? [[y0, y1], [x0, x1]] : [[x0, x1], [y0, y1]];
      const [left, right] = side(across, flippedX, columns, width);
      const [top, bottom] = side(down, flippedY, rows, height);
      return [left, top, right, bottom];
    },
  };
}

/** The line of a picture's corner that says how its slices lie. */
export function conventionNote(slices: readonly { readonly sides: Sides | null }[]): string {
  const known = slices.filter(({ sides }) => sides !== null).length;
  if (known === 0) return "Slices as stored: their headers do not say where left and right are.";
  return known === slices.length
    ? "Radiological convention: the patient's right is on the left, front or top above."
    : "Radiological convention (right on the left) where letters stand; others as stored.";
}
