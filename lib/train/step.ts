import { type AugmentedSlice, augmentForEpoch } from "../data/augment.ts";
import { drawKinds, drawPrompt, type Prompt, type PromptKind } from "../data/prompts.ts";
import type { Slice } from "../data/slices.ts";
import type { Random } from "../random.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { PlannedBatch } from "./plan.ts";
import { type PromptedLoss, promptedLoss } from "./prompted_loss.ts";
import type { Training } from "./training.ts";

/** Forward, loss, backward and optimizer step of one epoch; gradients add up over a step's batches. */
export class Stepper {
  readonly #training: Training;
  readonly #epoch: number;
  readonly #random: Random;

  /** Draws augmentation and prompts of an epoch from `random`. */
  constructor(training: Training, { epoch, random }: { epoch: number; random: Random }) {
    this.#training = training;
    this.#epoch = epoch;
    this.#random = random;
  }

  /**
   * Adds a batch's part to the gradients of its step. The loss is a mean over slices: the batch counts by
   * its share of the step's.
   *
   * @returns Loss and masks of the batch; they belong to the open scope.
   */
  async backward(slices: readonly Slice[], { slicesOfStep }: PlannedBatch): Promise<PromptedLoss> {
    const { model, plan, procedure, probes, scaler } = this.#training;
    const { samples, prompts } = this.#draw(slices);
    const { promptIterations, iouLoss } = plan.options;
    const masks = await promptedLoss(model, samples, {
      criterion: procedure.criterion,
      prompts,
      iterations: isTumourFree(samples) ? 1 : promptIterations, // nobody would click there
      iouLoss,
      random: this.#random,
      share: slices.length / slicesOfStep,
    });
    await probes.probeLoss(model, samples, { ...masks, ...procedure });
    procedure.backward(masks.loss, scaler?.scale);
    return masks;
  }

  /**
   * Takes the optimizer step, and its weights into the moving average.
   *
   * @returns Norm of the gradients before clipping, a scalar.
   */
  step(): Tensor {
    const training = this.#training;
    const { procedure, optimizer, plan, average } = training;
    const norm = procedure.step(optimizer, plan.learningRateAt(training.step));
    training.step++;
    average?.update(training.step);
    return norm;
  }

  /**
   * Slices [B] as they are augmented in this epoch, and for each kind of prompt a list of B prompts; for
   * tumour-free ones the whole image alone.
   */
  #draw(slices: readonly Slice[]): { samples: AugmentedSlice[]; prompts: Prompt[][] } {
    const [epoch, random] = [this.#epoch, this.#random];
    const { options } = this.#training.plan;
    const samples = slices.map((slice) =>
      augmentForEpoch(slice, { epoch, order: random }, options)
    );
    const kinds: PromptKind[] = isTumourFree(samples)
      ? ["whole-image"]
      : drawKinds(options.prompt, random, options.promptsPerStep);
    const prompts = kinds.map((kind) =>
      samples.map(({ slice: { mask, ref: { width, height } } }) =>
        drawPrompt(kind, { mask, width, height, random, point: "random" })
      )
    );
    return { samples, prompts };
  }
}

/** True for a batch of tumour-free slices: batches of a plan mix them with no others. */
function isTumourFree([{ slice }]: readonly AugmentedSlice[]): boolean {
  return slice.ref.tumourVoxels === 0;
}
