/**
 * Schema of a study: every value that an experiment depends on, and every option of its command line,
 * stated once.
 *
 * @module
 */
import { dirname, join } from "node:path";
import * as v from "valibot";
import { DEFAULT_FRACTIONS } from "../data/split.ts";
import { AUGMENTATIONS, MAXIMUM_BIAS_ORDER, parseAugment } from "../data/augment_options.ts";
import { LABEL_SCHEME_NAMES } from "../data/target.ts";
import { parsePromptMix, PROMPT_CHOICES, PROMPT_KINDS } from "../data/prompts.ts";
import { PEFT_TYPES } from "../adapters/methods.ts";
import { excerpt, InputError, shellWord } from "../errors.ts";
import { MODEL_NAMES, SAM_SIDES } from "../sam/models.ts";
import { PRESENCE_NAMES } from "../evaluate/presence.ts";
import { HEADLINE_PROMPTS, PROTOCOL } from "../evaluate/scored_prompts.ts";
import { isShardIndex } from "../files/shard_index.ts";
import { RECIPE } from "../predict/recipe.ts";
import { readBytes } from "../fs.ts";
import { FIT_DEFAULTS, FIT_LIMITS } from "../train/plan.ts";
import { isBegunHere, namedPaths } from "./begun.ts";
import {
  commonFields,
  defaultsOf,
  type Field,
  field,
  type Fields,
  grouped,
  listed,
  pick,
  reads,
  reasonOf,
  type Rights,
  type Values,
  writes,
} from "./command_line.ts";

const positiveInteger = v.pipe(v.number(), v.integer(), v.minValue(1));
const positive = v.pipe(v.number(), v.finite(), v.gtValue(0));
const notNegative = v.pipe(v.number(), v.finite(), v.minValue(0));
const index = v.pipe(v.number(), v.integer(), v.minValue(0));
const chance = v.pipe(v.number(), v.minValue(0), v.maxValue(1));
const promptKind = v.picklist(PROMPT_KINDS);
const names = v.pipe(v.array(v.pipe(v.string(), v.minLength(1))), v.minLength(1));

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
  rotation: v.optional(v.strictObject({
    degrees: v.pipe(v.number(), v.minValue(0), v.maxValue(180)),
    chance,
  })),
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

/** A list whose items differ from each other. */
function distinct<T>(item: v.GenericSchema<unknown, T>, what: string) {
  return v.pipe(
    v.array(item),
    v.check((items) => new Set(items).size === items.length, `it names a ${what} twice`),
  );
}

/** Values of which the best on validation patients is chosen, one after the other; at least one. */
function candidates(item: v.GenericSchema<unknown, number>, what: string) {
  return v.pipe(distinct(item, what), v.minLength(1));
}

/** PEFT's word for every Linear that takes adapters. */
export const ALL_LINEAR = "all-linear";

/** Prompts of a training by their chances: a model must stand boxes, clicks and nothing at all. */
const PROMPT_MIX = {
  "tight-box": 0.2,
  "jittered-box": 0.3,
  point: 0.2,
  "whole-image": 0.3,
} as const;

/** Values that an experiment depends on beside the code; each run's entry in `runs.json` holds them all. */
export const configFields = {
  ...grouped("data", {
    data: field("data DIR", "data set in a known layout (default: the embedded sample)", {
      type: v.nullable(v.string()),
      default: null,
      common: true,
      free: true, // slices are compared by content
      rights: reads,
    }),
    healthy: field(
      "healthy DIR",
      "data set whose tumour-free slices are scored beside, with those within the volumes of --data",
      {
        type: v.nullable(v.string()),
        default: null,
        added: true,
        free: true, // slices are compared by content
        rights: reads,
      },
    ),
    healthyShare: field(
      "healthy-share S",
      "share of an epoch's slices that is tumour-free, of training patients of --healthy and --data",
      { type: v.pipe(v.number(), v.minValue(0), v.maxValue(0.9)), default: 0, added: true },
    ),
    counterfactuals: field(
      "counterfactuals",
      "train and validate also on slices whose tumour is gone, its half mirrored from the other, and on tumours pasted into tumour-free ones",
      { type: v.boolean(), default: false, added: true },
    ),
    modality: field("modality NAME", "t1c, t1n, t2f or t2w", { type: v.string(), default: "t1c" }),
    patients: field(
      "patients FILE",
      "whose each case is: CSV or JSON of cases and patients, or a regular expression (default: by name)",
      {
        type: v.nullable(v.string()),
        default: null,
        added: true,
        free: true, // the grouping itself is compared
        rights: reads,
      },
    ),
    target: field("target NAME", "labels that count as tumour: auto (all), wt, tc or et", {
      type: v.picklist(["auto", "wt", "tc", "et"]),
      default: "auto",
    }),
    labels: field("labels NAME", `scheme of the labels: ${LABEL_SCHEME_NAMES.join(", ")}`, {
      type: v.nullable(v.picklist(LABEL_SCHEME_NAMES)),
      default: null,
      added: true,
    }),
    axis: field("axis N", "slice along this voxel axis: 0, 1 or 2", {
      type: RECIPE.axis,
      default: 2,
    }),
    minTumourVoxels: field("min-tumour N", "leave out slices with fewer tumour pixels", {
      type: positiveInteger,
      default: 20,
    }),
    maxSlicesPerCase: field("max-slices N", "at most so many slices a case", {
      type: v.nullable(positiveInteger),
      default: null,
    }),
    crop: field("crop N", "centre crop of N x N pixels", {
      type: RECIPE.crop,
      default: null,
    }),
    rescale: field(
      "rescale NAME",
      "rule that maps intensities to 0..255: percentile, zscore or minmax",
      { type: RECIPE.rescale, default: "percentile" },
    ),
    splitSeed: field(
      "split-seed N",
      "seed of split and scored prompts in place of --seed, so that seeds can be compared",
      { type: v.nullable(index), default: null, added: true },
    ),
    split: field(
      "split A,B,C",
      "shares of patients to train, validate and test on (default 0.7,0.1,0.2)",
      {
        type: v.nullable(v.pipe(
          v.array(positive),
          v.length(3, "give three shares of the patients"),
          v.check(
            (shares) => Math.abs(shares.reduce((a, b) => a + b, 0) - 1) < 1e-6,
            "the shares must sum to 1",
          ),
        )),
        default: null,
        added: true,
      },
    ),
    folds: field("folds N", "cross-validation by patient in so many folds", {
      type: v.nullable(v.pipe(v.number(), v.integer(), v.minValue(2))),
      default: null,
      common: true,
      added: true,
    }),
    innerShare: field(
      "inner-share S",
      "with --folds: share of all patients that is validated on, of those not tested",
      {
        type: v.pipe(v.number(), v.gtValue(0), v.maxValue(0.5)),
        default: DEFAULT_FRACTIONS.validation,
        added: true,
      },
    ),
    fold: field("fold N", "with --folds: this fold alone, counted from 1", {
      type: v.nullable(positiveInteger),
      default: null,
      added: true,
    }),
    trainOnAll: field(
      "train-on-all",
      "train on every patient, for an adapter to be used: what is scored are a few other slices of them",
      { type: v.boolean(), default: false, added: true },
    ),
    maxTrain: field("max-train N", "at most so many training slices", {
      type: v.nullable(positiveInteger),
      default: null,
    }),
    maxValidation: field("max-validation N", "at most so many validation slices", {
      type: v.nullable(positiveInteger),
      default: null,
    }),
    maxTest: field("max-test N", "at most so many test slices", {
      type: v.nullable(positiveInteger),
      default: null,
    }),
  }),
  ...grouped("model", {
    model: field("model NAME", MODEL_NAMES.join(", "), {
      type: RECIPE.model,
      default: "mobile_sam",
      common: true,
      added: true,
    }),
    weights: field("weights FILE", "pretrained weights (default: MobileSAM's own)", {
      type: v.nullable(v.string()),
      default: null,
      added: true,
      free: true, // compared by hash
      rights: (path) => reads(isShardIndex(path) ? dirname(path) : path),
    }),
    side: field(
      "side N",
      `side of the model's input, a multiple of ${SAM_SIDES.multiple} up to ${SAM_SIDES.most}`,
      {
        type: RECIPE.side,
        default: 256,
        common: true,
      },
    ),
  }),
  ...grouped("adapters", {
    peftType: field("peft-type NAME", `method of the adapters: ${PEFT_TYPES.join(", ")}`, {
      type: v.picklist(PEFT_TYPES),
      default: "lora",
      added: true,
    }),
    alpha: field("alpha X", "the adapters' alpha; updates are scaled by alpha / rank", {
      type: positive,
      default: 16,
    }),
    dropout: field(
      "dropout P",
      "dropout of the adapters: of LoRA's input, of rows of LoHa's update",
      { type: v.pipe(v.number(), v.minValue(0), v.ltValue(1)), default: 0 },
    ),
    targets: field(
      "targets A,B",
      `Linears that get adapters, by the end of their path; ${ALL_LINEAR} for each of a block`,
      {
        type: names,
        default: [ALL_LINEAR],
      },
    ),
    blocks: field(
      "blocks A,B",
      "blocks that get adapters, counted from 0; late for those of the late stages, or all",
      {
        type: v.nullable(v.union([v.literal("late"), v.pipe(v.array(index), v.minLength(1))])),
        default: "late",
        parse: (text) =>
          text === "all" ? null : text === "late" ? text : text.split(",").map(Number),
      },
    ),
    qkvParts: field("qkv-parts q,v", "adapt only these of queries, keys and values", {
      type: v.nullable(v.pipe(v.array(v.picklist(["q", "k", "v"])), v.minLength(1))),
      default: null,
      added: true,
    }),
    variants: field("variants A,B", "rslora (scale by alpha / sqrt rank), dora (magnitudes)", {
      type: v.array(v.picklist(["rslora", "dora"])),
      default: [],
      added: true,
    }),
    init: field("init NAME", "start of the adapters: default, gaussian or pissa", {
      type: v.picklist(["default", "gaussian", "pissa"]),
      default: "default",
      added: true,
    }),
    modulesToSave: field(
      "save-modules A,B",
      "modules trained whole beside the adapters, or none",
      {
        type: v.nullable(names),
        default: ["mask_decoder"],
        added: true,
        before: null,
        parse: (text) => text === "none" ? null : text.split(","),
      },
    ),
    adapterDtype: field(
      "adapter-dtype NAME",
      "f32, or f16 to save trained weights in half the bytes; they are scored as saved",
      { type: v.picklist(["f32", "f16"]), default: "f32", added: true },
    ),
  }),
  ...grouped("training", {
    seed: field("seed N", "seed of split, adapters, order, augmentation and prompts", {
      type: index,
      default: FIT_DEFAULTS.seed,
    }),
    epochs: field("epochs N,M", "passes over the training slices; of several the best is chosen", {
      type: candidates(positiveInteger, "number"),
      default: [3],
      common: true,
    }),
    batchSize: field("batch-size N", "slices at a time", {
      type: positiveInteger,
      default: FIT_DEFAULTS.batchSize,
    }),
    gradientAccumulationSteps: field(
      "gradient-accumulation-steps N",
      "batches whose gradients a step takes together",
      { type: positiveInteger, default: FIT_DEFAULTS.gradientAccumulationSteps, added: true },
    ),
    learningRate: field("lr X,Y", "highest learning rate; of several the best is chosen", {
      type: candidates(positive, "rate"),
      default: [3e-3],
    }),
    pretrainedLearningRate: field(
      "pretrained-lr X",
      "that of pretrained weights, where they are trained; beside several --lr that of the first, and in " +
        "proportion with the others",
      { type: v.nullable(positive), default: 5e-4, added: true, before: null },
    ),
    warmupSteps: field("warmup N", "steps of linear warm-up", {
      type: index,
      default: 5,
    }),
    schedule: field("schedule NAME", "learning rate after the warm-up: cosine or constant", {
      type: v.picklist(["cosine", "constant"]),
      default: FIT_DEFAULTS.schedule,
    }),
    optimizer: field("optimizer NAME", "adam or adamw", {
      type: v.picklist(["adam", "adamw"]),
      default: FIT_DEFAULTS.optimizer,
    }),
    weightDecay: field("weight-decay X", "weight decay", {
      type: notNegative,
      default: FIT_DEFAULTS.weightDecay,
    }),
    maxGradNorm: field("max-grad-norm X", "clip gradients to this norm", {
      type: positive,
      default: FIT_DEFAULTS.maxGradNorm,
    }),
    patience: field("patience N", "epochs without improvement before stopping", {
      type: positiveInteger,
      default: FIT_DEFAULTS.patience,
    }),
    earlyStopping: field("no-early-stopping", "train all epochs, only mark where it would stop", {
      type: v.boolean(),
      default: FIT_DEFAULTS.earlyStopping,
      added: true,
    }),
    keep: field("keep NAME", "score the weights of the best epoch or the last", {
      type: v.picklist(["best", "last"]),
      default: "last",
      added: true,
      before: "best",
    }),
    ema: field(
      "ema X",
      "decay of a moving average of the weights, used in their place; 0 for none",
      {
        type: v.pipe(v.number(), v.minValue(0), v.ltValue(1)),
        default: 0.99,
        added: true,
        before: 0,
      },
    ),
    wiseFt: field(
      "wise-ft A,B",
      "WiSE-FT: shares of the trained weights to try, the rest pretrained; that best on validation is kept",
      {
        type: candidates(v.pipe(v.number(), v.gtValue(0), v.maxValue(1)), "share"),
        default: [0.5, 0.75, 1],
        added: true,
        before: [1],
      },
    ),
    iouLoss: field(
      "iou-loss W",
      "weight of the error of the estimated IoU, 0 of a tumour-free slice; SAM's own training had 1",
      { type: notNegative, default: FIT_DEFAULTS.iouLoss, added: true },
    ),
    flip: field("flip P", "chance of a left-right flip", {
      type: chance,
      default: FIT_DEFAULTS.flip,
    }),
    augment: field(
      "augment A,B=X@P",
      `flip, ${AUGMENTATIONS.join(", ")}, all or none: =strength, @chance`,
      {
        type: augmentSchema,
        default: {},
        added: true,
        parse: (text) => parseAugment(text).augment,
        sets: (text) => ({ flip: parseAugment(text).flip }), // the list decides flips too
      },
    ),
    augmentVariants: field(
      "augment-variants K",
      "fixed variants of each slice, to be cached; 0 to augment anew each time",
      {
        type: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(100)),
        default: FIT_DEFAULTS.augmentVariants,
        added: true,
      },
    ),
  }),
  ...grouped("prompts", {
    prompt: field(
      "prompt NAME|A=P,B=P",
      `trained with: ${PROMPT_CHOICES.join(", ")}, or a mixture by chance`,
      {
        type: v.union([
          v.picklist(PROMPT_CHOICES),
          v.record(promptKind, v.pipe(v.number(), v.gtValue(0), v.maxValue(1))),
        ]),
        default: PROMPT_MIX,
        alias: "prompt-mix",
        parse: (text) => text.includes("=") ? parsePromptMix(text) : text,
      },
    ),
    promptsPerStep: field("prompts-per-step N", "prompts that a batch is decoded under in a step", {
      type: v.pipe(positiveInteger, v.maxValue(FIT_LIMITS.promptsPerStep)),
      default: 3,
      added: true,
      before: 1,
    }),
    promptIterations: field(
      "prompt-iterations N",
      "masks a step, each after the first with a click where the last is wrong",
      {
        type: v.pipe(positiveInteger, v.maxValue(FIT_LIMITS.promptIterations)),
        default: FIT_DEFAULTS.promptIterations,
        added: true,
      },
    ),
    validationPrompt: field(
      "validation-prompt NAME",
      "prompt whose validation Dice decides the best epoch",
      { type: promptKind, default: "jittered-box" },
    ),
  }),
  ...grouped("scoring", {
    presenceRule: field(
      "presence-rule NAME=T",
      "rule by which a mask without a prompt counts, in place of one chosen on validation patients",
      {
        type: v.nullable(v.strictObject({
          score: v.picklist(PRESENCE_NAMES),
          threshold: v.pipe(v.number(), v.finite()),
        })),
        default: null,
        added: true,
        parse: (text) => {
          const [score, threshold] = text.split("=");
          return { score, threshold: Number(threshold || NaN) };
        },
      },
    ),
    testPrompts: field(
      "test-prompts A,B",
      `prompts that the test slices are scored under: all, or some of ${PROTOCOL.join(", ")}`,
      {
        type: v.pipe(distinct(v.picklist(PROTOCOL), "prompt"), v.minLength(1)),
        default: [...HEADLINE_PROMPTS],
        added: true,
        before: [...PROTOCOL],
        parse: (text) => text === "all" ? [...PROTOCOL] : text.split(","),
      },
    ),
  }),
  ...grouped("running", {
    checkpointActivations: field(
      "checkpoint-activations",
      "compute blocks again in backward: less memory",
      { type: v.boolean(), default: false, added: true },
    ),
    precision: field(
      "precision NAME",
      "f32, or f16: products and attention of halves, as AMP; sums, softmax, losses and trained weights stay f32",
      { type: v.picklist(["f32", "f16"]), default: "f32", added: true },
    ),
    storage: field(
      "storage NAME",
      "f32, or f16 to store activations in half the memory, as --precision f16 does anyway; both compute in f32",
      { type: v.picklist(["f32", "f16"]), default: "f32", added: true },
    ),
    cacheMemory: field(
      "cache-memory MIB",
      "device memory for activations before the first trainable weight",
      { type: notNegative, default: 1024, added: true, free: true },
    ),
    cacheDisk: field("cache-disk MIB", "disk for what that memory has no room for", {
      type: notNegative,
      default: 4096,
      added: true,
      free: true,
    }),
  }),
};

/** Values of an experiment that are not its name or kind. */
export type Config = Values<typeof configFields>;

/** Fields that may name several values, of which one is chosen on validation patients. */
export const CHOSEN_FIELDS = ["learningRate", "epochs", "wiseFt"] as const;

/** One value of each of these fields. */
export type Choice = Readonly<Record<typeof CHOSEN_FIELDS[number], number>>;

/** Values of a training: one of each. */
export type SettledConfig = Omit<Config, keyof Choice> & Choice;

/** Values of an experiment that are not the study's; one in place of several needs no list. */
export type Overrides = Readonly<
  & Partial<Omit<Config, keyof Choice>>
  & { [K in keyof Choice]?: number | readonly number[] }
>;

/** A config with values of its own. */
export function overridden(config: Config, overrides: Overrides): Config {
  const lists = CHOSEN_FIELDS.flatMap((name) => {
    const value = overrides[name];
    return value === undefined ? [] : [[name, typeof value === "number" ? [value] : [...value]]];
  });
  return { ...config, ...overrides as Partial<Config>, ...Object.fromEntries(lists) };
}

/**
 * A config with one value of each field: the first, or those of `choice`. All rates are scaled together: that
 * of pretrained weights keeps its ratio to the learning rate, of which the config names the first.
 */
export function settled(config: Config, choice?: Partial<Choice>): SettledConfig {
  const { learningRate: [first], epochs: [epochs], wiseFt: [wiseFt], pretrainedLearningRate } =
    config;
  const learningRate = choice?.learningRate ?? first;
  return {
    ...config,
    learningRate,
    epochs,
    wiseFt,
    ...choice,
    pretrainedLearningRate: pretrainedLearningRate === null
      ? null
      : Number((pretrainedLearningRate * learningRate / first).toPrecision(6)),
  };
}

/** Checks of the fields by name, for schemas that hold a config. */
type ConfigEntries = { [K in keyof Config]: v.GenericSchema<unknown, Config[K]> };

/** Check of a config from a file; values that records lack because they are older have their defaults. */
export const configSchema: v.StrictObjectSchema<ConfigEntries, undefined> = v.strictObject(
  Object.fromEntries(
    Object.entries(configFields as Fields).map(([name, field]) => {
      const type = v.pipe(v.unknown(), v.transform((value) => listed(field, value)), field.type);
      const before = "before" in field ? field.before : field.default;
      return [name, field.added ? v.optional(type, before) : type];
    }),
  ) as unknown as ConfigEntries,
);

/** Values of a study that names none. */
export const DEFAULTS: Config = defaultsOf(configFields);

/** Values that the options start from, and the ranks that go with them. */
interface Preset {
  /** Values of the config. */
  readonly config: Config;
  /** Ranks of the rows with adapters. */
  readonly ranks: readonly number[];
}

/** The original study's training: LoRA in the encoder's attention alone, one prompt, one learning rate. */
export const PLAIN: Overrides = {
  learningRate: FIT_DEFAULTS.learningRate,
  warmupSteps: FIT_DEFAULTS.warmupSteps,
  targets: ["attn.qkv"],
  blocks: null,
  modulesToSave: null,
  pretrainedLearningRate: null,
  keep: "best",
  ema: 0,
  wiseFt: [1],
  prompt: "jittered-box",
  promptsPerStep: 1,
  validationPrompt: "tight-box",
  testPrompts: [...PROTOCOL],
};

/** Values and ranks of a study that names no preset. */
const defaultPreset: Preset = { config: DEFAULTS, ranks: [16, 32, 64] };

/** Named sets of values. */
export const presets: Readonly<Record<"study", Preset>> = {
  /** The original study's: 50 epochs, Adam, all ranks, SAM's own input side; for a GPU. */
  study: {
    config: overridden(DEFAULTS, {
      ...PLAIN,
      side: 1024,
      epochs: 50,
      optimizer: "adam",
      patience: 50,
    }),
    ranks: [16, 32, 64, 128, 256],
  },
};

/**
 * Shares of the sample's patients, 23, 7 and 22 of the 52: enough to test on, since it is small and
 * means are to be told apart.
 */
export const SAMPLE_SPLIT: readonly [number, number, number] = [0.44, 0.14, 0.42];

/** Names of the rows that others are compared with. */
export const BASELINES = ["vanilla", "peft", "full"] as const;

/** Implementations of WebGPU: Deno's own, and Dawn from npm. */
export const WEBGPU_NAMES = ["deno", "dawn"] as const;

/** npm's build of Dawn, Chromium's WebGPU. Not a dependency: it is fetched when it is asked for. */
export const DAWN = "npm:webgpu@0.6.2";

/** Options that choose what computes. */
export const deviceFields = {
  webgpu: field("webgpu NAME", "deno, or dawn: Chromium's, from npm", {
    type: v.picklist(WEBGPU_NAMES),
    default: "deno",
    rights: (name) => name === "dawn" ? { packages: [DAWN] } : {},
    group: "running",
  }),
  device: field(
    "device N|NAME",
    "number or part of the name in the list of ./run devices, or cpu: a CPU driver, on purpose",
    { type: v.nullable(v.string()), default: null, group: "running" },
  ),
  family: field(
    "family NAME",
    "kernels made for a cpu or a gpu (default: those for the device's type)",
    { type: v.nullable(v.picklist(["cpu", "gpu"])), default: null, group: "running" },
  ),
};

/** Folder for new results. */
export const outFolderField = field(
  "out DIR",
  "folder for the results (default: a new one under results/)",
  { type: v.nullable(v.string()), default: null, common: true, rights: writes, group: "running" },
);

/** Options of a study whose rows are given. */
const rowFields = {
  preset: field(
    "preset NAME",
    "values to start from in place of the defaults: study, the original study's, for a GPU",
    {
      type: v.nullable(v.picklist(["study"])),
      default: null,
      common: true,
      group: "running",
    },
  ),
  seeds: field("seeds A,B", "train with each of these seeds, on the split of the first", {
    type: v.nullable(distinct(index, "seed")),
    default: null,
    group: "training",
  }),
  splitSeeds: field(
    "split-seeds A,B",
    "train on the splits of these seeds too, with the first training seed",
    { type: distinct(index, "seed"), default: [], group: "training" },
  ),
  out: outFolderField,
  checkpointMinutes: field(
    "checkpoint-minutes N",
    "minutes between checkpoints within an epoch (default 5)",
    { type: v.nullable(notNegative), default: null, group: "running" },
  ),
  leaseSeconds: field(
    "lease-seconds N",
    "seconds without a sign of life after which another machine may take a task over (default 60)",
    {
      type: v.nullable(v.pipe(v.number(), v.minValue(1), v.maxValue(86400))),
      default: null,
      group: "cluster",
    },
  ),
  tensorboard: field("no-tensorboard", "write no event files for TensorBoard", {
    type: v.boolean(),
    default: true,
    group: "running",
  }),
  sample: field("sample ID", "case or slice whose masks are drawn", {
    type: v.nullable(v.string()),
    default: null,
    group: "scoring",
  }),
  dryRun: field(
    "dry-run",
    "say what this would train, and what time, memory and disk it would take; write no results",
    { type: v.boolean(), default: false, common: true, group: "running" },
  ),
  ...deviceFields,
};

/** Options of a study that choose its rows, or a study that was begun. */
const studyFields = {
  ...rowFields,
  ranks: field("ranks A,B", "ranks of the adapters (default 16,32,64)", {
    type: v.nullable(distinct(positiveInteger, "rank")),
    default: null,
    common: true,
    group: "adapters",
  }),
  encoderRanks: field(
    "encoder-ranks A,B",
    "ranks that are also trained with nothing but the adapters, the study's question, or none (default: the first)",
    {
      type: v.nullable(distinct(positiveInteger, "rank")),
      default: null,
      group: "adapters",
      parse: (text) => text === "none" ? [] : text.split(",").map(Number),
    },
  ),
  baselines: field("baselines A,B", "rows that they are compared with: vanilla, peft, full", {
    type: distinct(v.picklist(BASELINES), "row"),
    default: ["vanilla", "peft"],
    group: "adapters",
  }),
  sweep: field("sweep NAME", "a sweep in place of these rows", {
    type: v.nullable(v.string()),
    default: null,
    group: "adapters",
  }),
  resume: field("resume DIR", "go on with the study in this folder, with its own options", {
    type: v.nullable(v.string()),
    default: null,
    common: true,
    rights: resumes,
    group: "running",
  }),
  force: field(
    "force",
    "go on although code, weights, data or options are not those it began with",
    { type: v.boolean(), default: false, group: "running" },
  ),
};

/**
 * Rights to go on with a study: its folder, and, where it was begun here, what its record says that it
 * was begun with.
 */
export function resumes(path: string): Rights {
  try {
    const text = new TextDecoder().decode(readBytes(join(path, "resume.json")));
    const named = namedPaths(JSON.parse(text).config);
    if (!isBegunHere(path, named)) return writes(path);
    return { write: [path], read: Object.values(named).filter((value) => value !== null) };
  } catch {
    return writes(path); // the study itself says why it cannot go on
  }
}

/** Options of the engine that computes the tasks of a study. */
const submitFields = grouped("cluster", {
  engine: field(
    "engine NAME",
    "local: processes of this machine; slurm: jobs of the cluster's scheduler",
    { type: v.nullable(v.picklist(["local", "slurm"])), default: null, common: true },
  ),
  workers: field("workers N", "local: processes at a time (default: one a GPU, at least one)", {
    type: v.nullable(v.pipe(positiveInteger, v.maxValue(256))),
    default: null,
    common: true,
  }),
  atOnce: field("at-once N", "slurm: tasks at a time (default: as many as there is room for)", {
    type: v.nullable(positiveInteger),
    default: null,
  }),
  partition: field("partition NAME", "slurm: partition of the jobs", {
    type: v.nullable(v.string()),
    default: null,
  }),
  time: field(
    "time LIMIT",
    "slurm: time limit of a job, as sbatch reads it; what is not done by then goes on in another",
    { type: v.nullable(v.string()), default: null },
  ),
  memory: field("memory SIZE", "slurm: host memory of a job, such as 8G", {
    type: v.nullable(v.string()),
    default: null,
  }),
  gpus: field("gpus N", "slurm: GPUs of a task", {
    type: v.nullable(positiveInteger),
    default: null,
  }),
  cpus: field("cpus N", "slurm: processor cores of a job", {
    type: v.nullable(positiveInteger),
    default: null,
  }),
  sbatch: field(
    "sbatch OPTION",
    "slurm: a further option of sbatch, such as --sbatch=--account=x; may be repeated",
    {
      type: v.array(
        v.pipe(v.string(), v.startsWith("-", "an option of sbatch begins with a dash")),
      ),
      default: [],
      repeated: true,
    },
  ),
});

/** Engine that computes the tasks of a study, and what it gives them. */
export interface SubmitOptions extends Values<typeof submitFields> {
  /** Options of every task that choose its device, as they were named. */
  readonly devices: Partial<Values<typeof deviceFields>>;
}

const failedField = field("failed", "those tasks alone that were begun and not finished", {
  type: v.boolean(),
  default: false,
  common: true,
  group: "cluster",
});

/**
 * The values of a table of options that say where tasks are computed.
 *
 * @throws {InputError} naming one that the engine does not know.
 */
export function submitOptionsOf(given: Readonly<Record<string, unknown>>): SubmitOptions {
  const { engine: named, ...own } = pick(given, submitFields);
  const engine = named ?? null;
  for (const name of Object.keys(own) as (keyof typeof own)[]) {
    const of = name === "workers" ? "local" : "slurm";
    if (engine === of) continue;
    const flag = `--${submitFields[name].flag}`;
    throw new InputError(
      engine === null
        ? `${flag} goes with --engine ${of}: name that, too, or leave it out`
        : `${flag} does not go with --engine ${engine}, but with ${of}: leave it out`,
    );
  }
  if (engine !== null && given.resume !== undefined) {
    const study = shellWord(String(given.resume));
    throw new InputError(
      `--engine does not go with --resume: ./run experiments submit ${study} --engine ${engine} goes on`,
    );
  }
  if (engine !== null && given.dryRun) {
    throw new InputError("--engine does not go with --dry-run, which computes here: leave one out");
  }
  return { ...defaultsOf(submitFields), ...own, engine, devices: pick(given, deviceFields) };
}

const { resume: _resume, force, dryRun: _dryRun, ...newStudyFields } = studyFields;

/** Every option of a study that is planned. */
export function planOptions(sweeps: readonly string[]) {
  return {
    ...configFields,
    ...newStudyFields,
    sweep: sweepField(sweeps),
    untimed: field("untimed", "take no steps to estimate the time and memory of a task", {
      type: v.boolean(),
      default: false,
      common: true,
      group: "cluster",
    }),
    ...commonFields,
  };
}

const { data, healthy, weights, patients, cacheMemory, cacheDisk } = configFields;

/** Options of a process that works on a study that was planned. */
export const plannedOptions = { data, healthy, weights, patients, force, ...commonFields };

/** Options of a submission. */
export const submitOptions = {
  ...plannedOptions,
  ...deviceFields,
  ...submitFields,
  failed: failedField,
};

/** Options of a task of a study. */
export const taskOptions = {
  ...plannedOptions,
  cacheMemory,
  cacheDisk,
  checkpointMinutes: rowFields.checkpointMinutes,
  leaseSeconds: rowFields.leaseSeconds,
  ...deviceFields,
};

/** Every option of a single experiment. */
export const experimentOptions = { ...configFields, ...rowFields, ...commonFields };

/** Every option of a study, where sweeps of these names can be chosen. */
export function studyOptions(sweeps: readonly string[] = []) {
  return {
    ...configFields,
    ...studyFields,
    sweep: sweepField(sweeps),
    ...submitFields,
    ...commonFields,
  };
}

function sweepField(sweeps: readonly string[]): Field<string | null> {
  return {
    ...studyFields.sweep,
    type: v.nullable(v.picklist(sweeps)),
    help: `${studyFields.sweep.help}: ${sweeps.join(", ")}`,
  };
}

/** A study as its options describe it. */
export interface Options extends Omit<Values<typeof studyFields>, "preset" | "ranks" | "sweep"> {
  /** Values for every experiment. */
  readonly config: Config;
  /** Ranks of the adapters. */
  readonly ranks: readonly number[];
  /** Values of the config that the command line or its `--config` file names. */
  readonly given: Partial<Config>;
  /** The ranks that they name. */
  readonly givenRanks: readonly number[] | null;
}

/**
 * A study of the options that are given.
 *
 * @param values Values of a sweep or an experiment, which the given ones replace.
 * @throws {InputError} naming options that do not go together.
 */
export function resolveOptions(
  given: Partial<Values<ReturnType<typeof studyOptions>>>,
  values: Overrides = {},
): Options {
  requireFit(given);
  const { preset, ranks, sweep: _, ...others } = {
    ...defaultsOf(studyFields),
    ...pick(given, studyFields),
  };
  const named = pick(given, configFields);
  const chosen = preset ? presets[preset] : defaultPreset;
  const split = named.data == null ? [...SAMPLE_SPLIT] : chosen.config.split;
  const config: Config = { ...overridden({ ...chosen.config, split }, values), ...named };
  if (config.folds !== null && named.split === undefined) config.split = null; // of a sweep
  if (config.init === "pissa" && named.wiseFt === undefined) config.wiseFt = [1];
  if (others.seeds !== null && named.seed !== undefined) {
    throw new InputError("--seed does not go with --seeds, which names every training seed");
  }
  requireSound(config, others);
  return { ...others, config, ranks: ranks ?? chosen.ranks, given: named, givenRanks: ranks };
}

/** Refuses options that do not go together. */
function requireFit(given: Partial<Values<typeof studyFields>>): void {
  const { resume, sweep, force } = given;
  const refuse = (names: readonly (keyof typeof studyFields)[], reason: string) => {
    for (const name of names) {
      if (given[name] === undefined) continue;
      throw new InputError(`--${studyFields[name].flag} does not go with ${reason}`);
    }
  };
  if (resume !== undefined) {
    refuse(["out", "preset", "sample"], "--resume: a study keeps its own");
    if (given.ranks === undefined) refuse(["encoderRanks"], "--resume without --ranks");
    refuse(["dryRun"], "--resume: what is left is told as it goes on");
  } else if (force) throw new InputError("--force goes with --resume: leave it out");
  if (sweep !== undefined) {
    refuse(["ranks", "encoderRanks", "baselines", "resume"], "--sweep: a sweep has its own rows");
  }
}

/** Refuses values that do not go together. */
function requireSound(
  config: Config,
  { seeds, splitSeeds }: {
    readonly seeds: readonly number[] | null;
    readonly splitSeeds: readonly number[];
  },
): void {
  const { init, wiseFt, fold, folds, split } = config;
  if (init === "pissa" && wiseFt.some((share) => share < 1)) {
    throw new InputError(
      "--wise-ft does not go with --init pissa, whose update is not nothing before training",
    );
  }
  if (fold !== null && folds === null) {
    throw new InputError("--fold goes with --folds: say how many folds there are");
  }
  if (folds !== null && splitSeeds.length > 0) {
    throw new InputError("--split-seeds does not go with --folds, which test each patient once");
  }
  const first = config.splitSeed ?? seeds?.[0] ?? config.seed;
  if (splitSeeds.includes(first)) {
    throw new InputError(
      `--split-seeds cannot name ${first}, the seed of the study's own split: name others`,
    );
  }
  if (config.counterfactuals && config.healthyShare === 0) {
    throw new InputError(
      "--counterfactuals is for trainings on tumour-free slices too: give --healthy-share a share",
    );
  }
  if (config.trainOnAll) requireTrainable(config, splitSeeds);
  if (split !== null && folds !== null) {
    throw new InputError("--split does not go with --folds: folds make the parts themselves");
  }
}

/** Refuses what would need patients that were not trained on. */
function requireTrainable(config: Config, splitSeeds: readonly number[]): void {
  const [several] = CHOSEN_FIELDS.filter((name) => config[name].length > 1);
  if (several !== undefined) {
    throw new InputError(
      `--train-on-all leaves no patient to choose on: give one --${configFields[several].flag}`,
    );
  }
  if (config.folds !== null || splitSeeds.length > 0) {
    throw new InputError("--train-on-all does not go with --folds or --split-seeds");
  }
  if (config.keep === "best" || config.earlyStopping) {
    throw new InputError(
      "--train-on-all leaves no patient to stop on: give --no-early-stopping, and --keep last",
    );
  }
}

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
  const reason = issue.received === "undefined" ? "it is missing" : reasonOf(issue);
  throw new InputError(`${source}: ${excerpt(path)} is not valid (${reason})`);
}

/** The seed of everything that must not change from one training seed to the next. */
export function dataSeed({ splitSeed, seed }: Pick<Config, "splitSeed" | "seed">): number {
  return splitSeed ?? seed;
}

/**
 * Options in which a resumed study differs from the one that was begun, each as the end of a sentence.
 * Paths, whose content is compared, and budgets of memory may differ.
 */
export function optionDifferences(begun: Config, now: Config): string[] {
  return (Object.keys(configFields) as (keyof Config)[]).flatMap((name) => {
    const [before, after] = [begun, now].map(({ [name]: value }) =>
      Array.isArray(value) ? value.join() : JSON.stringify(value)
    );
    const { free, flag } = configFields[name] as Fields[string];
    return free || before === after ? [] : [`--${flag} ${after} instead of ${before}`];
  });
}
