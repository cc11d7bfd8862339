/**
 * Schema of a study: every value that an experiment depends on, and every option of its command line,
 * stated once.
 *
 * @module
 */
import { join } from "node:path";
import * as v from "valibot";
import { AUGMENTATIONS, MAXIMUM_BIAS_ORDER, parseAugment } from "../data/augment_options.ts";
import { parsePromptMix, PROMPT_CHOICES, PROMPT_KINDS } from "../data/prompts.ts";
import { PEFT_TYPES } from "../adapters/methods.ts";
import { excerpt, InputError } from "../errors.ts";
import { MODEL_NAMES, SAM_SIDES } from "../sam/models.ts";
import { FIT_DEFAULTS } from "../train/plan.ts";
import {
  commonFields,
  defaultsOf,
  type Field,
  field,
  type Fields,
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

/** Values that an experiment depends on beside the code; a run's `config.json` holds them all. */
export const configFields = {
  data: field({
    type: v.nullable(v.string()),
    default: null,
    flag: "data",
    argument: "DIR",
    help: "data set in BraTS or nnU-Net layout (default: the embedded sample)",
    group: "data",
    common: true,
    free: true, // slices are compared by content
    rights: reads,
  }),
  modality: field({
    type: v.string(),
    default: "t1c",
    flag: "modality",
    argument: "NAME",
    help: "t1c, t1n, t2f or t2w",
    group: "data",
  }),
  target: field({
    type: v.picklist(["auto", "wt", "tc", "et"]),
    default: "auto",
    flag: "target",
    argument: "NAME",
    help: "labels that count as tumour: auto (any), wt, tc or et",
    group: "data",
  }),
  axis: field({
    type: v.picklist([0, 1, 2]),
    default: 2,
    flag: "axis",
    argument: "N",
    help: "slice along this voxel axis: 0, 1 or 2",
    group: "data",
  }),
  minTumourVoxels: field({
    type: positiveInteger,
    default: 20,
    flag: "min-tumour",
    argument: "N",
    help: "leave out slices with fewer tumour pixels",
    group: "data",
  }),
  maxSlicesPerCase: field({
    type: v.nullable(positiveInteger),
    default: null,
    flag: "max-slices",
    argument: "N",
    help: "at most so many slices a case",
    group: "data",
  }),
  crop: field({
    type: v.nullable(positiveInteger),
    default: null,
    flag: "crop",
    argument: "N",
    help: "centre crop of N x N pixels",
    group: "data",
  }),
  rescale: field({
    type: v.picklist(["percentile", "zscore", "minmax"]),
    default: "percentile",
    flag: "rescale",
    argument: "NAME",
    help: "rule that maps intensities to 0..255: percentile, zscore or minmax",
    group: "data",
  }),
  model: field({
    type: v.picklist(MODEL_NAMES),
    default: "mobile_sam",
    flag: "model",
    argument: "NAME",
    help: MODEL_NAMES.join(", "),
    group: "model",
    common: true,
    added: true,
  }),
  weights: field({
    type: v.nullable(v.string()),
    default: null,
    flag: "weights",
    argument: "FILE",
    help: "pretrained weights (default: MobileSAM's own)",
    group: "model",
    common: true,
    added: true,
    free: true, // compared by hash
    rights: reads,
  }),
  side: field({
    type: v.pipe(
      v.number(),
      v.integer(),
      v.minValue(SAM_SIDES.least),
      v.maxValue(SAM_SIDES.most),
      v.multipleOf(SAM_SIDES.multiple, `give a multiple of ${SAM_SIDES.multiple}`),
    ),
    default: 256,
    flag: "side",
    argument: "N",
    help: `side of the model's input, a multiple of ${SAM_SIDES.multiple} up to ${SAM_SIDES.most}`,
    group: "model",
    common: true,
  }),
  seed: field({
    type: index,
    default: FIT_DEFAULTS.seed,
    flag: "seed",
    argument: "N",
    help: "seed of split, adapters, order, augmentation and prompts",
    group: "training",
  }),
  splitSeed: field({
    type: v.nullable(index),
    default: null,
    flag: "split-seed",
    argument: "N",
    help: "seed of split and scored prompts in place of --seed, so that seeds can be compared",
    group: "data",
    added: true,
  }),
  split: field({
    type: v.nullable(v.pipe(
      v.array(positive),
      v.length(3, "give three shares of the patients"),
      v.check(
        (shares) => Math.abs(shares.reduce((a, b) => a + b, 0) - 1) < 1e-6,
        "the shares must sum to 1",
      ),
    )),
    default: null,
    flag: "split",
    argument: "A,B,C",
    help: "shares of patients to train, validate and test on (default 0.7,0.1,0.2)",
    group: "data",
    added: true,
  }),
  folds: field({
    type: v.nullable(v.pipe(v.number(), v.integer(), v.minValue(2))),
    default: null,
    flag: "folds",
    argument: "N",
    help: "cross-validation by patient in so many folds",
    group: "data",
    common: true,
    added: true,
  }),
  fold: field({
    type: v.nullable(positiveInteger),
    default: null,
    flag: "fold",
    argument: "N",
    help: "with --folds: this fold alone, counted from 1",
    group: "data",
    added: true,
  }),
  epochs: field({
    type: positiveInteger,
    default: 3,
    flag: "epochs",
    argument: "N",
    help: "passes over the training slices",
    group: "training",
    common: true,
  }),
  batchSize: field({
    type: positiveInteger,
    default: FIT_DEFAULTS.batchSize,
    flag: "batch-size",
    argument: "N",
    help: "slices at a time",
    group: "training",
  }),
  gradientAccumulationSteps: field({
    type: positiveInteger,
    default: FIT_DEFAULTS.gradientAccumulationSteps,
    flag: "gradient-accumulation-steps",
    argument: "N",
    help: "batches whose gradients a step takes together",
    group: "training",
    added: true,
  }),
  checkpointActivations: field({
    type: v.boolean(),
    default: false,
    flag: "checkpoint-activations",
    help: "compute blocks again in backward: less memory",
    group: "running",
    added: true,
  }),
  storage: field({
    type: v.picklist(["f32", "f16"]),
    default: "f32",
    flag: "storage",
    argument: "NAME",
    help: "f32, or f16 to store activations in half the memory; both compute in f32",
    group: "running",
    added: true,
  }),
  cacheMemory: field({
    type: notNegative,
    default: 1024,
    flag: "cache-memory",
    argument: "MIB",
    help: "device memory for activations before the first trainable weight",
    group: "running",
    added: true,
    free: true,
  }),
  cacheDisk: field({
    type: notNegative,
    default: 4096,
    flag: "cache-disk",
    argument: "MIB",
    help: "disk for what that memory has no room for",
    group: "running",
    added: true,
    free: true,
  }),
  learningRate: field({
    type: positive,
    default: FIT_DEFAULTS.learningRate,
    flag: "lr",
    argument: "X",
    help: "highest learning rate",
    group: "training",
  }),
  pretrainedLearningRate: field({
    type: v.nullable(positive),
    default: FIT_DEFAULTS.pretrainedLearningRate,
    flag: "pretrained-lr",
    argument: "X",
    help: "that of pretrained weights, where they are trained (default: --lr)",
    group: "training",
    added: true,
  }),
  warmupSteps: field({
    type: index,
    default: FIT_DEFAULTS.warmupSteps,
    flag: "warmup",
    argument: "N",
    help: "steps of linear warm-up",
    group: "training",
  }),
  schedule: field({
    type: v.picklist(["cosine", "constant"]),
    default: FIT_DEFAULTS.schedule,
    flag: "schedule",
    argument: "NAME",
    help: "learning rate after the warm-up: cosine or constant",
    group: "training",
  }),
  optimizer: field({
    type: v.picklist(["adam", "adamw"]),
    default: FIT_DEFAULTS.optimizer,
    flag: "optimizer",
    argument: "NAME",
    help: "adam or adamw",
    group: "training",
  }),
  weightDecay: field({
    type: notNegative,
    default: FIT_DEFAULTS.weightDecay,
    flag: "weight-decay",
    argument: "X",
    help: "weight decay",
    group: "training",
  }),
  maxGradNorm: field({
    type: positive,
    default: FIT_DEFAULTS.maxGradNorm,
    flag: "max-grad-norm",
    argument: "X",
    help: "clip gradients to this norm",
    group: "training",
  }),
  prompt: field({
    type: v.union([
      v.picklist(PROMPT_CHOICES),
      v.record(promptKind, v.pipe(v.number(), v.gtValue(0), v.maxValue(1))),
    ]),
    default: FIT_DEFAULTS.prompt,
    flag: "prompt",
    alias: "prompt-mix",
    argument: "NAME|A=P,B=P",
    help: `trained with: ${PROMPT_CHOICES.join(", ")}, or a mixture by chance`,
    group: "prompts",
    parse: (text) => text.includes("=") ? parsePromptMix(text) : text,
  }),
  promptsPerStep: field({
    type: positiveInteger,
    default: FIT_DEFAULTS.promptsPerStep,
    flag: "prompts-per-step",
    argument: "N",
    help: "prompts that a batch is decoded under in a step",
    group: "prompts",
    added: true,
  }),
  promptIterations: field({
    type: positiveInteger,
    default: FIT_DEFAULTS.promptIterations,
    flag: "prompt-iterations",
    argument: "N",
    help: "masks a step, each after the first with a click where the last is wrong",
    group: "prompts",
    added: true,
  }),
  validationPrompt: field({
    type: promptKind,
    default: FIT_DEFAULTS.validationPrompt,
    flag: "validation-prompt",
    argument: "NAME",
    help: "prompt whose validation Dice decides the best epoch",
    group: "prompts",
  }),
  patience: field({
    type: positiveInteger,
    default: FIT_DEFAULTS.patience,
    flag: "patience",
    argument: "N",
    help: "epochs without improvement before stopping",
    group: "training",
  }),
  earlyStopping: field({
    type: v.boolean(),
    default: FIT_DEFAULTS.earlyStopping,
    flag: "no-early-stopping",
    help: "train all epochs, only mark where it would stop",
    group: "training",
    added: true,
  }),
  keep: field({
    type: v.picklist(["best", "last"]),
    default: FIT_DEFAULTS.keep,
    flag: "keep",
    argument: "NAME",
    help: "score the weights of the best epoch or the last",
    group: "training",
    added: true,
  }),
  ema: field({
    type: v.pipe(v.number(), v.minValue(0), v.ltValue(1)),
    default: FIT_DEFAULTS.ema,
    flag: "ema",
    argument: "X",
    help: "decay of a moving average of the weights, used in their place; 0 for none",
    group: "training",
    added: true,
  }),
  flip: field({
    type: chance,
    default: FIT_DEFAULTS.flip,
    flag: "flip",
    argument: "P",
    help: "chance of a left-right flip",
    group: "training",
  }),
  augment: field({
    type: augmentSchema,
    default: {},
    flag: "augment",
    argument: "A,B=X@P",
    help: `flip, ${AUGMENTATIONS.join(", ")}, all or none: =strength, @chance`,
    group: "training",
    added: true,
    parse: (text) => parseAugment(text).augment,
    sets: (text) => ({ flip: parseAugment(text).flip }), // the list decides flips too
  }),
  augmentVariants: field({
    type: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(100)),
    default: FIT_DEFAULTS.augmentVariants,
    flag: "augment-variants",
    argument: "K",
    help: "fixed variants of each slice, to be cached; 0 to augment anew each time",
    group: "training",
    added: true,
  }),
  peftType: field({
    type: v.picklist(PEFT_TYPES),
    default: "lora",
    flag: "peft-type",
    argument: "NAME",
    help: `method of the adapters: ${PEFT_TYPES.join(", ")}`,
    group: "adapters",
    added: true,
  }),
  alpha: field({
    type: positive,
    default: 16,
    flag: "alpha",
    argument: "X",
    help: "the adapters' alpha; updates are scaled by alpha / rank",
    group: "adapters",
  }),
  dropout: field({
    type: v.pipe(v.number(), v.minValue(0), v.ltValue(1)),
    default: 0,
    flag: "dropout",
    argument: "P",
    help: "dropout of the adapters: of LoRA's input, of rows of LoHa's update",
    group: "adapters",
  }),
  targets: field({
    type: names,
    default: ["attn.qkv"],
    flag: "targets",
    argument: "A,B",
    help: "Linears that get adapters, by the end of their path",
    group: "adapters",
  }),
  blocks: field({
    type: v.nullable(v.pipe(v.array(index), v.minLength(1))),
    default: null,
    flag: "blocks",
    argument: "A,B",
    help: "blocks that get adapters, counted from 0 (default: all)",
    group: "adapters",
  }),
  qkvParts: field({
    type: v.nullable(v.pipe(v.array(v.picklist(["q", "k", "v"])), v.minLength(1))),
    default: null,
    flag: "qkv-parts",
    argument: "q,v",
    help: "adapt only these of queries, keys and values",
    group: "adapters",
    added: true,
  }),
  variants: field({
    type: v.array(v.picklist(["rslora", "dora"])),
    default: [],
    flag: "variants",
    argument: "A,B",
    help: "rslora (scale by alpha / sqrt rank), dora (magnitudes)",
    group: "adapters",
    added: true,
  }),
  init: field({
    type: v.picklist(["default", "gaussian", "pissa"]),
    default: "default",
    flag: "init",
    argument: "NAME",
    help: "start of the adapters: default, gaussian or pissa",
    group: "adapters",
    added: true,
  }),
  modulesToSave: field({
    type: v.nullable(names),
    default: null,
    flag: "save-modules",
    argument: "A,B",
    help: "modules trained whole beside the adapters, such as mask_decoder",
    group: "adapters",
    added: true,
  }),
  maxTrain: field({
    type: v.nullable(positiveInteger),
    default: null,
    flag: "max-train",
    argument: "N",
    help: "at most so many training slices",
    group: "data",
  }),
  maxValidation: field({
    type: v.nullable(positiveInteger),
    default: null,
    flag: "max-validation",
    argument: "N",
    help: "at most so many validation slices",
    group: "data",
  }),
  maxTest: field({
    type: v.nullable(positiveInteger),
    default: null,
    flag: "max-test",
    argument: "N",
    help: "at most so many test slices",
    group: "data",
  }),
};

/** Values of an experiment that are not its name or kind. */
export type Config = Values<typeof configFields>;

/** Values of an experiment that are not the study's. */
export type Overrides = Readonly<Partial<Config>>;

/** Checks of the fields by name, for schemas that hold a config. */
type ConfigEntries = { [K in keyof Config]: v.GenericSchema<unknown, Config[K]> };

/** Check of a config from a file; values that records lack because they are older have their defaults. */
export const configSchema: v.StrictObjectSchema<ConfigEntries, undefined> = v.strictObject(
  Object.fromEntries(
    Object.entries(configFields as Fields).map(([name, { type, default: value, added }]) => [
      name,
      added ? v.optional(type, value) : type,
    ]),
  ) as ConfigEntries,
);

const defaults: Config = defaultsOf(configFields);

/** Named sets of values, and the ranks that go with them. */
export const presets: Readonly<
  Record<
    "quick" | "full" | "study",
    { readonly config: Config; readonly ranks: readonly number[] }
  >
> = {
  /** Minutes on two CPU cores: enough to see every part work and the order of the rows. */
  quick: {
    config: { ...defaults, maxTrain: 96, maxValidation: 24, maxTest: 48 },
    ranks: [16, 32, 64],
  },
  /** Everything of a data set in few epochs: the values that the options start from with --data. */
  full: { config: defaults, ranks: [16, 32, 64] },
  /** The study's: 50 epochs, Adam, all ranks, SAM's own input side; for a GPU. */
  study: {
    config: { ...defaults, side: 1024, epochs: 50, optimizer: "adam", patience: 50 },
    ranks: [16, 32, 64, 128, 256],
  },
};

/** Names of the rows that others are compared with. */
export const BASELINES = ["vanilla", "peft", "full"] as const;

/** Implementations of WebGPU: Deno's own, and Dawn from npm. */
export const WEBGPU_NAMES = ["deno", "dawn"] as const;

/** npm's build of Dawn, Chromium's WebGPU. Not a dependency: it is fetched when it is asked for. */
export const DAWN = "npm:webgpu@0.6.2";

/** Option that chooses the implementation of WebGPU. */
export const webgpuField = field({
  type: v.picklist(WEBGPU_NAMES),
  default: "deno",
  flag: "webgpu",
  argument: "NAME",
  help: "deno, or dawn: Chromium's, from npm",
  group: "running",
  rights: (name) => name === "dawn" ? { packages: [DAWN] } : {},
});

/** Folder for new results. */
export const outFolderField = field({
  type: v.nullable(v.string()),
  default: null,
  flag: "out",
  argument: "DIR",
  help: "folder for the results (default: a new one under results/)",
  group: "running",
  common: true,
  rights: writes,
});

/** Options of a study whose rows are given. */
const rowFields = {
  preset: field({
    type: v.nullable(v.picklist(["quick", "full", "study"])),
    default: null,
    flag: "preset",
    argument: "NAME",
    help: "values to start from: quick (without --data), full (with --data) or study",
    group: "running",
    common: true,
  }),
  wiseFt: field({
    type: distinct(v.pipe(v.number(), v.gtValue(0), v.ltValue(1)), "share"),
    default: [],
    flag: "wise-ft",
    argument: "A,B",
    help:
      "score trained rows also with these shares of their weights, the rest pretrained (such as 0.75)",
    group: "scoring",
  }),
  seeds: field({
    type: v.nullable(distinct(index, "seed")),
    default: null,
    flag: "seeds",
    argument: "A,B",
    help: "train with each of these seeds, on the split of the first",
    group: "training",
  }),
  out: outFolderField,
  checkpointMinutes: field({
    type: v.nullable(notNegative),
    default: null,
    flag: "checkpoint-minutes",
    argument: "N",
    help: "minutes between checkpoints within an epoch (default 5)",
    group: "running",
  }),
  sample: field({
    type: v.nullable(v.string()),
    default: null,
    flag: "sample",
    argument: "ID",
    help: "case or slice whose masks are drawn",
    group: "scoring",
  }),
  webgpu: webgpuField,
};

/** Options of a study that choose its rows, or a study that was begun. */
const studyFields = {
  ...rowFields,
  ranks: field({
    type: v.nullable(distinct(positiveInteger, "rank")),
    default: null,
    flag: "ranks",
    argument: "A,B",
    help: "ranks of the adapters (default 16,32,64)",
    group: "adapters",
    common: true,
  }),
  baselines: field({
    type: distinct(v.picklist(BASELINES), "row"),
    default: ["vanilla", "peft"],
    flag: "baselines",
    argument: "A,B",
    help: "rows that they are compared with: vanilla, peft, full",
    group: "adapters",
  }),
  sweep: field({
    type: v.nullable(v.string()),
    default: null,
    flag: "sweep",
    argument: "NAME",
    help: "a sweep in place of these rows",
    group: "adapters",
  }),
  resume: field({
    type: v.nullable(v.string()),
    default: null,
    flag: "resume",
    argument: "DIR",
    help: "go on with the study in this folder, with its own options",
    group: "running",
    common: true,
    rights: resumes,
  }),
  force: field({
    type: v.boolean(),
    default: false,
    flag: "force",
    help: "go on although code, weights, data or options are not those it began with",
    group: "running",
  }),
};

/** Rights to go on with a study: its folder, and what its record says that it was begun with. */
function resumes(path: string): Rights {
  try {
    const { config } = JSON.parse(Deno.readTextFileSync(join(path, "resume.json")));
    const begun = (["data", "weights"] as const).map((name) => config[name]);
    return { write: [path], read: begun.filter((value) => typeof value === "string") };
  } catch {
    return writes(path); // the study itself says why it cannot go on
  }
}

/** Every option of a single experiment. */
export const experimentOptions = { ...configFields, ...rowFields, ...commonFields };

/** Every option of a study, where sweeps of these names can be chosen. */
export function studyOptions(sweeps: readonly string[] = []) {
  const sweep: Field<string | null> = {
    ...studyFields.sweep,
    type: v.nullable(v.picklist(sweeps)),
    help: `${studyFields.sweep.help}: ${sweeps.join(", ")}`,
  };
  return { ...configFields, ...studyFields, sweep, ...commonFields };
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
  const chosen = presets[preset ?? (named.data === undefined ? "quick" : "full")];
  const config: Config = { ...chosen.config, ...values, ...named };
  if (config.folds !== null && named.split === undefined) config.split = null; // of a sweep
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
    refuse(["out", "preset", "sample", "wiseFt"], "--resume: a study keeps its own");
  } else if (force) throw new InputError("--force goes with --resume: leave it out");
  if (sweep !== undefined) {
    refuse(["ranks", "baselines", "resume"], "--sweep: a sweep has its own rows");
  }
}

/** Refuses values that do not go together. */
function requireSound(
  { init, fold, folds, split }: Config,
  { wiseFt }: { readonly wiseFt: readonly number[] },
): void {
  if (wiseFt.length > 0 && init === "pissa") {
    throw new InputError(
      "--wise-ft does not go with --init pissa, whose update is not nothing before training",
    );
  }
  if (fold !== null && folds === null) {
    throw new InputError("--fold goes with --folds: say how many folds there are");
  }
  if (split !== null && folds !== null) {
    throw new InputError("--split does not go with --folds: folds make the parts themselves");
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
    const [before, after] = [begun, now].map((config) => JSON.stringify(config[name]));
    const { free, flag } = configFields[name] as Fields[string];
    return free || before === after ? [] : [`--${flag} ${after} instead of ${before}`];
  });
}
