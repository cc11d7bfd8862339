import type { AugmentedSlice } from "../data/augment.ts";
import { type Prompt, randomErrorClick } from "../data/prompts.ts";
import type { DecodedMasks, SliceModel } from "../evaluate/slice_model.ts";
import type { Random } from "../random.ts";
import { add, div, mul, sub } from "../tensor/ops/arithmetic.ts";
import { fill } from "../tensor/ops/fill.ts";
import { type MaskOverlap, maskOverlap } from "../tensor/ops/losses.ts";
import { concat, repeatBatch, reshape, slice } from "../tensor/ops/movement.ts";
import { mean } from "../tensor/ops/sum.ts";
import { relu, scale } from "../tensor/ops/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Procedure, SOUND } from "./procedure.ts";

/** Options of {@linkcode promptedLoss}. */
export interface PromptedLossOptions {
  /** Lists with the first prompt of each slice, in slice pixels: the slices are decoded under each list. */
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
  /** First masks of the lists that were decoded together, compared with the truth. */
  readonly overlaps: readonly MaskOverlap[];
  /** [B or more, H, W]: logits of first masks; those of the first list are the first B. */
  readonly logits: Tensor;
  /** [B, H, W]: true masks. */
  readonly target: Tensor;
}

/**
 * Loss of a batch as SAM was trained (Kirillov et al. 2023, appendix A): a first prompt, then again and
 * again a click where the last mask is wrong, with all clicks so far and the last mask's logits as
 * prompts. The image is encoded once, whatever the number of first prompts, and lists of prompts are
 * decoded together as far as they can be; no gradient flows from one mask to the prompts of the next.
 */
export async function promptedLoss(
  model: SliceModel,
  samples: readonly AugmentedSlice[],
  options: PromptedLossOptions,
): Promise<PromptedLoss> {
  const {
    prompts: lists,
    iterations,
    random,
    share = 1,
    criterion = SOUND.criterion,
    iouLoss = 0,
  } = options;
  const target = model.target(samples);
  const embeddings = model.encode(samples);
  const losses: Tensor[] = [];
  const overlaps: MaskOverlap[] = [];
  const firstLogits: Tensor[] = [];
  for (const together of model.groupLists(samples, lists)) {
    const copies = together.length;
    const slices = together.flatMap(() => samples);
    const truth = repeatBatch(target, copies);
    const part = share * copies / (iterations * lists.length);
    const addLosses = async ({ logits, iouPredictions }: DecodedMasks, overlap?: MaskOverlap) => {
      losses.push(await criterion(logits, truth, { diceWeight: part, bceWeight: part }));
      if (iouLoss === 0) return;
      const found = overlap ?? maskOverlap(logits, truth);
      losses.push(scale(iouError(iouPredictions, found), iouLoss * part));
    };
    let prompts = together.flatMap((list) => lists[list]);
    let step = model.decodeStep(embeddings, slices, { prompts });
    const overlap = maskOverlap(step.logits, truth);
    firstLogits.push(step.logits);
    overlaps.push(overlap);
    await addLosses(step, overlap);
    for (let iteration = 2; iteration <= iterations; iteration++) {
      prompts = await withErrorClicks(prompts, step.logits, { samples: slices, random });
      const mask = step.lowResMasks.detach();
      step = model.decodeStep(embeddings, slices, { prompts, mask });
      await addLosses(step);
    }
  }
  const all = concat(overlaps.map(({ dice }) => dice), 0);
  return {
    loss: losses.reduce(add),
    dice: mean(reshape(all, [lists.length, samples.length]), { axes: [0] }),
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
