import * as v from "valibot";
import { MAXIMUM_BIAS_ORDER } from "../data/augment_options.ts";
import { PROMPT_CHOICES, PROMPT_KINDS } from "../data/prompts.ts";
import { excerpt, InputError } from "../errors.ts";
import { FIT_DEFAULTS } from "../train/trainer.ts";

const positiveInteger = v.pipe(v.number(), v.integer(), v.minValue(1));
const positive = v.pipe(v.number(), v.finite(), v.gtValue(0));
const notNegative = v.pipe(v.number(), v.finite(), v.minValue(0));
const chance = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
const promptKind = v.picklist(PROMPT_KINDS);

/** Which slices a study is made on and how they are prepared. */
const dataSchema = v.strictObject({
  /** Folder in BraTS layout; null for the embedded sample. */
  data: v.nullable(v.string()),
  /** t1c, t1n, t2f or t2w. */
  modality: v.string(),
  /** Labels that count as tumour. */
  target: v.picklist(["auto", "wt", "tc", "et"]),
  /** Voxel axis to slice along. */
  axis: v.picklist([0, 1, 2]),
  /** Slices with fewer tumour pixels are left out. */
  minTumourVoxels: positiveInteger,
  /** At most so many slices a case; null for all. */
  maxSlicesPerCase: v.nullable(positiveInteger),
  /** Side of the centre crop; null for none. */
  crop: v.nullable(positiveInteger),
  /** How intensities become 0..255. */
  rescale: v.picklist(["percentile", "zscore", "minmax"]),
});

const angle = v.pipe(v.number(), v.minValue(0), v.maxValue(180));

/** A range of factors about 1, or one side of it. */
const factors = v.pipe(
  v.strictObject({
    low: v.pipe(v.number(), v.minValue(0.1), v.maxValue(10)),
    high: v.pipe(v.number(), v.minValue(0.1), v.maxValue(10)),
    chance,
  }),
  v.check(({ low, high }) => low <= high, "the lower end is above the upper"),
);

/** The augmentations beside flips, as `AugmentOptions` describes them. */
const augmentSchema = v.strictObject({
  rotation: v.optional(v.strictObject({ degrees: angle, chance })),
  scaling: v.optional(factors),
  elastic: v.optional(v.pipe(
    v.strictObject({
      magnitude: notNegative,
      controlPoints: v.pipe(v.number(), v.integer(), v.minValue(2), v.maxValue(64)),
      chance,
    }),
    v.check(
      ({ magnitude, controlPoints }) => magnitude * (controlPoints - 1) <= 0.4,
      "beyond 0.4 of the distance of control points the image would fold",
    ),
  )),
  gamma: v.optional(factors),
  "bias-field": v.optional(v.strictObject({
    strength: v.pipe(v.number(), v.minValue(0), v.maxValue(2)),
    order: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAXIMUM_BIAS_ORDER)),
    chance,
  })),
  noise: v.optional(v.pipe(
    v.strictObject({
      low: notNegative,
      high: v.pipe(v.number(), v.minValue(0), v.maxValue(10)),
      chance,
    }),
    v.check(({ low, high }) => low <= high, "the lower end is above the upper"),
  )),
});

/** Everything an experiment depends on, beyond the code: written down with each run. */
export const configSchema = v.strictObject({
  ...dataSchema.entries,
  /** The pretrained model. */
  model: v.optional(v.picklist(["mobile_sam", "vit_b", "vit_l", "vit_h"]), "mobile_sam"),
  /** File with its weights; null for those that come with the package (mobile_sam). */
  weights: v.optional(v.nullable(v.string()), null),
  /** Side of the model's input. */
  side: v.pipe(
    v.number(),
    v.integer(),
    v.minValue(64),
    v.maxValue(1024),
    v.multipleOf(64, "must be a multiple of 64"),
  ),
  /** Decides split, initial adapters, order, augmentation and prompts. */
  seed: v.pipe(v.number(), v.integer(), v.minValue(0)),
  /** Decides split and scored prompts in place of `seed`, so that seeds can be compared; or null. */
  splitSeed: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(0))), null),
  /** Shares of the patients to train, validate and test on; null for 0.7, 0.1 and 0.2. */
  split: v.optional(
    v.nullable(
      v.pipe(
        v.array(positive),
        v.length(3, "give three shares of the patients"),
        v.check(
          (shares) => Math.abs(shares.reduce((a, b) => a + b, 0) - 1) < 1e-6,
          "they must sum to 1",
        ),
      ),
    ),
    null,
  ),
  /** Folds of a cross-validation by patient; null for one split. */
  folds: v.optional(v.nullable(v.pipe(v.number(), v.integer(), v.minValue(2))), null),
  /** The fold that is tested, counted from 1. */
  fold: v.optional(v.nullable(positiveInteger), null),
  /** Passes over the training slices. */
  epochs: positiveInteger,
  /** Slices that are computed at a time. */
  batchSize: positiveInteger,
  /** Batches whose gradients an optimiser step takes together. */
  gradientAccumulationSteps: v.optional(positiveInteger, 1),
  /** Backward computes each block again instead of keeping what lies within. */
  checkpointActivations: v.optional(v.boolean(), false),
  /** How activations are stored, on the tape and in the cache; they are computed with as f32. */
  storage: v.optional(v.picklist(["f32", "f16"]), "f32"),
  /** MiB of device memory for what lies before the first trainable weight. */
  cacheMemory: v.optional(notNegative, 1024),
  /** MiB of disk for what that memory has no room for. */
  cacheDisk: v.optional(notNegative, 4096),
  /** The highest learning rate. */
  learningRate: positive,
  /** The highest learning rate of pretrained weights, where such are trained; null is that of the others. */
  pretrainedLearningRate: v.optional(v.nullable(positive), null),
  /** Steps of linear warm-up. */
  warmupSteps: v.pipe(v.number(), v.integer(), v.minValue(0)),
  /** The learning rate after the warm-up. */
  schedule: v.picklist(["cosine", "constant"]),
  /** Adam or AdamW. */
  optimizer: v.picklist(["adam", "adamw"]),
  /** Weight decay. */
  weightDecay: notNegative,
  /** Norm to which gradients are clipped. */
  maxGradNorm: positive,
  /** Prompts trained with. */
  prompt: v.union([
    v.picklist(PROMPT_CHOICES),
    v.record(promptKind, v.pipe(v.number(), v.gtValue(0), v.maxValue(1))),
  ]),
  /** Kinds of prompt that a step decodes each batch under, drawn from those trained with. */
  promptsPerStep: v.optional(positiveInteger, 1),
  /** Masks asked for in a step, each after the first with a click where the last is wrong. */
  promptIterations: v.optional(positiveInteger, 1),
  /** Prompt whose validation Dice decides the best epoch. */
  validationPrompt: promptKind,
  /** Epochs without improvement before stopping. */
  patience: positiveInteger,
  /** Whether to stop then, or only to say where that was. */
  earlyStopping: v.optional(v.boolean(), true),
  /** The weights that are scored: of the epoch with the best validation Dice, or the last. */
  keep: v.optional(v.picklist(["best", "last"]), "best"),
  /** Decay of a moving average of the weights that is used in place of them; 0 for none. */
  ema: v.optional(v.pipe(v.number(), v.minValue(0), v.ltValue(1)), 0),
  /** Chance of a left-right flip. */
  flip: chance,
  /** What else is done to training slices; what is not named is not done. */
  augment: v.optional(augmentSchema, {}),
  /** Fixed variants of each slice in place of augmenting anew; 0 for none. */
  augmentVariants: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(100)), 0),
  /** LoRA's alpha: the update is scaled by alpha / rank. */
  alpha: positive,
  /** Dropout on the adapters' input. */
  dropout: v.pipe(v.number(), v.minValue(0), v.ltValue(1)),
  /** Suffixes of the paths of the Linears that get adapters. */
  targets: v.pipe(v.array(v.pipe(v.string(), v.minLength(1))), v.minLength(1)),
  /** Blocks that get adapters, counted from 0; null for all. */
  blocks: v.nullable(
    v.pipe(v.array(v.pipe(v.number(), v.integer(), v.minValue(0))), v.minLength(1)),
  ),
  /** Which of the queries, keys and values of a fused qkv are adapted; null for the whole. */
  qkvParts: v.optional(
    v.nullable(v.pipe(v.array(v.picklist(["q", "k", "v"])), v.minLength(1))),
    null,
  ),
  /** Kinds of LoRA: rsLoRA's scaling, DoRA's magnitudes. */
  variants: v.optional(v.array(v.picklist(["rslora", "dora"])), []),
  /** How the adapters start. */
  init: v.optional(v.picklist(["default", "gaussian", "pissa"]), "default"),
  /** Modules trained as a whole beside the adapters, such as mask_decoder; null for none. */
  modulesToSave: v.optional(
    v.nullable(v.pipe(v.array(v.pipe(v.string(), v.minLength(1))), v.minLength(1))),
    null,
  ),
  /** At most so many slices of each part of the split; null for all. */
  maxTrain: v.nullable(positiveInteger),
  maxValidation: v.nullable(positiveInteger),
  maxTest: v.nullable(positiveInteger),
});

/** The values of an experiment that are not its name or kind. */
export type Config = v.InferOutput<typeof configSchema>;

/** The seed of everything that must not change from one training seed to the next. */
export function dataSeed({ splitSeed, seed }: Pick<Config, "splitSeed" | "seed">): number {
  return splitSeed ?? seed;
}

/** Values of an experiment that are not the study's. */
export type Overrides = Readonly<Partial<Config>>;

const defaults: Config = {
  data: null,
  modality: "t1c",
  target: "auto",
  axis: 2,
  minTumourVoxels: 20,
  maxSlicesPerCase: null,
  crop: null,
  rescale: "percentile",
  model: "mobile_sam",
  weights: null,
  side: 256,
  ...FIT_DEFAULTS,
  checkpointActivations: false,
  storage: "f32",
  cacheMemory: 1024,
  cacheDisk: 4096,
  splitSeed: null,
  split: null,
  folds: null,
  fold: null,
  epochs: 3,
  alpha: 16,
  dropout: 0,
  targets: ["attn.qkv"],
  blocks: null,
  qkvParts: null,
  variants: [],
  init: "default",
  modulesToSave: null,
  maxTrain: null,
  maxValidation: null,
  maxTest: null,
};

/** Named sets of values, and the ranks that go with them. */
export const presets: Readonly<
  Record<string, { readonly config: Config; readonly ranks: readonly number[] }>
> = {
  /** Minutes on two CPU cores: enough to see every part work and the order of the rows. */
  quick: {
    config: { ...defaults, maxTrain: 96, maxValidation: 24, maxTest: 48 },
    ranks: [16, 32, 64],
  },
  /** The study's: 50 epochs, Adam, all ranks, SAM's own input side; for a GPU. */
  study: {
    config: { ...defaults, side: 1024, epochs: 50, optimizer: "adam", patience: 50 },
    ranks: [16, 32, 64, 128, 256],
  },
  /** Everything of a data set in few epochs: the values that the options start from with --data. */
  full: { config: defaults, ranks: [16, 32, 64] },
};

/**
 * Checks a config from outside.
 *
 * @throws {InputError} naming the first value that is wrong, or unknown.
 */
export function parseConfig(value: unknown, source: string): Config {
  const result = v.safeParse(configSchema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const path = v.getDotPath(issue) ?? "the whole";
  const reason = issue.received === "undefined" ? "it is missing" : issue.message.toLowerCase();
  throw new InputError(`${source}: ${excerpt(path)} is not valid (${excerpt(reason)})`);
}
