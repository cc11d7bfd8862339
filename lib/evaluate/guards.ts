/**
 * Guards end a training or a scoring whose numbers would mean nothing. They look at figures that are
 * read back anyway, and change none of them. Here are the table of all guards and those that need no
 * training: of the split, of prompts and of scores.
 *
 * @module
 */
import type { Mask, Prompt } from "../data/prompts.ts";
import { InputError } from "../errors.ts";
import { mean } from "../stats/summary.ts";
import type { MaskFigures } from "./mask_figures.ts";

/**
 * Guards by name, with what each watches and the sentence that it ends a training or scoring with: what
 * was seen, what it means and what to do.
 */
export const GUARDS = {
  /** A patient, or a slice of a patient that parts share on purpose, is in two parts of the split. */
  "patient-overlap": (
    { item, parts }: { item: string; parts: readonly [string, string] },
  ): string =>
    `${item} is in ${parts[0]} and in ${parts[1]}, so that scores would be of what was learnt by ` +
    `heart: split by patient`,

  /** A prompt that counts as automatic depends on the true mask. */
  "leaking-prompt": ({ kind }: { kind: string }): string =>
    `the prompt ${kind} counts as automatic and depends on the true mask, so that its Dice holds ` +
    `part of the answer: draw it from the image alone, or do not call it automatic`,

  /** A target holds something else than 0 and 1. */
  "target-not-binary": ({ pixels }: { pixels: number }): string =>
    `${pixels} pixels of a target are neither 0 nor 1, for which cross-entropy has no lower bound: ` +
    `make the labels a mask, tumour or not, before they reach the loss`,

  /** A loss, gradient or weight is NaN or infinite. */
  "non-finite": ({ what, step, remedy }: { what: string; step: number; remedy: string }): string =>
    `${what} is not finite after step ${step}: ${remedy}`,

  /** No gradient reaches the trainable parameters. */
  "no-gradient": ({ steps }: { steps: number }): string =>
    `no gradient has reached what is trained in ${stepsText(steps)}, so that nothing is learnt: ` +
    `compute the masks outside of noGrad, and the loss from their logits`,

  /** Optimizer steps leave one adapter of the encoder as it was, or (null) all that is trained. */
  "unchanged-weights": ({ adapter, steps }: { adapter: string | null; steps: number }): string =>
    adapter === null
      ? `no weight has changed in ${
        stepsText(steps)
      } though gradients arrive, so that nothing is ` +
        `learnt: call the optimizer's step, with a learning rate above 0`
      : `${adapter} has not changed in ${stepsText(steps)}, so that this adapter is not trained: ` +
        `put it on the way from the image to the mask, and give it to the optimizer`,

  /** The loss is the same for another target. */
  "target-blind-loss": ({ loss }: { loss: number }): string =>
    `the loss is ${loss.toPrecision(6)} for the true masks and for shuffled ones alike, so that ` +
    `nothing can be learnt from the truth: compare the logits with the target in the loss`,

  /** The loss hardly rises as a mask of the whole image grows surer of itself. */
  "all-on-blind-loss": (
    { on, surer, truth }: { on: number; surer: number; truth: number },
  ): string =>
    `a mask of the whole image costs ${on.toPrecision(3)} at logits of 10 and ` +
    `${surer.toPrecision(3)} at 20 though at most ${percent(truth)} is tumour, so that nothing ` +
    `brings masks back that have grown over the image: add the cross-entropy of every pixel's ` +
    `sigmoid, with the batch as the first axis`,

  /** The loss stays above that of p = 1/2 everywhere. */
  "diverging-loss": (
    seen: { ignorant: number; batches: number; first: number; learningRate: number },
  ): string =>
    `the loss has been above ${
      seen.ignorant.toFixed(2)
    }, that of a model that knows nothing, for ` +
    `${seen.batches} batches, and it began at ${seen.first.toFixed(2)}, so that the training ` +
    `diverges: lower the learning rate (${seen.learningRate}), or the adapters' alpha / r`,

  /** Masks cover more than half of the image and do not shrink. */
  "whole-image-mask": (
    seen: { batches: number; predicted: number; truth: number; learningRate: number },
  ): string =>
    `every mask has covered more than half of its image for ${seen.batches} batches (the last ` +
    `${percent(seen.predicted)}, with ${
      percent(seen.truth)
    } tumour), so that the model has learnt ` +
    `the whole image: check loss and targets, and lower the learning rate (${seen.learningRate})`,

  /** Dice is that of a mask of ones, 2a / (1 + a). */
  "all-ones-dice": ({ subject, remedy }: { subject: string; remedy: string }): string =>
    `${subject} that of a mask of ones, 2a / (1 + a) for a share a of tumour, so that it says ` +
    `nothing of the model: check loss and targets, and ${remedy}`,

  /** Logits do not come from the model: they differ for no image, or not after so many steps. */
  "untouched-output": (
    seen: { what: string; images: number } | { what: string; steps: number },
  ): string =>
    "images" in seen
      ? `the ${seen.what}'s logits are the same in every bit for ${seen.images} different images, ` +
        `so that they do not come from the model: score what it gives for each image, not a buffer`
      : `the ${seen.what}'s logits are those of ${
        stepsText(seen.steps)
      } ago in every bit, so that ` +
        `they do not come from the model that is trained: score what the model gives now, not a ` +
        `buffer or a copy from before`,

  /** An adapter was trained by another run, or on other weights; the message says which. */
  "foreign-adapter": ({ message }: { message: string }): string => message,
};

/** Name of a guard. */
export type GuardName = keyof typeof GUARDS;

/** Error of a guard: a training or scoring whose numbers would mean nothing. */
export class GuardError extends InputError {
  /** Name of the guard. */
  readonly guard: GuardName;
  /** Optimizer steps that were done when it was seen; 0 if before the first. */
  readonly step: number;

  /** Takes a sentence that says what was seen, what it means and what to do. */
  constructor(guard: GuardName, message: string, step = 0) {
    super(message);
    this.guard = guard;
    this.step = step;
  }
}

/** Takes what guards have seen, in place of throwing it. */
export type OnCaught = (error: GuardError) => void;

/** Error of a guard in the sentence of its table. */
export function guardError<Name extends GuardName>(
  guard: Name,
  seen: Parameters<typeof GUARDS[Name]>[0],
  step = 0,
): GuardError {
  const sentence = GUARDS[guard] as (seen: Parameters<typeof GUARDS[Name]>[0]) => string;
  return new GuardError(guard, sentence(seen), step);
}

/** Throws what a guard has seen, or hands it to `onCaught`. */
export function report(error: GuardError, onCaught?: OnCaught): void {
  if (!onCaught) throw error;
  onCaught(error);
}

/** Share of tumour from which guards of a mask's size do not apply. */
export const LARGE_TRUTH = 0.25;

/** Dice of a mask of ones, where a share `truth` of the pixels is tumour. */
export function allOnesDice(truth: number): number {
  return 2 * truth / (1 + truth);
}

/** True if each tumour is small and each Dice that of a mask of ones, within 2 % on the mean. */
export function areAllOnes(masks: readonly Pick<MaskFigures, "dice" | "truth">[]): boolean {
  if (masks.length === 0 || masks.some(({ truth }) => !(truth < LARGE_TRUTH))) return false;
  const ones = masks.map(({ truth }) => allOnesDice(truth));
  const away = mean(masks.map(({ dice }, i) => Math.abs(dice - ones[i])));
  return mean(ones) > 0 && away <= 0.02 * mean(ones);
}

/** Mean Dice of masks, as messages show it. */
export function diceText(masks: readonly Pick<MaskFigures, "dice">[]): string {
  return mean(masks.map(({ dice }) => dice)).toFixed(3);
}

/**
 * Checks that outputs for different images differ.
 *
 * @param outputs Hash of each image's logits.
 * @param options.what Subject of the message: the outputs are "the …'s logits".
 * @param options.step Optimizer steps that were done.
 * @throws {GuardError} if there are two or more and all are the same.
 */
export function checkOutputs(
  outputs: readonly number[],
  { what, step = 0, onCaught }: { what: string; step?: number; onCaught?: OnCaught },
): void {
  if (outputs.length < 2 || outputs.some((output) => output !== outputs[0])) return;
  report(guardError("untouched-output", { what, images: outputs.length }, step), onCaught);
}

/**
 * Checks that scores are not those of masks of ones.
 *
 * @param masks Dice and share of tumour of each slice.
 * @param options.what Subject of the message: "the Dice of …".
 * @throws {GuardError} if they are.
 */
export function checkScores(
  masks: readonly Pick<MaskFigures, "dice" | "truth">[],
  { what, step = 0 }: { what: string; step?: number },
): void {
  if (!areAllOnes(masks)) return;
  const subject = `the Dice of ${what} (${diceText(masks)}) is`;
  throw guardError("all-ones-dice", { subject, remedy: "lower the learning rate" }, step);
}

/**
 * Checks that each patient is in one part of the split alone.
 *
 * @param parts Slices or cases of each part, by its name.
 * @param options.shared Parts that share patients on purpose, as there are two patients only; their
 * slices must still differ.
 * @throws {GuardError} naming a patient that is in two parts.
 */
export function checkPatients(
  parts: Readonly<Record<string, readonly { readonly id: string; readonly patient: string }[]>>,
  { shared = [], onCaught }: { shared?: readonly string[]; onCaught?: OnCaught } = {},
): void {
  const names = Object.keys(parts);
  for (const [i, one] of names.entries()) {
    for (const other of names.slice(i + 1)) {
      const isShared = shared.includes(one) && shared.includes(other);
      const [field, label] = isShared ? ["id", "slice"] as const : ["patient", "patient"] as const;
      const seen = new Set(parts[one].map((item) => item[field]));
      const both = parts[other].find((item) => seen.has(item[field]));
      if (!both) continue;
      const item = `${label} ${both[field]}`;
      return report(guardError("patient-overlap", { item, parts: [one, other] }), onCaught);
    }
  }
}

/**
 * Checks that prompts that count as automatic are drawn without the truth: they must be the same when
 * the truth is another.
 *
 * @param kinds Prompts that are called automatic.
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
    if (drawn[0] !== drawn[1]) throw guardError("leaking-prompt", { kind });
  }
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function stepsText(count: number): string {
  return count === 1 ? "1 step" : `${count} steps`;
}
