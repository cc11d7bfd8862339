import { InputError } from "../errors.ts";
import type { Volume } from "../formats/volume.ts";

/** A place of a volume: by voxels along its three axes, or in millimetres. */
export type Place = readonly [x: number, y: number, z: number];

/**
 * The voxel that holds a place in millimetres: of the affine's inverse the nearest whole numbers, halves
 * rounded up, as SimpleITK's `TransformPhysicalPointToIndex` does (whose places are LPS, not RAS).
 *
 * @param place In the coordinates of the affine: in NIfTI right, anterior, superior.
 * @returns a voxel that may lie outside the volume.
 * @throws {InputError} if the affine has no inverse.
 */
export function voxelAt(
  { affine }: Pick<Volume, "affine">,
  place: Place,
): [x: number, y: number, z: number] {
  const inverse = invert(affine);
  const moved = place.map((mm, row) => mm - affine[4 * row + 3]);
  const voxel = inverse.map((row) => row.reduce((sum, value, i) => sum + value * moved[i], 0));
  return voxel.map((at) => Math.floor(at + 0.5)) as [number, number, number];
}

/** The inverse of an affine's 3 x 3 part, by rows: cofactors over the determinant. */
function invert(affine: Float64Array): number[][] {
  const m = (row: number, column: number) => affine[4 * (row % 3) + column % 3];
  const cofactor = (row: number, column: number) =>
    m(row + 1, column + 1) * m(row + 2, column + 2) -
    m(row + 1, column + 2) * m(row + 2, column + 1);
  const axes = [0, 1, 2];
  const determinant = axes.reduce((sum, column) => sum + m(0, column) * cofactor(0, column), 0);
  if (!Number.isFinite(1 / determinant)) {
    throw new InputError(
      "the scan's affine cannot be inverted, so that millimetres name no voxel: give voxels, " +
        "or mend its header",
    );
  }
  return axes.map((row) => axes.map((column) => cofactor(column, row) / determinant));
}
