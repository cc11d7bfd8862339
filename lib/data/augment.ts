import type { Random } from "../random.ts";
import type { Slice } from "./slices.ts";

/** Which way a slice is mirrored. */
export type FlipDirection = "horizontal" | "vertical";

/** Mirrors image and mask together; the slice given is left alone. */
export function flip(slice: Slice, direction: FlipDirection): Slice {
  const { width, height } = slice.ref;
  const image = new Float32Array(slice.image.length);
  const mask = new Uint8Array(slice.mask.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = y * width + x;
      const to = direction === "horizontal"
        ? y * width + (width - 1 - x)
        : (height - 1 - y) * width + x;
      image[to] = slice.image[from];
      mask[to] = slice.mask[from];
    }
  }
  return { ref: slice.ref, image, mask };
}

/** Chances of each augmentation, in [0, 1]. */
export interface AugmentOptions {
  /** Of mirroring left and right; default 0.5. */
  horizontal?: number;
  /** Of mirroring up and down; default 0, since heads are rarely scanned upside down. */
  vertical?: number;
}

/** A slice after augmentation. */
export interface AugmentedSlice {
  /** The slice, with other pixels. */
  readonly slice: Slice;
  /** What was done to it: with the slice's id it says which pixels these are. Empty for nothing. */
  readonly variant: string;
}

/**
 * Augments a slice at random. Two numbers are drawn whatever comes of it, so that one option does not
 * shift what a seed gives another.
 */
export function augment(
  slice: Slice,
  random: Random,
  options: AugmentOptions = {},
): AugmentedSlice {
  const { horizontal = 0.5, vertical = 0 } = options;
  const draws = [random.uniform(), random.uniform()];
  const augmented = { slice, variant: "" };
  if (draws[0] < horizontal) {
    augmented.slice = flip(augmented.slice, "horizontal");
    augmented.variant += "/horizontal";
  }
  if (draws[1] < vertical) {
    augmented.slice = flip(augmented.slice, "vertical");
    augmented.variant += "/vertical";
  }
  return augmented;
}
