import { InputError } from "../errors.ts";

/** A 3D image: one modality of one scan, or its segmentation. */
export interface Volume {
  /** Scaled voxel values, x fastest: voxel (x, y, z) is `data[x + nx * (y + ny * z)]`. */
  readonly data: Float32Array;
  /** Voxels along x, y and z. */
  readonly shape: readonly [nx: number, ny: number, nz: number];
  /** Voxel size along x, y and z in mm. */
  readonly spacing: readonly [number, number, number];
  /** 4 x 4, row-major: voxel index to mm, with x to the right, y to the front and z up (RAS, as NIfTI's). */
  readonly affine: Float64Array;
  /** True if the file says where it lies; if not, the affine is the spacing on the diagonal. */
  readonly isPlaced: boolean;
  /**
   * Header of the NIfTI file that it was read from (348 or 540 bytes), so that its mask can be written
   * with the same; null if it comes from elsewhere.
   */
  readonly header: Uint8Array<ArrayBuffer> | null;
  /** Odd things about the file and how they were taken, each as the end of a sentence: "its …". */
  readonly notes: readonly string[];
}

/** Voxels of the largest volume that is read: 1024 x 1024 x 512, 2 GiB of float32. */
export const MAX_VOXELS = 2 ** 29;

/** End of the sentence on a volume that the host has no memory for. */
export const NO_ROOM = "does not fit into memory: close other programs, or crop or resample it";

/** Part of a voxel by which the same voxel of an image and of its mask may lie apart. */
const GRID_TOLERANCE = 0.1;

/**
 * Refuses a mask that is not on its image's grid: one of another shape, or whose affine puts a corner of
 * the volume elsewhere by more than a tenth of a voxel, as one that is flipped, shifted or resampled
 * does. A file that says nothing of its place is taken by its shape.
 *
 * @param image The image, and the name that the message gives it.
 * @param mask Its segmentation, and the name that the message gives it.
 * @throws {InputError} if the two do not lie on one grid.
 */
export function requireSameGrid(
  image: { readonly volume: Volume; readonly name: string },
  mask: { readonly volume: Volume; readonly name: string },
): void {
  const [a, b] = [image.volume, mask.volume];
  if (a.shape.some((n, i) => n !== b.shape[i])) {
    throw new InputError(
      `${image.name} (${a.shape.join(" x ")}) and ${mask.name} (${b.shape.join(" x ")}) ` +
        `differ in shape: give the mask of this very image`,
    );
  }
  if (!a.isPlaced || !b.isPlaced) return;
  const tolerance = GRID_TOLERANCE * Math.min(...a.spacing);
  for (let corner = 0; corner < 8; corner++) {
    const voxel = a.shape.map((n, i) => corner >> i & 1 ? n - 1 : 0);
    const [here, there] = [a, b].map(({ affine }) =>
      [0, 1, 2].map((row) =>
        affine[4 * row + 3] + voxel.reduce((sum, at, i) => sum + affine[4 * row + i] * at, 0)
      )
    );
    if (Math.hypot(...here.map((mm, i) => mm - there[i])) <= tolerance) continue;
    const text = (place: readonly number[]) => place.map((mm) => mm.toFixed(1)).join(", ");
    throw new InputError(
      `${image.name} and ${mask.name} lie in different places (voxel ${voxel.join(", ")} at ` +
        `${text(here)} mm and at ${text(there)} mm): give the mask of this very image, or mend ` +
        `the affine of the one that is wrong`,
    );
  }
}

/** Options of {@linkcode createVolume}. */
export interface CreateVolumeOptions {
  /** Voxels along x, y and z. */
  shape: readonly [number, number, number];
  /** Voxel size in mm; default 1 mm. */
  spacing?: readonly [number, number, number];
  /** 4 x 4, row-major, voxel to mm; default: the spacing on the diagonal. */
  affine?: Float64Array;
  /** False if nothing is known of its place; default true. */
  isPlaced?: boolean;
  /** As in {@linkcode Volume}; default none. */
  notes?: readonly string[];
}

/**
 * Makes a volume from voxels in memory, x fastest.
 *
 * @example
 * ```ts
 * const volume = createVolume(new Float32Array(4 * 3 * 2), { shape: [4, 3, 2] });
 * ```
 * @throws {InputError} if the number of voxels is not the product of the shape.
 */
export function createVolume(data: Float32Array, options: CreateVolumeOptions): Volume {
  const { shape, spacing = [1, 1, 1], isPlaced = true, notes = [] } = options;
  const voxels = shape[0] * shape[1] * shape[2];
  if (data.length !== voxels) {
    throw new InputError(
      `a volume of ${shape.join(" x ")} needs ${voxels} voxels, not ${data.length}: fix its shape`,
    );
  }
  const [sx, sy, sz] = spacing;
  const affine = options.affine ??
    Float64Array.of(sx, 0, 0, 0, 0, sy, 0, 0, 0, 0, sz, 0, 0, 0, 0, 1);
  return { data, shape, spacing, affine, isPlaced, header: null, notes };
}

/**
 * Refuses voxels that are no numbers.
 *
 * @throws {InputError} naming the file, their number and the place of the first.
 */
export function requireFinite(
  data: Float32Array,
  { shape: [nx, ny], name }: { shape: Volume["shape"]; name: string },
): void {
  let count = 0;
  let first = -1;
  for (let i = 0; i < data.length; i++) {
    if (Number.isFinite(data[i])) continue;
    if (count++ === 0) first = i;
  }
  if (count === 0) return;
  const where = [first % nx, Math.floor(first / nx) % ny, Math.floor(first / (nx * ny))];
  throw new InputError(
    `${name} holds ${count} voxel${count === 1 ? " that is" : "s that are"} NaN or infinite ` +
      `(the first at x, y, z = ${where.join(", ")}): replace them, for example by 0`,
  );
}

/** Geometry of a volume as file formats other than NIfTI tell it. */
export interface Axes {
  /** For each voxel axis the step from one voxel to the next, in mm. */
  readonly axes: readonly (readonly number[])[];
  /** Position of voxel (0, 0, 0). */
  readonly origin: readonly number[];
  /** Signs that bring both to NIfTI's space: right, front, up. */
  readonly signs: readonly [number, number, number];
}

/**
 * Geometry of a volume by its axes, or by nothing but the sizes of its voxels, 1 mm where they are not
 * known.
 *
 * @param name Name of the file, for messages.
 * @throws {InputError} if axes are not finite or do not span a space.
 */
export function geometryOf(
  given: Axes | { readonly sizes: readonly number[] },
  name: string,
): Pick<Volume, "spacing" | "affine" | "isPlaced" | "notes"> {
  const affine = new Float64Array(16);
  affine[15] = 1;
  if ("sizes" in given) {
    const known = given.sizes.filter((size) => size > 0 && Number.isFinite(size));
    const spacing = [0, 1, 2].map((i) => given.sizes[i] > 0 ? given.sizes[i] : 1);
    spacing.forEach((size, i) => affine[5 * i] = size);
    const told = known.length === 0
      ? "neither orientation nor voxel size, which is taken as 1 mm"
      : known.length < 3
      ? "no orientation, and not the distance between slices, which is taken as 1 mm"
      : "no orientation";
    const notes = [`its header tells ${told}`];
    return { spacing: spacing as [number, number, number], affine, isPlaced: false, notes };
  }
  const { axes, origin, signs } = given;
  for (const row of [0, 1, 2]) {
    axes.forEach((axis, column) => affine[4 * row + column] = signs[row] * axis[row]);
    affine[4 * row + 3] = signs[row] * origin[row];
  }
  const [a, b, c] = axes;
  const determinant = a[0] * (b[1] * c[2] - b[2] * c[1]) - b[0] * (a[1] * c[2] - a[2] * c[1]) +
    c[0] * (a[1] * b[2] - a[2] * b[1]);
  const spacing = axes.map((axis) => Math.hypot(...axis)) as [number, number, number];
  const volume = spacing[0] * spacing[1] * spacing[2];
  if (affine.every(Number.isFinite) && Math.abs(determinant) > 1e-6 * volume) {
    return { spacing, affine, isPlaced: true, notes: [] };
  }
  throw new InputError(
    `${name} has axes that do not span a space (${axes.join("; ")}): its header is damaged, so ` +
      `save or copy it again`,
  );
}

/** An image with a note if it shows nothing. */
export function noteConstant(image: Volume): Volume {
  const [first] = image.data;
  if (image.data.some((value) => value !== first)) return image;
  return { ...image, notes: [...image.notes, `its voxels all have the value ${first}`] };
}
