/** Figures of one predicted mask that guards look at: shares are of the slice's pixels. */
export interface MaskFigures {
  /** Dice with the truth. */
  readonly dice: number;
  /** Share of pixels that are predicted. */
  readonly predicted: number;
  /** Share of pixels that are tumour. */
  readonly truth: number;
  /** Target pixels that are neither 0 nor 1. */
  readonly odd: number;
  /** Hash of the logits; 0 where none was computed. */
  readonly output: number;
}

/**
 * Sorts the figures of several masks as they are read back from the device.
 *
 * @param values Dice [masks], counts of `maskOverlap` [masks, 4] and, where computed, hashes [masks].
 * @param sizes.pixels Pixels of a slice.
 */
export function maskFigures(
  values: ArrayLike<number>,
  { masks, pixels }: { masks: number; pixels: number },
): MaskFigures[] {
  return Array.from({ length: masks }, (_, i) => {
    const at = masks + 4 * i;
    return {
      dice: values[i],
      odd: values[at],
      predicted: values[at + 2] / pixels,
      truth: values[at + 3] / pixels,
      output: values[5 * masks + i] ?? 0,
    };
  });
}
