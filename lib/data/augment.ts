/**
 * Augmentation of a slice before it is trained on. Here the numbers are drawn and the mask is warped,
 * on which prompts and loss are made; what they do to the image is done on the device
 * (`lib/tensor/ops/augment.ts`). Only flips are done to both here: there are few of them, so that what
 * the encoder makes of them can be kept.
 *
 * @module
 */
import { Random } from "../random.ts";
import type { AugmentOptions } from "./augment_options.ts";
import type { Slice } from "./slices.ts";
import { affineMatrix, type Displacement, type Warp, warpMask } from "./warp.ts";

/** Axes along which a slice is mirrored. */
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

/** Chances of each flip, in [0, 1]. */
export interface FlipOptions {
  /** Of mirroring left and right; default 0.5. */
  horizontal?: number;
  /** Of mirroring up and down; default 0, since heads are rarely scanned upside down. */
  vertical?: number;
}

/** Changes of an image of intensities 0..255 that the device computes, in the order of the fields. */
export interface ImageChange {
  /** Moves the pixels; null to leave them where they are. */
  readonly warp: Warp | null;
  /** The power that intensities are raised to, as shares of 255; 1 for none. */
  readonly gamma: number;
  /** The field that they are multiplied by; null for none. */
  readonly bias: BiasField | null;
  /** Noise added to them before they are clipped to 0..255; null for none. */
  readonly noise: { readonly deviation: number; readonly seed: number } | null;
}

/**
 * The logarithm of a gain: the sum of c(i, j) P_i(x) P_j(y) over the Legendre polynomials with
 * 0 < i + j <= order, x and y running from -1 to 1 over the image.
 */
export interface BiasField {
  /** The largest i + j. */
  readonly order: number;
  /** c(i, j), by i and then by j, without c(0, 0). */
  readonly coefficients: Float32Array;
}

/** A slice after augmentation. */
export interface AugmentedSlice {
  /** The slice, with another mask, and an image that has yet to undergo `change`. */
  readonly slice: Slice;
  /**
   * Key of what was done to it: with the slice's id it says which pixels these are. Empty for nothing; null
   * if they are not expected to come again.
   */
  readonly variant: string | null;
  /** Changes that the device is to compute; by default none. */
  readonly change?: ImageChange | null;
}

/**
 * Mirrors a slice at random. Two numbers are drawn whatever comes of it, so that one option does not
 * shift what a seed gives another.
 */
export function randomFlip(
  slice: Slice,
  random: Random,
  options: FlipOptions = {},
): { slice: Slice; variant: string } {
  const { horizontal = 0.5, vertical = 0 } = options;
  const draws = [random.uniform(), random.uniform()];
  const flipped = { slice, variant: "" };
  if (draws[0] < horizontal) {
    flipped.slice = flip(flipped.slice, "horizontal");
    flipped.variant += "/horizontal";
  }
  if (draws[1] < vertical) {
    flipped.slice = flip(flipped.slice, "vertical");
    flipped.variant += "/vertical";
  }
  return flipped;
}

/**
 * Augments a slice at random. Each augmentation draws from a fork of its own, named as it is: whether
 * and how strongly another is done changes nothing in it. `random` itself is not used up.
 */
export function augment(
  slice: Slice,
  random: Random,
  options: AugmentOptions,
): { slice: Slice; change: ImageChange | null } {
  const draw = <Name extends keyof AugmentOptions>(name: Name): Chosen<Name> => {
    const chosen = options[name];
    const own = random.fork(name);
    return chosen && own.uniform() < chosen.chance ? { ...chosen, random: own } : null;
  };
  const warped = drawWarp(slice, {
    rotation: draw("rotation"),
    scaling: draw("scaling"),
    elastic: draw("elastic"),
  });
  const [power, field, grain] = [draw("gamma"), draw("bias-field"), draw("noise")];
  if (!warped && !power && !field && !grain) return { slice, change: null };
  return {
    slice: warped ? { ...slice, mask: warped.mask } : slice,
    change: {
      warp: warped?.warp ?? null,
      gamma: power ? aroundOne(power) : 1,
      bias: field && {
        order: field.order,
        coefficients: Float32Array.from(
          { length: (field.order + 1) * (field.order + 2) / 2 - 1 },
          () => field.random.uniformIn(-field.strength, field.strength),
        ),
      },
      noise: grain && {
        deviation: grain.random.uniformIn(grain.low, grain.high) * deviationOf(slice.image),
        seed: grain.random.int(2 ** 32),
      },
    },
  };
}

/** Augmentation of a training. */
export interface TrainingAugmentation {
  /** Chance of a left-right flip. */
  readonly flip: number;
  /** The other augmentations. */
  readonly augment: AugmentOptions;
  /** Fixed variants of each slice beside itself; 0 to augment anew each time. */
  readonly augmentVariants: number;
  /** Decides what is drawn. */
  readonly seed: number;
}

/**
 * A slice as an epoch trains on it: augmented anew or, with variants, the one of itself and its
 * `augmentVariants` variants whose turn it is. Each slice begins with another one, so that an epoch has
 * some of all. Variants depend on seed and slice alone, so that what the encoder makes of them can be
 * kept from one round of them to the next.
 *
 * @param epoch Counted from 1.
 * @param order The epoch's stream; only flips without variants use it up.
 */
export function augmentForEpoch(
  slice: Slice,
  { epoch, order }: { epoch: number; order: Random },
  options: TrainingAugmentation,
): AugmentedSlice {
  const { augmentVariants: variants, seed } = options;
  if (variants === 0) {
    const flipped = randomFlip(slice, order, { horizontal: options.flip });
    const augmented = augment(
      flipped.slice,
      order.fork(`augment ${slice.ref.id}`),
      options.augment,
    );
    return { ...augmented, variant: augmented.change ? null : flipped.variant };
  }
  const random = new Random(seed).fork(`variants of ${slice.ref.id}`);
  const k = (random.int(variants + 1) + epoch - 1) % (variants + 1);
  if (k === 0) return { slice, variant: "" };
  const own = random.fork(`${k}`);
  const flipped = randomFlip(slice, own.fork("flip"), { horizontal: options.flip });
  const augmented = augment(flipped.slice, own, options.augment);
  const name = `/${k} of ${JSON.stringify([seed, options.flip, options.augment])}`;
  return { ...augmented, variant: augmented.change ? name : flipped.variant };
}

/** Warps drawn before a slice is left where it is. */
const ATTEMPTS = 4;

/** Share of a tumour, enlarged or shrunk as the slice is, that a warp must leave in the image. */
const KEPT_SHARE = 0.5;

/** Tumour pixels that a warp must leave, of a tumour that has as many. */
const KEPT_PIXELS = 10;

/** Parameters of an augmentation that was chosen, and the stream that it draws from. */
type Chosen<Name extends keyof AugmentOptions> =
  | (NonNullable<AugmentOptions[Name]> & { readonly random: Random })
  | null;

/**
 * Draws turn, scale and deformation together until the tumour stays in the image.
 *
 * @returns null if none of them was chosen, or none of {@linkcode ATTEMPTS} draws leaves the tumour.
 */
function drawWarp(
  { ref: { width, height, spacing }, mask }: Slice,
  chosen: {
    rotation: Chosen<"rotation">;
    scaling: Chosen<"scaling">;
    elastic: Chosen<"elastic">;
  },
): { warp: Warp; mask: Uint8Array } | null {
  const { rotation, scaling, elastic } = chosen;
  if (!rotation && !scaling && !elastic) return null;
  const before = countOf(mask);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const degrees = rotation?.random.uniformIn(-rotation.degrees, rotation.degrees) ?? 0;
    const scale = scaling ? aroundOne(scaling) : 1;
    const warp = {
      matrix: affineMatrix({ width, height, spacing, degrees, scale }),
      displacement: elastic && drawDisplacement(elastic, { width, height }),
    };
    const warped = warpMask({ mask, width, height }, warp);
    const after = countOf(warped);
    const least = Math.max(KEPT_SHARE * before * scale ** 2, Math.min(before, KEPT_PIXELS));
    if (after >= least) return { warp, mask: warped };
  }
  return null;
}

function drawDisplacement(
  { random, magnitude, controlPoints }: NonNullable<Chosen<"elastic">>,
  { width, height }: { width: number; height: number },
): Displacement {
  const side = Math.max(width, height);
  const spacing = Math.max(1, side - 1) / (controlPoints - 1);
  const columns = Math.floor((width - 1) / spacing) + 4;
  const rows = Math.floor((height - 1) / spacing) + 4;
  const shifts = Float32Array.from(
    { length: 2 * rows * columns },
    () => random.uniformIn(-magnitude * side, magnitude * side),
  );
  return { spacing, columns, rows, shifts };
}

/** A factor within a range: below 1 and above it half of the time each, if the range has both. */
function aroundOne(
  { random, low, high }: { random: Random; low: number; high: number },
): number {
  const below = random.uniform() < 0.5;
  if (low >= 1 || high <= 1) return random.uniformIn(low, high);
  return below ? random.uniformIn(low, 1) : random.uniformIn(1, high);
}

function countOf(mask: Uint8Array): number {
  let count = 0;
  for (let i = 0; i < mask.length; i++) if (mask[i] !== 0) count++;
  return count;
}

/** Standard deviation of the pixels above 0; 0 if there are none. */
function deviationOf(image: Float32Array): number {
  let count = 0, sum = 0, squares = 0;
  for (let i = 0; i < image.length; i++) { // a quarter of the time of for-of
    const pixel = image[i];
    if (pixel <= 0) continue;
    count++;
    sum += pixel;
    squares += pixel * pixel;
  }
  return count > 0 ? Math.sqrt(Math.max(0, squares / count - (sum / count) ** 2)) : 0;
}
