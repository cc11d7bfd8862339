import { InputError } from "../errors.ts";

/** Chance of an augmentation. */
export interface AugmentChance {
  /** Share of the slices, in [0, 1]. */
  readonly chance: number;
}

/** A range that a value is drawn from uniformly. */
export interface AugmentRange extends AugmentChance {
  /** The least. */
  readonly low: number;
  /** The most. */
  readonly high: number;
}

/**
 * Augmentations of a slice beside flips; one that is not named is not done. The ranges where none is
 * given are those of the tools that are known for them, halved where these are meant for whole scans of
 * any body part: nnU-Net v2 (Isensee et al. 2021) with its batchgenerators, and TorchIO (Pérez-García et
 * al. 2021).
 */
export interface AugmentOptions {
  /**
   * Turns the image about its centre, by up to so many degrees either way. Default 15: half of nnU-Net's
   * 30 for volumes.
   */
  readonly rotation?: AugmentChance & { readonly degrees: number };
  /**
   * Shrinks or enlarges the image about its centre by a factor, half of the time each, as nnU-Net draws
   * it. Default 0.85 to 1.2: half of nnU-Net's 0.7 to 1.4.
   */
  readonly scaling?: AugmentRange;
  /**
   * Shifts control points, `controlPoints` along the longer side, by up to `magnitude` of that side in x
   * and in y, with cubic B-splines between them. Default 7 points and 0.03: TorchIO's 7.5 mm of a head.
   */
  readonly elastic?: AugmentChance & { readonly magnitude: number; readonly controlPoints: number };
  /**
   * Raises intensities, as shares of 255, to a power, below and above 1 half of the time each. Default
   * 0.7 to 1.5: nnU-Net's.
   */
  readonly gamma?: AugmentRange;
  /**
   * Multiplies the image by the exponential of a polynomial in x and y of degree `order`, whose Legendre
   * coefficients lie within `strength` of 0 (the constant is left out). Default TorchIO's and MONAI's
   * order 3, and 0.2: gains within about 0.8 to 1.2 for the most part, as BrainWeb's 40 % field.
   */
  readonly "bias-field"?: AugmentChance & { readonly strength: number; readonly order: number };
  /**
   * Adds white Gaussian noise with a deviation that is a share of that of the slice's pixels above 0.
   * Default 0 to 0.1: nnU-Net's.
   */
  readonly noise?: AugmentRange;
}

/** The values that `--augment` starts from, by name. */
export const AUGMENT_DEFAULTS: Readonly<Required<AugmentOptions>> = {
  rotation: { degrees: 15, chance: 0.5 },
  scaling: { low: 0.85, high: 1.2, chance: 0.5 },
  elastic: { magnitude: 0.03, controlPoints: 7, chance: 0.5 },
  gamma: { low: 0.7, high: 1.5, chance: 0.5 },
  "bias-field": { strength: 0.2, order: 3, chance: 0.5 },
  noise: { low: 0, high: 0.1, chance: 0.5 },
};

/** The largest polynomial degree of a bias field. */
export const MAXIMUM_BIAS_ORDER = 5;

/** Names of the augmentations beside flips. */
export const AUGMENTATIONS = Object.keys(AUGMENT_DEFAULTS) as (keyof AugmentOptions)[];

/** Sets the strength from the number or range behind a name's equals sign. */
const strengths: Record<keyof AugmentOptions, readonly string[]> = {
  rotation: ["degrees"],
  scaling: ["low", "high"],
  elastic: ["magnitude"],
  gamma: ["low", "high"],
  "bias-field": ["strength"],
  noise: ["low", "high"],
};

/** A list of augmentations: those that it does not name are off. */
export interface AugmentList {
  /** Chance of a left-right flip. */
  readonly flip: number;
  /** The others. */
  readonly augment: AugmentOptions;
}

/**
 * Reads a list such as `flip,rotation=20,gamma=0.8:1.25@0.3`: names, each with its strength behind an
 * equals sign and its chance behind an at sign if they are not the defaults; `all` and `none` stand for
 * themselves.
 *
 * @throws {InputError} if a name, a strength or a chance is none, or a name occurs twice.
 */
export function parseAugment(text: string): AugmentList {
  if (text === "none") return { flip: 0, augment: {} };
  if (text === "all") return { flip: 0.5, augment: AUGMENT_DEFAULTS };
  const list: { flip: number; augment: Record<string, unknown> } = { flip: 0, augment: {} };
  const seen = new Set<string>();
  for (const item of text.split(",").map((item) => item.trim())) {
    const [, name, strength, chance] = /^([^=@]*)(?:=([^@]*))?(?:@(.*))?$/.exec(item) ?? [];
    const key = name as keyof AugmentOptions;
    if (name !== "flip" && !AUGMENTATIONS.includes(key)) {
      throw new InputError(
        `there is no augmentation "${name ?? item}": choose flip, ${
          AUGMENTATIONS.join(", ")
        }, all or none`,
      );
    }
    if (seen.has(name)) throw new InputError(`the augmentation ${name} is named twice`);
    seen.add(name);
    const often = chance === undefined ? {} : { chance: numberOf(chance, item) };
    if (often.chance !== undefined && !(often.chance >= 0 && often.chance <= 1)) {
      throw new InputError(`the chance of "${item}" is not within 0 and 1`);
    }
    if (name === "flip") {
      if (strength !== undefined) {
        throw new InputError(`flip has no strength: give its chance, as in flip@0.3`);
      }
      list.flip = often.chance ?? 0.5;
      continue;
    }
    const values = strength === undefined ? [] : strength.split(":");
    if (values.length > 0 && values.length !== strengths[key].length) {
      throw new InputError(
        `the augmentation "${item}" is not one: write ${name}=${
          strengths[key].map((part) => part.toUpperCase()).join(":")
        }`,
      );
    }
    const given = values.map((value, i) => [strengths[key][i], numberOf(value, item)]);
    list.augment[name] = { ...AUGMENT_DEFAULTS[key], ...Object.fromEntries(given), ...often };
  }
  return list as AugmentList;
}

function numberOf(text: string, item: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isFinite(value)) return value;
  throw new InputError(`the augmentation "${item}" holds "${text}" where a number belongs`);
}
