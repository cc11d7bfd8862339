import type { AugmentedSlice } from "../data/augment.ts";
import { type Prompt, randomErrorClick } from "../data/prompts.ts";
import type { Random } from "../random.ts";
import { add } from "../tensor/ops/arithmetic.ts";
import { diceBceLoss, diceScore } from "../tensor/ops/losses.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { SliceModel } from "./slice_model.ts";

/** Options of {@linkcode promptedLoss}. */
export interface PromptedLossOptions {
  /** The first prompt of each slice, in slice pixels. */
  readonly prompts: readonly Prompt[];
  /** Masks asked for, one after the other; 1 stops after the first. */
  readonly iterations: number;
  /** Where the clicks fall. */
  readonly random: Random;
  /** Factor of the loss: the batch's share of the slices of an optimiser step. Default 1. */
  readonly share?: number;
}

/**
 * The loss of a batch as SAM was trained (Kirillov et al. 2023, appendix A): a first prompt, then
 * again and again a click where the last mask is wrong, with all clicks so far and the last mask's
 * logits as prompts. The image is encoded once; no gradient flows from one mask to the prompts of the
 * next.
 *
 * @returns loss: the mean of the iterations' BCE + Dice losses, to go backward from; dice: [B], of the
 * first masks, those that the prompts alone gave.
 */
export async function promptedLoss(
  model: SliceModel,
  samples: readonly AugmentedSlice[],
  { prompts, iterations, random, share = 1 }: PromptedLossOptions,
): Promise<{ loss: Tensor; dice: Tensor }> {
  const weights = { diceWeight: share / iterations, bceWeight: share / iterations };
  const target = model.target(samples);
  const embeddings = model.encode(samples);
  let step = model.decodeStep(embeddings, samples, { prompts });
  const dice = diceScore(step.logits, target);
  let { loss } = diceBceLoss(step.logits, target, weights);
  let asked = prompts;
  for (let iteration = 2; iteration <= iterations; iteration++) {
    const values = await step.logits.detach().data();
    asked = samples.map(({ slice: { mask, ref: { width, height } } }, i) => {
      const logits = values.subarray(i * mask.length, (i + 1) * mask.length);
      const prediction = new Uint8Array(mask.length);
      for (let j = 0; j < mask.length; j++) prediction[j] = logits[j] > 0 ? 1 : 0;
      const click = randomErrorClick(prediction, { mask, width, height }, random);
      return { ...asked[i], points: [...asked[i].points ?? [], click] };
    });
    step = model.decodeStep(embeddings, samples, {
      prompts: asked,
      mask: step.lowResMasks.detach(),
    });
    loss = add(loss, diceBceLoss(step.logits, target, weights).loss);
  }
  return { loss, dice };
}
