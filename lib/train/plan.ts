import { parseTensorName } from "../adapters/methods.ts";
import type { AugmentOptions } from "../data/augment_options.ts";
import { planBatches, type SliceReader } from "../data/loader.ts";
import type { PromptChoice, PromptKind, PromptMix } from "../data/prompts.ts";
import type { SliceRef } from "../data/slices.ts";
import { InputError } from "../errors.ts";
import type { Random } from "../random.ts";
import type { Sam } from "../sam/sam.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ParamGroup } from "./optimizer.ts";
import { learningRateAt, type Schedule } from "./schedule.ts";

/** Options of a training. */
export interface FitOptions {
  /** Passes over the training slices. */
  readonly epochs: number;
  /** Slices a batch. Default 4. */
  readonly batchSize?: number;
  /**
   * Batches whose gradients one optimizer step takes together, as if they were one batch: less memory
   * for the same numbers, but for dropout, which draws by batch. The last step of an epoch takes the
   * batches that are left. Default 1.
   */
  readonly gradientAccumulationSteps?: number;
  /** Highest learning rate. Default 1e-3. */
  readonly learningRate?: number;
  /**
   * Highest learning rate of pretrained weights, where such are trained: adapters, which start from
   * nothing, take more. Default null: `learningRate`.
   */
  readonly pretrainedLearningRate?: number | null;
  /** Steps of linear warm-up. Default 20. */
  readonly warmupSteps?: number;
  /** Learning rate after the warm-up. Default `cosine`. */
  readonly schedule?: Schedule;
  /** Adam with L2 regularisation, or AdamW with decoupled weight decay. Default `adamw`. */
  readonly optimizer?: "adam" | "adamw";
  /** Factor of the weight decay. Default 0. */
  readonly weightDecay?: number;
  /** Norm to which the gradients of all parameters together are clipped. Default 1. */
  readonly maxGradNorm?: number;
  /** Prompts to train with; of a mixture, kinds are drawn by batch. Default `jittered-box`. */
  readonly prompt?: PromptChoice | PromptMix;
  /**
   * Kinds of prompt drawn for each batch, which is encoded once and decoded under all of them; the loss
   * is their mean. The decoder is cheap beside the encoder. Default 1, at most 100.
   */
  readonly promptsPerStep?: number;
  /**
   * Masks asked for in a step: after the first, a click where the last mask is wrong and that mask are
   * prompts too, as SAM itself was trained. Default 1, at most 100.
   */
  readonly promptIterations?: number;
  /** Prompt under which validation decides which epoch is best. Default `tight-box`. */
  readonly validationPrompt?: PromptKind;
  /** Epochs without a better validation Dice after which patience runs out. Default 10. */
  readonly patience?: number;
  /** Stops the training once patience runs out; if false, the result still names that epoch. Default true. */
  readonly earlyStopping?: boolean;
  /** Weights that the model is left with: the best epoch's, or the last's. Default `best`. */
  readonly keep?: "best" | "last";
  /**
   * Decay of an exponential moving average of the weights, which is then validated and kept in place of
   * them. Default 0: none.
   */
  readonly ema?: number;
  /** Chance of a left-right flip. Default 0.5. */
  readonly flip?: number;
  /** Augmentations of the slices, drawn anew each time. Default none. */
  readonly augment?: AugmentOptions;
  /**
   * Fixed variants of each slice that epochs walk through, the slice itself among them, in place of
   * augmenting anew: activations before the first trainable weight are then computed once for each, and
   * cached. Default 0: none.
   */
  readonly augmentVariants?: number;
  /**
   * About this share of an epoch's slices is tumour-free, drawn anew in each epoch, in batches of their own:
   * they are prompted by the whole image alone, as nobody would click there. Of an empty truth the soft Dice
   * loss is 1 - 1 / (1 + the sum of probabilities), 0 where nothing is painted. Default 0: none.
   */
  readonly healthyShare?: number;
  /**
   * Weight of the mean squared error of the estimated IoU, as SAM was trained; of a tumour-free slice the
   * target is 0, so that the estimate tells them apart. Default 0: the estimate is not trained.
   */
  readonly iouLoss?: number;
  /** Seed of order, augmentation and prompts. Default 0. */
  readonly seed?: number;
}

/** Values of {@linkcode FitOptions} that are used where none is given. */
export const FIT_DEFAULTS: Readonly<Required<Omit<FitOptions, "epochs">>> = {
  batchSize: 4,
  gradientAccumulationSteps: 1,
  learningRate: 1e-3,
  pretrainedLearningRate: null,
  warmupSteps: 20,
  schedule: "cosine",
  optimizer: "adamw",
  weightDecay: 0,
  maxGradNorm: 1,
  prompt: "jittered-box",
  promptsPerStep: 1,
  promptIterations: 1,
  validationPrompt: "tight-box",
  patience: 10,
  earlyStopping: true,
  keep: "best",
  ema: 0,
  flip: 0.5,
  augment: {},
  augmentVariants: 0,
  healthyShare: 0,
  iouLoss: 0,
  seed: 0,
};

/** Largest values of options that multiply the work of one step, which nothing can interrupt. */
export const FIT_LIMITS = { promptsPerStep: 100, promptIterations: 100 } as const;

/** Slices to train on and to choose the best epoch by. */
export interface FitData {
  /** Reads the slices that the lists name. */
  readonly reader: SliceReader;
  /** Slices to train on, with tumour. */
  readonly train: readonly SliceRef[];
  /** Tumour-free slices that epochs draw from; needed for a `healthyShare` above 0. */
  readonly healthy?: readonly SliceRef[];
  /** Slices of other patients, to choose the best epoch by. */
  readonly validation: readonly SliceRef[];
  /** True if they are other slices of the same patients, as a split of two patients has to be. */
  readonly validationSharesTrainingPatients?: boolean;
}

/** A batch of an epoch and its place in the optimizer step that it belongs to. */
export interface PlannedBatch {
  /** Slices of the batch, all of one size. */
  readonly refs: readonly SliceRef[];
  /** True for the first batch of a step. */
  readonly beginsStep: boolean;
  /** True for the last batch of a step: the optimizer steps after it. */
  readonly endsStep: boolean;
  /** Slices of all batches of the step; a batch's loss counts by its share of them. */
  readonly slicesOfStep: number;
}

/**
 * Batches of tumour-free slices in an epoch.
 *
 * @param slices Slices with tumour in the epoch.
 */
export function healthyBatches(
  slices: number,
  { healthyShare, batchSize }: { healthyShare: number; batchSize: number },
): number {
  if (healthyShare === 0) return 0;
  return Math.max(1, Math.round(healthyShare / (1 - healthyShare) * slices / batchSize));
}

/** Everything about a training that is decided before its first step. */
export class TrainingPlan {
  /** Options with their defaults. */
  readonly options: Readonly<Required<FitOptions>>;
  /** Slices to train on and to validate on. */
  readonly data: FitData;
  /** Trainable parameters by path, in the model's order. */
  readonly parameters: readonly (readonly [path: string, tensor: Tensor])[];
  /** Groups of consecutive parameters of one learning rate. */
  readonly paramGroups: readonly ParamGroup[];
  /** Highest learning rate of any parameter. */
  readonly learningRate: number;
  /** Batches of an epoch. */
  readonly batchesPerEpoch: number;
  /** Optimizer steps of an epoch. */
  readonly stepsPerEpoch: number;

  /**
   * Checks data and options.
   *
   * @throws {InputError} if there are no slices for a part, or an option is beyond its limit.
   * @throws {Error} if nothing is trainable.
   */
  constructor(sam: Sam, data: FitData, chosen: FitOptions) {
    const options = this.options = { ...FIT_DEFAULTS, ...chosen };
    this.data = data;
    for (const part of ["train", "validation"] as const) {
      if (data[part].length === 0) {
        throw new InputError(`there are no slices for ${part}: give a data set with more patients`);
      }
    }
    if (options.healthyShare > 0 && !data.healthy?.length) {
      throw new InputError(
        "there are no tumour-free slices to train on: name some, or a share of 0",
      );
    }
    for (const option of ["promptsPerStep", "promptIterations"] as const) {
      if (options[option] > FIT_LIMITS[option]) {
        throw new InputError(
          `${option} cannot be ${options[option]}: give ${FIT_LIMITS[option]} or less`,
        );
      }
    }
    this.parameters = sam.trainableParameters();
    if (this.parameters.length === 0) {
      throw new Error("nothing is trainable: inject adapters, or unfreeze a part of the model");
    }
    const { learningRate, pretrainedLearningRate } = options;
    const rateOf = (path: string) =>
      parseTensorName(path) ? learningRate : pretrainedLearningRate ?? learningRate;
    this.learningRate = Math.max(...this.parameters.map(([path]) => rateOf(path)));
    const groups: { params: Tensor[]; lrScale: number }[] = [];
    for (const [path, tensor] of this.parameters) {
      const lrScale = rateOf(path) / this.learningRate;
      if (groups.at(-1)?.lrScale === lrScale) groups.at(-1)!.params.push(tensor);
      else groups.push({ params: [tensor], lrScale });
    }
    this.paramGroups = groups;
    this.batchesPerEpoch = planBatches(data.train, options).length +
      healthyBatches(data.train.length, options);
    this.stepsPerEpoch = Math.ceil(this.batchesPerEpoch / options.gradientAccumulationSteps);
  }

  /** Highest learning rate of an optimizer step, counted from 0. */
  learningRateAt(step: number): number {
    const { learningRate, stepsPerEpoch, options } = this;
    const totalSteps = options.epochs * stepsPerEpoch;
    return learningRateAt(step, { ...options, learningRate, totalSteps });
  }

  /** Batches of an epoch in an order that `random` draws. */
  batches(random: Random): PlannedBatch[] {
    const { batchSize, gradientAccumulationSteps } = this.options;
    const tumour = planBatches(this.data.train, { batchSize, random });
    const healthy = this.#healthy(random);
    const batches = healthy.length > 0 ? random.shuffle([...tumour, ...healthy]) : tumour;
    return batches.map((refs, i) => {
      const first = i - i % gradientAccumulationSteps;
      const step = batches.slice(first, first + gradientAccumulationSteps);
      return {
        refs,
        beginsStep: i === first,
        endsStep: i === first + step.length - 1,
        slicesOfStep: step.reduce((sum, { length }) => sum + length, 0),
      };
    });
  }

  /** An epoch's batches of tumour-free slices: each slice once before any comes again. */
  #healthy(random: Random): SliceRef[][] {
    const { options: { batchSize, healthyShare }, data } = this;
    const count = healthyBatches(data.train.length, { batchSize, healthyShare });
    const drawn: SliceRef[][] = [];
    while (drawn.length < count) {
      drawn.push(...random.shuffle(planBatches(data.healthy!, { batchSize, random })));
    }
    return drawn.slice(0, count);
  }
}
