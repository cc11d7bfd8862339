import type { Volume } from "../formats/volume.ts";

/** The voxel axis that slices are perpendicular to. */
export type Axis = 0 | 1 | 2;

/**
 * The grid of slices along an axis, as strides into the volume: rows run along the second in-plane
 * voxel axis and columns along the first.
 */
export interface Plane {
  /** Columns. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
  /** Pixel size in mm: between columns, between rows. */
  readonly spacing: [number, number];
  /** Voxels from one column to the next. */
  readonly columnStride: number;
  /** Voxels from one row to the next. */
  readonly rowStride: number;
  /** Voxels from one slice to the next. */
  readonly sliceStride: number;
}

/** A part of one slice. */
export interface Window {
  /** Its first column. */
  readonly x: number;
  /** Its first row. */
  readonly y: number;
  /** Columns. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
  /** The slice. */
  readonly index: number;
}

/** Every pixel of a slice. */
export function whole({ width, height }: Plane): Omit<Window, "index"> {
  return { x: 0, y: 0, width, height };
}

/** The slices of a volume along an axis. */
export function planeOf({ shape, spacing }: Pick<Volume, "shape" | "spacing">, axis: Axis): Plane {
  const strides = [1, shape[0], shape[0] * shape[1]];
  const [column, row] = [0, 1, 2].filter((a) => a !== axis);
  return {
    width: shape[column],
    height: shape[row],
    spacing: [spacing[column], spacing[row]],
    columnStride: strides[column],
    rowStride: strides[row],
    sliceStride: strides[axis],
  };
}

/** The pixels of a window, rows one after another. */
export function cut<T extends Float32Array | Uint8Array>(
  voxels: T,
  plane: Plane,
  window: Window,
): T {
  const { x, y, width, height, index } = window;
  const pixels =
    (voxels instanceof Float32Array
      ? new Float32Array(width * height)
      : new Uint8Array(width * height)) as T;
  for (let row = 0; row < height; row++) {
    let at = index * plane.sliceStride + (y + row) * plane.rowStride + x * plane.columnStride;
    for (let column = 0; column < width; column++, at += plane.columnStride) {
      pixels[row * width + column] = voxels[at];
    }
  }
  return pixels;
}

/** Writes the pixels of a window back into the volume they were cut from. */
export function paste(
  pixels: Float32Array | Uint8Array,
  voxels: Float32Array | Uint8Array,
  { plane, window }: { plane: Plane; window: Window },
): void {
  const { x, y, width, height, index } = window;
  for (let row = 0; row < height; row++) {
    let at = index * plane.sliceStride + (y + row) * plane.rowStride + x * plane.columnStride;
    for (let column = 0; column < width; column++, at += plane.columnStride) {
      voxels[at] = pixels[row * width + column];
    }
  }
}
