/**
 * Guards: what stops a training or a scoring whose numbers would mean nothing, with a sentence that says
 * what was seen, what it means and what to do. They look at figures that are read back anyway, and change
 * none of them.
 *
 * @module
 */
import { parseTensorName } from "../adapters/methods.ts";
import { crc32 } from "node:zlib";
import type { Mask, Prompt } from "../data/prompts.ts";
import { InputError } from "../errors.ts";

/** What a guard watches for. */
export type GuardName =
  /** A patient's slices are in more than one part of the split. */
  | "patient-overlap"
  /** An adapter that was trained by another run, or for other weights. */
  | "foreign-adapter"
  /** A prompt that counts as automatic depends on the truth. */
  | "leaking-prompt"
  /** A target holds something else than 0 and 1. */
  | "target-not-binary"
  /** A loss, gradient or weight is NaN or infinite. */
  | "non-finite"
  /** No gradient reaches what is trained. */
  | "no-gradient"
  /** Optimiser steps leave an adapter, or all that is trained, as it was. */
  | "unchanged-weights"
  /** The loss is the same for another target. */
  | "target-blind-loss"
  /** The loss does not mind a mask of the whole image. */
  | "all-on-blind-loss"
  /** The loss stays above that of a model that knows nothing. */
  | "diverging-loss"
  /** Masks cover more than half of the image. */
  | "whole-image-mask"
  /** Dice is that of a mask of ones, 2a / (1 + a). */
  | "all-ones-dice"
  /** What is scored does not come from the model. */
  | "untouched-output";

/** Thrown by a guard. */
export class GuardError extends InputError {
  /** Which guard. */
  readonly guard: GuardName;
  /** Optimiser steps that were done when it was seen; 0 if before the first. */
  readonly step: number;

  /** Says in one sentence what was seen, what it means and what to do. */
  constructor(guard: GuardName, message: string, step = 0) {
    super(message);
    this.guard = guard;
    this.step = step;
  }
}

/** A mask as it was predicted: shares are of the slice's pixels. */
export interface MaskFigures {
  /** Dice with the truth. */
  readonly dice: number;
  /** Share that is predicted. */
  readonly predicted: number;
  /** Share that is tumour. */
  readonly truth: number;
  /** Targets that are neither 0 nor 1. */
  readonly odd: number;
  /** A hash of the logits; 0 where none was made. */
  readonly output: number;
}

/** One batch of a training, as guards see it. */
export interface BatchFigures {
  /** The optimiser step that it belongs to, from 1. */
  readonly step: number;
  /** Mean loss of its slices. */
  readonly loss: number;
  /** Norm of the step's gradients; null where more batches of the step follow. */
  readonly norm: number | null;
  /** Its slices. */
  readonly masks: readonly MaskFigures[];
}

/** Losses of one batch under targets and masks that are known to be wrong. */
export interface LossProbe {
  /** The loss itself. */
  readonly present: number;
  /** With the pixels of each target shuffled. */
  readonly shuffled: number;
  /** With everything on: logits of 10. */
  readonly on: number;
  /** With everything on and surer of it: logits of 20. */
  readonly surer: number;
  /** Largest share of tumour in a target. */
  readonly truth: number;
}

/** What guards remember from one step to the next: numbers that JSON keeps as they are. */
export interface GuardState {
  /** Whether the loss was probed. */
  readonly probed: boolean;
  /** Whether the weights were seen to change. */
  readonly changed: boolean;
  /** Steps without a gradient, the last ones in a row. */
  readonly zeroNorms: number;
  /** Mean loss of the first batches. */
  readonly firstLosses: readonly number[];
  /** Batches of a loss that is too high, the last ones in a row. */
  readonly high: number;
  /** Mean predicted share of the batches whose masks are too large, the last ones in a row. */
  readonly large: readonly number[];
  /** Batches whose Dice is that of a mask of ones, the last ones in a row. */
  readonly ones: number;
  /** Epochs whose validation Dice is that, the last ones in a row. */
  readonly onesEpochs: number;
  /** A hash of the first validation's outputs, and the steps done before it. */
  readonly firstOutput: { readonly hash: number; readonly step: number } | null;
}

/** What {@linkcode Guards} have to know of a training. */
export interface GuardOptions {
  /** Highest learning rate, for messages. */
  readonly learningRate: number;
  /** Steps of warm-up, in which masks may be anything. */
  readonly warmupSteps: number;
  /** Batches of an epoch. */
  readonly batchesPerEpoch: number;
  /** The learning rate of a step, counted from 0. */
  readonly learningRateAt: (step: number) => number;
  /** Goes on from here. */
  readonly state?: GuardState;
  /** What becomes of what a guard has seen; by default it is thrown. */
  readonly onCaught?: (error: GuardError) => void;
}

/** Batches that a mask, Dice or loss has to be wrong for, where an epoch has fewer. */
const BATCHES = 32;

/** Steps without any gradient. */
const ZERO_STEPS = 3;

/** Batches whose losses say where the training began. */
const FIRST_BATCHES = 8;

/** A tumour larger than this share is no case for guards that look at the mask's size. */
const LARGE_TRUTH = 0.25;

/** Mean BCE + Dice loss of p = 1/2 everywhere, at most. */
const KNOWS_NOTHING = Math.log(2) + 1;

/**
 * By what a loss must rise when a mask of the whole image gets surer by 10: cross-entropy does by 10 for
 * each wrong pixel, on the mean, and soft Dice, which does not get worse than 1, by nothing.
 */
const LEAST_RISE = 1;

/** Sum of learning rates below which an f32 of 1 need not move. */
const RESOLUTION = 1e-7;

const START: GuardState = {
  probed: false,
  changed: false,
  zeroNorms: 0,
  firstLosses: [],
  high: 0,
  large: [],
  ones: 0,
  onesEpochs: 0,
  firstOutput: null,
};

/** Dice of a mask of ones, where a share of the pixels is tumour. */
export function allOnesDice(truth: number): number {
  return 2 * truth / (1 + truth);
}

/** The guards of one training. */
export class Guards {
  readonly #options: GuardOptions;
  #state: { -readonly [K in keyof GuardState]: GuardState[K] };

  /** Starts, or goes on. */
  constructor(options: GuardOptions) {
    this.#options = options;
    this.#state = { ...START, ...options.state };
  }

  /** What to go on from. */
  get state(): GuardState {
    return { ...this.#state };
  }

  /** Whether the loss is still to be probed. */
  get wantsProbe(): boolean {
    return !this.#state.probed;
  }

  /** Whether the weights are still to be compared with those before the first step. */
  get wantsWeights(): boolean {
    return !this.#state.changed;
  }

  /** Looks at what the loss makes of wrong targets and masks. */
  loss({ present, shuffled, on, surer, truth }: LossProbe): void {
    this.#state.probed = true;
    if (Math.abs(present - shuffled) <= 1e-6 * Math.max(1, Math.abs(present))) {
      this.#caught(
        "target-blind-loss",
        `the loss is ${
          present.toPrecision(6)
        } for the true masks and for shuffled ones alike, so ` +
          `that nothing can be learnt from the truth: compare the logits with the target in the loss`,
        0,
      );
    } else if (truth < LARGE_TRUTH && !(surer - on > LEAST_RISE)) {
      this.#caught(
        "all-on-blind-loss",
        `a mask of the whole image costs ${on.toPrecision(3)} at logits of 10 and ` +
          `${surer.toPrecision(3)} at 20 though at most ${
            percent(truth)
          } is tumour, so that nothing ` +
          `brings masks back that have grown over the image: add the cross-entropy of every ` +
          `pixel's sigmoid, with the batch as the first axis`,
        0,
      );
    }
  }

  /**
   * Compares the weights' fingerprints with those before the first step.
   *
   * @param names Paths of the trainable weights.
   */
  weights(
    names: readonly string[],
    { before, after, step }: {
      before: ArrayLike<number>;
      after: ArrayLike<number>;
      step: number;
    },
  ): void {
    this.#state.changed = true;
    const same = names.filter((_, i) => before[i] === after[i]);
    // Every Linear of the encoder lies on the way to the mask: the first step moves what starts at zero.
    const adapter = same.find((name) =>
      name.startsWith("image_encoder.") && parseTensorName(name)?.tensor.start === "zero"
    );
    if (same.length === names.length) {
      const { zeroNorms } = this.#state;
      if (zeroNorms >= Math.min(step, ZERO_STEPS)) return this.#noGradient(step);
      this.#caught(
        "unchanged-weights",
        `no weight has changed in ${steps(step)} though gradients arrive, so that nothing is ` +
          `learnt: call the optimiser's step, with a learning rate above 0`,
        step,
      );
    } else if (adapter !== undefined) {
      this.#caught(
        "unchanged-weights",
        `${adapter} has not changed in ${steps(step)}, so that this adapter is not trained: ` +
          `put it on the way from the image to the mask, and give it to the optimiser`,
        step,
      );
    }
  }

  /** Looks at a batch. */
  batch({ step, loss, norm, masks }: BatchFigures): void {
    const state = this.#state;
    const { warmupSteps, batchesPerEpoch, learningRate } = this.#options;
    this.finite("loss", loss, step);
    if (norm !== null) {
      this.finite("gradient", norm, step);
      state.zeroNorms = norm === 0 ? state.zeroNorms + 1 : 0;
      if (state.zeroNorms === ZERO_STEPS) this.#noGradient(step);
    }
    const odd = masks.find((mask) => mask.odd > 0);
    if (odd) {
      this.#caught(
        "target-not-binary",
        `${odd.odd} pixels of a target are neither 0 nor 1, for which cross-entropy has no lower ` +
          `bound: make the labels a mask, tumour or not, before they reach the loss`,
        step,
      );
    }

    if (state.firstLosses.length < FIRST_BATCHES) state.firstLosses = [...state.firstLosses, loss];
    // Until the warm-up is over masks may be anything, as those of the pretrained model are.
    if (step <= warmupSteps) return;
    const window = Math.max(BATCHES, batchesPerEpoch);
    const first = mean(state.firstLosses);
    state.high = loss > KNOWS_NOTHING && loss > 1.5 * first ? state.high + 1 : 0;
    if (state.high === BATCHES) {
      this.#caught(
        "diverging-loss",
        `the loss has been above ${
          KNOWS_NOTHING.toFixed(2)
        }, that of a model that knows nothing, ` +
          `for ${BATCHES} batches, and it began at ${first.toFixed(2)}, so that the training ` +
          `diverges: lower the learning rate (${learningRate}), or the adapters' alpha / r`,
        step,
      );
    }
    const small = masks.every(({ truth }) => truth < LARGE_TRUTH);
    const isLarge = small && masks.every(({ predicted }) => predicted > 0.5);
    const share = mean(masks.map(({ predicted }) => predicted));
    state.large = isLarge ? [...state.large, share].slice(-window) : [];
    if (state.large.length === window && !shrinks(state.large)) {
      this.#caught(
        "whole-image-mask",
        `every mask has covered more than half of its image for ${window} batches (the last ` +
          `${percent(share)}, with ${percent(mean(masks.map(({ truth }) => truth)))} tumour), so ` +
          `that the model has learnt the whole image: check loss and targets, and lower the ` +
          `learning rate (${learningRate})`,
        step,
      );
    }
    state.ones = small && isAllOnes(masks) ? state.ones + 1 : 0;
    if (state.ones === window) {
      this.#allOnes("training", { masks, during: `${window} batches`, step });
    }
  }

  /**
   * Looks at an epoch's validation.
   *
   * @param masks The slices, each of another image.
   * @param options.loss Mean loss.
   * @param options.step Optimiser steps done.
   */
  validation(
    masks: readonly MaskFigures[],
    { loss, step }: { loss: number; step: number },
  ): void {
    const state = this.#state;
    this.finite("validation loss", loss, step);
    checkOutputs(masks.map(({ output }) => output), {
      what: "validation",
      step,
      onCaught: this.#options.onCaught,
    });
    const hash = crc32(new Uint8Array(new Float64Array(masks.map(({ output }) => output)).buffer));
    const { firstOutput } = state;
    if (firstOutput === null) state.firstOutput = { hash, step };
    else if (firstOutput.hash === hash) {
      let moved = 0;
      for (let s = firstOutput.step; s < step; s++) moved += this.#options.learningRateAt(s);
      if (moved > RESOLUTION) {
        this.#caught(
          "untouched-output",
          `the validation's logits are those of ${steps(step - firstOutput.step)} ago in every ` +
            `bit, so that they do not come from the model that is trained: score what the model ` +
            `gives now, not a buffer or a copy from before`,
          step,
        );
      }
    }
    const small = masks.every(({ truth }) => truth < LARGE_TRUTH);
    state.onesEpochs = small && isAllOnes(masks) ? state.onesEpochs + 1 : 0;
    if (state.onesEpochs >= 2 && step >= this.#options.warmupSteps + BATCHES) {
      this.#allOnes("validation", { masks, during: `${state.onesEpochs} epochs`, step });
    }
  }

  /** Looks whether a number is one: by its bits, exponent all ones is NaN or infinite. */
  finite(what: string, value: number, step: number): void {
    if (areFinite(Float32Array.of(value))) return;
    this.#caught(
      "non-finite",
      `the ${what} is not finite after step ${step}: lower the learning rate ` +
        `(${this.#options.learningRate})`,
      step,
    );
  }

  #noGradient(step: number): void {
    this.#caught(
      "no-gradient",
      `no gradient has reached what is trained in ${steps(step)}, so that nothing is learnt: ` +
        `compute the masks outside of noGrad, and the loss from their logits`,
      step,
    );
  }

  #allOnes(
    what: string,
    { masks, during, step }: { masks: readonly MaskFigures[]; during: string; step: number },
  ): void {
    this.#caught(
      "all-ones-dice",
      `the ${what} Dice (${mean(masks.map(({ dice }) => dice)).toFixed(3)}) has been that of a ` +
        `mask of ones, 2a / (1 + a) for a share a of tumour, for ${during}, so that it says ` +
        `nothing of the model: check loss and targets, and lower the learning rate ` +
        `(${this.#options.learningRate})`,
      step,
    );
  }

  #caught(guard: GuardName, message: string, step: number): void {
    report(new GuardError(guard, message, step), this.#options.onCaught);
  }
}

/** Throws what was seen, unless somebody else takes it. */
function report(error: GuardError, onCaught?: (error: GuardError) => void): void {
  if (!onCaught) throw error;
  onCaught(error);
}

/**
 * Looks whether outputs for different images differ.
 *
 * @param outputs A hash of each image's logits.
 * @param options.what What they are of, for the message.
 * @param options.step Optimiser steps that were done.
 * @param options.onCaught As of {@linkcode GuardOptions}.
 * @throws {GuardError} if two or more are all the same.
 */
export function checkOutputs(
  outputs: readonly number[],
  { what, step = 0, onCaught }: {
    what: string;
    step?: number;
    onCaught?: (error: GuardError) => void;
  },
): void {
  if (outputs.length < 2 || outputs.some((output) => output !== outputs[0])) return;
  report(
    new GuardError(
      "untouched-output",
      `the ${what}'s logits are the same in every bit for ${outputs.length} different images, so ` +
        `that they do not come from the model: score what it gives for each image, not a buffer`,
      step,
    ),
    onCaught,
  );
}

/**
 * Looks whether scores are those of masks of ones.
 *
 * @param masks Dice and share of tumour of each slice.
 * @param options.what What was scored, for the message.
 * @throws {GuardError} if they are.
 */
export function checkScores(
  masks: readonly Pick<MaskFigures, "dice" | "truth">[],
  { what, step = 0 }: { what: string; step?: number },
): void {
  if (masks.length === 0 || !masks.every(({ truth }) => truth < LARGE_TRUTH)) return;
  if (!isAllOnes(masks)) return;
  throw new GuardError(
    "all-ones-dice",
    `the Dice of ${what} (${
      mean(masks.map(({ dice }) => dice)).toFixed(3)
    }) is that of a mask of ` +
      `ones, 2a / (1 + a) for a share a of tumour, so that it says nothing of the model: check loss ` +
      `and targets, and lower the learning rate`,
    step,
  );
}

/**
 * Looks whether each patient is in one part of the split alone.
 *
 * @param parts The slices or cases of each part, by its name.
 * @param options.shared Parts that share patients on purpose, as there are two patients only; what is
 * in them must still differ.
 * @throws {GuardError} naming a patient that is in two parts.
 */
export function checkPatients(
  parts: Readonly<Record<string, readonly { readonly id: string; readonly patient: string }[]>>,
  { shared = [], onCaught }: {
    shared?: readonly string[];
    onCaught?: (error: GuardError) => void;
  } = {},
): void {
  const names = Object.keys(parts);
  for (const [i, one] of names.entries()) {
    for (const other of names.slice(i + 1)) {
      const field = shared.includes(one) && shared.includes(other) ? "id" : "patient";
      const seen = new Set(parts[one].map((item) => item[field]));
      const both = parts[other].find((item) => seen.has(item[field]));
      if (!both) continue;
      report(
        new GuardError(
          "patient-overlap",
          `${field === "id" ? "slice" : "patient"} ${
            both[field]
          } is in ${one} and in ${other}, so ` +
            `that scores would be of what was learnt by heart: split by patient`,
        ),
        onCaught,
      );
      return;
    }
  }
}

/**
 * Looks whether prompts that count as automatic are drawn without the truth: they must be the same when
 * the truth is another.
 *
 * @param kinds The prompts that are called automatic.
 * @param slice One with tumour.
 * @param draw Draws the prompt of a kind for a slice.
 * @throws {GuardError} naming a kind that gives the answer away.
 */
export function checkAutomaticPrompts<K extends string, S extends { readonly mask: Uint8Array }>(
  kinds: readonly K[],
  slice: S & Omit<Mask, "mask">,
  draw: (kind: K, slice: S) => Prompt,
): void {
  const mask = new Uint8Array(slice.mask.length);
  mask[slice.mask.findIndex((pixel) => pixel === 0)] = 1; // a tumour of one pixel, elsewhere
  for (const kind of kinds) {
    const drawn = [slice, { ...slice, mask }].map((shown) => JSON.stringify(draw(kind, shown)));
    if (drawn[0] === drawn[1]) continue;
    throw new GuardError(
      "leaking-prompt",
      `the prompt ${kind} counts as automatic and depends on the true mask, so that its Dice holds ` +
        `part of the answer: draw it from the image alone, or do not call it automatic`,
    );
  }
}

/** Whether all are finite, by their bits: no exponent is all ones. */
export function areFinite(values: Float32Array): boolean {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return bits.every((word) => (word & EXPONENT) !== EXPONENT);
}

/** The bits of an f32's exponent. */
const EXPONENT = 0x7f80_0000;

/** Whether each Dice is that of a mask of ones, within 2 % on the mean. */
function isAllOnes(masks: readonly Pick<MaskFigures, "dice" | "truth">[]): boolean {
  const ones = masks.map(({ truth }) => allOnesDice(truth));
  const away = mean(masks.map(({ dice }, i) => Math.abs(dice - ones[i])));
  return mean(ones) > 0 && away <= 0.02 * mean(ones);
}

/** Whether the second half of a list lies below the first, as masks do that are being learnt. */
function shrinks(shares: readonly number[]): boolean {
  const half = shares.length >> 1;
  return mean(shares.slice(half)) < 0.95 * mean(shares.slice(0, half));
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function steps(count: number): string {
  return count === 1 ? "1 step" : `${count} steps`;
}
