import type { Volume } from "../formats/volume.ts";

/** Letters of the sides that the world's axes (RAS) run to, and come from. */
const ENDS = ["RL", "AP", "SI"] as const;

/** An {@linkcode orientationOf} a volume: one letter of each pair. */
export const ORIENTATION = /^(?=.*[RL])(?=.*[AP])(?=.*[SI]).{3}$/;

/**
 * Sides of the patient that the voxel axes run to, such as `LPS`, as nibabel's `aff2axcodes` has them; those
 * nearest where the volume lies obliquely. Null if the file does not say how it lies, or its affine only scales,
 * from a corner at the origin: programs that do not know write that.
 */
export function orientationOf(
  { affine, isPlaced }: Pick<Volume, "affine" | "isPlaced">,
): string | null {
  const orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] as const;
  const unit = (row: number, column: number) => {
    const length = Math.hypot(affine[column], affine[4 + column], affine[8 + column]);
    return affine[4 * row + column] / length;
  };
  const agreement = (order: readonly number[]) =>
    order.reduce((sum, row, column) => sum + Math.abs(unit(row, column)), 0);
  if (!isPlaced || !Number.isFinite(agreement(orders[0])) || isBareScaling(affine)) return null;
  const best = orders.toSorted((a, b) => agreement(b) - agreement(a))[0];
  return best.map((row, column) => ENDS[row][unit(row, column) > 0 ? 0 : 1]).join("");
}

/** True if an affine is spacings, with x and y from 0 and no turn in NIfTI's space or in ITK's, for want of anything better. */
function isBareScaling(affine: Float64Array): boolean {
  const isDiagonal = [1, 2, 4, 6, 8, 9].every((at) => affine[at] === 0);
  const isUnturned = affine[0] > 0 === affine[5] > 0 && affine[10] > 0;
  return isDiagonal && isUnturned && affine[3] === 0 && affine[7] === 0;
}
