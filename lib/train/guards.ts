import { crc32 } from "node:zlib";
import { parseTensorName } from "../adapters/methods.ts";
import {
  areAllOnes,
  checkOutputs,
  diceText,
  guardError,
  LARGE_TRUTH,
  type OnCaught,
  report,
} from "../evaluate/guards.ts";
import type { MaskFigures } from "../evaluate/mask_figures.ts";
import { mean } from "../stats/summary.ts";

/** Figures of one batch of a training. */
export interface BatchFigures {
  /** Optimizer step that the batch belongs to, from 1. */
  readonly step: number;
  /** Mean loss of its slices. */
  readonly loss: number;
  /** Norm of the step's gradients, not finite where it was skipped; null where more batches of the step follow. */
  readonly norm: number | null;
  /** Masks of its slices: as many as slices for each list of prompts. */
  readonly masks: readonly MaskFigures[];
}

/** Losses of one batch under targets and masks that are known to be wrong. */
export interface LossProbe {
  /** Loss of the logits with their target. */
  readonly present: number;
  /** Loss with the pixels of each target shuffled. */
  readonly shuffled: number;
  /** Loss of a mask of the whole image: logits of 10. */
  readonly on: number;
  /** Loss of a mask of the whole image that is surer of itself: logits of 20. */
  readonly surer: number;
  /** Largest share of tumour in a target. */
  readonly truth: number;
}

/** State of {@linkcode Guards} from one step to the next: numbers that JSON keeps as they are. */
export interface GuardState {
  /** True once the loss was probed. */
  readonly probed: boolean;
  /** True once the weights were compared with those before the first step. */
  readonly changed: boolean;
  /** Latest steps in a row that were skipped. */
  readonly skipped: number;
  /** Latest steps in a row without a gradient. */
  readonly zeroNorms: number;
  /** Mean loss of each of the first batches. */
  readonly firstLosses: readonly number[];
  /** Latest batches in a row with too high a loss. */
  readonly high: number;
  /** Mean predicted share of each of the latest batches in a row whose masks are too large. */
  readonly large: readonly number[];
  /** Latest batches in a row whose Dice is that of a mask of ones. */
  readonly ones: number;
  /** Latest epochs in a row whose validation Dice is that of a mask of ones. */
  readonly onesEpochs: number;
  /** Hash of the first validation's outputs, and the steps done before it. */
  readonly firstOutput: { readonly hash: number; readonly step: number } | null;
}

/** Facts of a training that {@linkcode Guards} judge by. */
export interface GuardOptions {
  /** Highest learning rate, for messages. */
  readonly learningRate: number;
  /** Steps of warm-up, in which masks may be anything. */
  readonly warmupSteps: number;
  /** Batches of an epoch. */
  readonly batchesPerEpoch: number;
  /** Learning rate of a step, counted from 0. */
  readonly learningRateAt: (step: number) => number;
  /** True if steps whose gradients are not finite are skipped, as in half precision. Default false. */
  readonly skipsSteps?: boolean;
  /** State to continue from. */
  readonly state?: GuardState;
  /** Takes what a guard has seen; by default it is thrown. */
  readonly onCaught?: OnCaught;
}

/** Batches that a mask, Dice or loss has to be wrong for, where an epoch has fewer. */
const BATCHES = 32;

/** Steps without any gradient. */
const ZERO_STEPS = 3;

/** Skipped steps in a row, after which the first scale of the loss has shrunk to 1 / 16. */
const SKIPPED_STEPS = 20;

/** Batches whose losses say where the training began. */
const FIRST_BATCHES = 8;

/** Mean BCE + Dice loss of p = 1/2 everywhere, at most. */
const IGNORANT_LOSS = Math.log(2) + 1;

/**
 * Least rise of a sound loss when a mask of the whole image gets surer by 10: cross-entropy rises by 10
 * for each wrong pixel, on the mean, and soft Dice, which does not get worse than 1, by nothing.
 */
const LEAST_RISE = 1;

/** Sum of learning rates below which an f32 of 1 need not move. */
const RESOLUTION = 1e-7;

const START: GuardState = {
  probed: false,
  changed: false,
  skipped: 0,
  zeroNorms: 0,
  firstLosses: [],
  high: 0,
  large: [],
  ones: 0,
  onesEpochs: 0,
  firstOutput: null,
};

/** The guards of one training: their sentences are in the table of `lib/evaluate/guards.ts`. */
export class Guards {
  readonly #options: GuardOptions;
  #state: { -readonly [K in keyof GuardState]: GuardState[K] };

  /** Starts, or continues from `options.state`. */
  constructor(options: GuardOptions) {
    this.#options = options;
    this.#state = { ...START, ...options.state };
  }

  /** State to continue from. */
  get state(): GuardState {
    return { ...this.#state };
  }

  /** True until the loss was probed. */
  get wantsProbe(): boolean {
    return !this.#state.probed;
  }

  /** True until the weights were compared with those before the first step. */
  get wantsWeights(): boolean {
    return !this.#state.changed;
  }

  /** True if all of the first `steps` steps were skipped. */
  haveSkipped(steps: number): boolean {
    return this.#state.skipped >= steps;
  }

  /** Looks at the losses of wrong targets and masks. */
  loss({ present, shuffled, on, surer, truth }: LossProbe): void {
    this.#state.probed = true;
    if (Math.abs(present - shuffled) <= 1e-6 * Math.max(1, Math.abs(present))) {
      this.#caught(guardError("target-blind-loss", { loss: present }));
    } else if (truth < LARGE_TRUTH && !(surer - on > LEAST_RISE)) {
      this.#caught(guardError("all-on-blind-loss", { on, surer, truth }));
    }
  }

  /**
   * Compares hashes of the weights with those before the first step.
   *
   * @param names Paths of the trainable weights.
   * @param hashes.before Hash of each weight before the first step.
   * @param hashes.after Hash of each weight after `step` steps.
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
    if (same.length < names.length && adapter === undefined) return;
    if (same.length === names.length && this.#state.zeroNorms >= Math.min(step, ZERO_STEPS)) {
      return this.#caught(guardError("no-gradient", { steps: step }, step));
    }
    const unchanged = same.length === names.length ? null : adapter!;
    this.#caught(guardError("unchanged-weights", { adapter: unchanged, steps: step }, step));
  }

  /** Looks at a batch. */
  batch(figures: BatchFigures): void {
    const { step, loss, norm, masks } = figures;
    const state = this.#state;
    this.#finite("the loss", loss, step);
    if (norm !== null) this.#norm(norm, step);
    const odd = masks.find((mask) => mask.odd > 0);
    if (odd) this.#caught(guardError("target-not-binary", { pixels: odd.odd }, step));
    if (state.firstLosses.length < FIRST_BATCHES) state.firstLosses = [...state.firstLosses, loss];
    // Until the warm-up is over masks may be anything, as those of the pretrained model are.
    if (step <= this.#options.warmupSteps) return;
    this.#divergence(figures);
    this.#sizes(figures);
  }

  #norm(norm: number, step: number): void {
    const state = this.#state;
    const isSkipped = this.#options.skipsSteps === true && !areFinite(Float32Array.of(norm));
    state.skipped = isSkipped ? state.skipped + 1 : 0;
    if (isSkipped && state.skipped < SKIPPED_STEPS) return;
    const what = isSkipped ? `the gradient of ${SKIPPED_STEPS} steps in a row` : "the gradient";
    this.#finite(what, norm, step);
    state.zeroNorms = norm === 0 ? state.zeroNorms + 1 : 0;
    if (state.zeroNorms === ZERO_STEPS) {
      this.#caught(guardError("no-gradient", { steps: step }, step));
    }
  }

  /** Counts batches whose loss is above that of a model that knows nothing. */
  #divergence({ step, loss }: BatchFigures): void {
    const state = this.#state;
    const first = mean(state.firstLosses);
    state.high = loss > IGNORANT_LOSS && loss > 1.5 * first ? state.high + 1 : 0;
    if (state.high !== BATCHES) return;
    const { learningRate } = this.#options;
    const seen = { ignorant: IGNORANT_LOSS, batches: BATCHES, first, learningRate };
    this.#caught(guardError("diverging-loss", seen, step));
  }

  /** Counts batches whose masks cover the image, or whose Dice is that of masks that do. */
  #sizes({ step, masks }: BatchFigures): void {
    const state = this.#state;
    const { batchesPerEpoch, learningRate } = this.#options;
    const window = Math.max(BATCHES, batchesPerEpoch);
    const predicted = mean(masks.map((mask) => mask.predicted));
    const truth = mean(masks.map((mask) => mask.truth));
    const isLarge = masks.every((mask) => mask.truth < LARGE_TRUTH && mask.predicted > 0.5);
    state.large = isLarge ? [...state.large, predicted].slice(-window) : [];
    if (state.large.length === window && !shrinks(state.large)) {
      const seen = { batches: window, predicted, truth, learningRate };
      this.#caught(guardError("whole-image-mask", seen, step));
    }
    if (truth === 0) return; // of tumour-free slices a mask of ones has no Dice of its own
    state.ones = areAllOnes(masks) ? state.ones + 1 : 0;
    if (state.ones === window) this.#allOnes("training", masks, `${window} batches`, step);
  }

  /**
   * Looks at an epoch's validation.
   *
   * @param masks The slices, each of another image.
   * @param options.loss Mean loss.
   * @param options.step Optimizer steps done.
   */
  validation(
    masks: readonly MaskFigures[],
    { loss, step }: { loss: number; step: number },
  ): void {
    const state = this.#state;
    const { learningRateAt, warmupSteps, onCaught } = this.#options;
    const outputs = masks.map(({ output }) => output);
    this.#finite("the validation loss", loss, step);
    checkOutputs(outputs, { what: "validation", step, onCaught });
    const hash = crc32(new Uint8Array(new Float64Array(outputs).buffer));
    const { firstOutput } = state;
    if (firstOutput === null) state.firstOutput = { hash, step };
    else if (firstOutput.hash === hash) {
      let moved = 0;
      for (let s = firstOutput.step; s < step; s++) moved += learningRateAt(s);
      const seen = { what: "validation", steps: step - firstOutput.step };
      const isMoved = moved > RESOLUTION && state.skipped < seen.steps;
      if (isMoved) this.#caught(guardError("untouched-output", seen, step));
    }
    state.onesEpochs = areAllOnes(masks) ? state.onesEpochs + 1 : 0;
    if (state.onesEpochs >= 2 && step >= warmupSteps + BATCHES) {
      this.#allOnes("validation", masks, `${state.onesEpochs} epochs`, step);
    }
  }

  #finite(what: string, value: number, step: number): void {
    if (areFinite(Float32Array.of(value))) return;
    const { learningRate, skipsSteps } = this.#options;
    const remedy = `lower the learning rate (${learningRate})${
      skipsSteps ? ", or train with --precision f32" : ""
    }`;
    this.#caught(guardError("non-finite", { what, step, remedy }, step));
  }

  #allOnes(what: string, masks: readonly MaskFigures[], during: string, step: number): void {
    const subject = `for ${during} the ${what} Dice (${diceText(masks)}) has been`;
    const remedy = `lower the learning rate (${this.#options.learningRate})`;
    this.#caught(guardError("all-ones-dice", { subject, remedy }, step));
  }

  #caught(error: ReturnType<typeof guardError>): void {
    report(error, this.#options.onCaught);
  }
}

/** True if all values are finite, by their bits: no exponent is all ones. */
export function areFinite(values: Float32Array): boolean {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return bits.every((word) => (word & EXPONENT) !== EXPONENT);
}

/** Bits of an f32's exponent. */
const EXPONENT = 0x7f80_0000;

/** True if the second half of a list lies below the first, as masks do that are being learnt. */
function shrinks(shares: readonly number[]): boolean {
  const half = shares.length >> 1;
  return mean(shares.slice(half)) < 0.95 * mean(shares.slice(0, half));
}
