import type { AugmentedSlice } from "../data/augment.ts";
import { type Prompt, randomErrorClick } from "../data/prompts.ts";
import type { DecodedMasks, SliceModel } from "../evaluate/slice_model.ts";
import type { Random } from "../random.ts";
import { add, div, mul, sub } from "../tensor/ops/arithmetic.ts";
import { fill } from "../tensor/ops/fill.ts";
import { type MaskOverlap, maskOverlap } from "../tensor/ops/losses.ts";
import { reshape, slice } from "../tensor/ops/movement.ts";
import { mean } from "../tensor/ops/sum.ts";
import { relu, scale } from "../tensor/ops/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Procedure, SOUND } from "./procedure.ts";

/** Options of {@linkcode promptedLoss}. */
export interface PromptedLossOptions {
  /** Lists with the first prompt of each slice, in slice pixels: the batch is decoded under each list. */
  readonly prompts: readonly (readonly Prompt[])[];
  /** Masks asked for from each list, one after the other; 1 stops after the first. */
  readonly iterations: number;
  /** Source of the clicks' places. */
  readonly random: Random;
  /** Factor of the loss: the batch's share of the slices of an optimizer step. Default 1. */
  readonly share?: number;
  /** Loss of one mask. Default BCE + Dice. */
  readonly criterion?: Procedure["criterion"];
  /** Weight of the squared error of the estimated IoU. Default 0. */
  readonly iouLoss?: number;
}

/** Result of {@linkcode promptedLoss}. */
export interface PromptedLoss {
  /** Mean of the BCE + Dice losses of all masks, and of the estimates' errors: a scalar to go backward from. */
  readonly loss: Tensor;
  /** [B]: mean Dice over the first masks, those that the given prompts alone made. */
  readonly dice: Tensor;
  /** First masks of each list of prompts, compared with the truth. */
  readonly overlaps: readonly MaskOverlap[];
  /** [B, H, W]: logits of the first list's first masks. */
  readonly logits: Tensor;
  /** [B, H, W]: true masks. */
  readonly target: Tensor;
}

/**
 * Loss of a batch as SAM was trained (Kirillov et al. 2023, appendix A): a first prompt, then again and
 * again a click where the last mask is wrong, with all clicks so far and the last mask's logits as
 * prompts. The image is encoded once, whatever the number of first prompts; no gradient flows from one
 * mask to the prompts of the next.
 */
export async function promptedLoss(
  model: SliceModel,
  samples: readonly AugmentedSlice[],
  options: PromptedLossOptions,
): Promise<PromptedLoss> {
  const { prompts, iterations, random, share = 1, criterion = SOUND.criterion, iouLoss = 0 } =
    options;
  const part = share / (iterations * prompts.length);
  const weights = { diceWeight: part, bceWeight: part };
  const target = model.target(samples);
  const embeddings = model.encode(samples);
  const losses: Tensor[] = [];
  const overlaps: MaskOverlap[] = [];
  const firstLogits: Tensor[] = [];
  const addLosses = async ({ logits, iouPredictions }: DecodedMasks) => {
    losses.push(await criterion(logits, target, weights));
    if (iouLoss === 0) return;
    losses.push(scale(iouError(iouPredictions, maskOverlap(logits, target)), iouLoss * part));
  };
  for (const first of prompts) {
    let asked = first;
    let step = model.decodeStep(embeddings, samples, { prompts: first });
    firstLogits.push(step.logits);
    overlaps.push(maskOverlap(step.logits, target));
    await addLosses(step);
    for (let iteration = 2; iteration <= iterations; iteration++) {
      asked = await withErrorClicks(asked, step.logits, { samples, random });
      const mask = step.lowResMasks.detach();
      step = model.decodeStep(embeddings, samples, { prompts: asked, mask });
      await addLosses(step);
    }
  }
  const dice = overlaps.map(({ dice }) => dice).reduce(add);
  return {
    loss: losses.reduce(add),
    dice: prompts.length === 1 ? dice : scale(dice, 1 / prompts.length),
    overlaps,
    logits: firstLogits[0],
    target,
  };
}

/**
 * Mean squared error of estimated IoUs [B] against those of the masks with the truth, |P ∩ T| / |P ∪ T|; 0
 * where the truth is empty. A scalar.
 *
 * Source: Kirillov et al. 2023, appendix A, where the error has the weight 1.
 */
function iouError(estimated: Tensor, { counts }: MaskOverlap): Tensor {
  const [batch] = estimated.shape;
  const of = (column: number) =>
    reshape(slice(counts, { axis: 1, start: column, end: column + 1 }), [batch]);
  const [both, predicted, truth] = [of(1), of(2), of(3)];
  // A truth or a union of nothing has an intersection of nothing: 0 / 1.
  const union = relu(sub(sub(add(predicted, truth), both), fill(both.gpu, [batch], 1)));
  const error = sub(estimated, div(both, add(union, fill(both.gpu, [batch], 1))));
  return mean(mul(error, error));
}

/** Prompts with one more click each, at a random pixel where the mask of `logits` [B, H, W] is wrong. */
async function withErrorClicks(
  prompts: readonly Prompt[],
  logits: Tensor,
  { samples, random }: { samples: readonly AugmentedSlice[]; random: Random },
): Promise<Prompt[]> {
  const values = await logits.detach().data();
  return samples.map(({ slice: { mask, ref: { width, height } } }, i) => {
    const own = values.subarray(i * mask.length, (i + 1) * mask.length);
    const prediction = new Uint8Array(mask.length);
    for (let j = 0; j < mask.length; j++) prediction[j] = own[j] > 0 ? 1 : 0;
    const click = randomErrorClick(prediction, { mask, width, height }, random);
    return { ...prompts[i], points: [...prompts[i].points ?? [], click] };
  });
}
