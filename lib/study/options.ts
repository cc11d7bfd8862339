import { parseArgs } from "@std/cli/parse-args";
import { basename } from "node:path";
import { AUGMENTATIONS, parseAugment } from "../data/augment_options.ts";
import { parsePromptMix, PROMPT_CHOICES } from "../data/prompts.ts";
import { InputError } from "../errors.ts";
import { type Config, parseConfig, presets } from "./config.ts";
import { type Baseline, baselines } from "./experiment.ts";
import { sweepOf, sweeps } from "../../experiments/sweeps/mod.ts";
import type { Sweep } from "./sweep.ts";
import { readWebgpuName, type WebgpuName } from "./webgpu.ts";

/** What the command line asks for. */
export interface Options {
  /** Values for every experiment. */
  readonly config: Config;
  /** Ranks of the LoRA experiments. */
  readonly ranks: readonly number[];
  /** What the LoRA experiments are compared with. */
  readonly baselines: readonly Baseline[];
  /** The sweep that is run in place of baselines and ranks; null for none. */
  readonly sweep: Sweep | null;
  /** Shares of the trained weights at which WiSE-FT scores each trained row once more. */
  readonly wiseFt: readonly number[];
  /** Folder for results; null for a new one under results/. */
  readonly out: string | null;
  /** Seeds to train with, one after the other; null for the config's alone. */
  readonly seeds: readonly number[] | null;
  /** Slice or case whose masks are drawn; null for the one nearest to the median. */
  readonly sample: string | null;
  /** The WebGPU implementation. */
  readonly webgpu: WebgpuName;
  /** Folder of a study to go on with; null to begin one. */
  readonly resume: string | null;
  /** Whether to go on although something differs from what the study was begun with. */
  readonly force: boolean;
  /** Minutes between checkpoints within an epoch. */
  readonly checkpointMinutes: number | null;
  /** Values of the config that the command line names. */
  readonly given: Partial<Config>;
  /** The ranks that the command line names. */
  readonly givenRanks: readonly number[] | null;
  /** Arguments that are not options. */
  readonly positional: readonly string[];
  /** Whether `--help` was given. */
  readonly help: boolean;
}

type Parse = (text: string, option: string) => unknown;

const text: Parse = (value) => value;

const number: Parse = (value, option) => {
  const parsed = Number(value);
  if (value.trim() === "" || !Number.isFinite(parsed)) {
    throw new InputError(`--${option} takes a number, not "${value}"`);
  }
  return parsed;
};

const numbers: Parse = (value, option) => value.split(",").map((item) => number(item, option));

/** An option that takes no value. */
const flag: Parse = () => true;

/** An option that takes no value and turns something off. */
const off: Parse = () => false;

const texts: Parse = (value) => value.split(",").map((item) => item.trim());

/** Options that set a value of the config: [name, field, parser, argument, what it means]. */
const configOptions: readonly (readonly [string, keyof Config, Parse, string, string])[] = [
  ["data", "data", text, "DIR", "data set in BraTS layout (default: the embedded sample)"],
  ["modality", "modality", text, "NAME", "t1c, t1n, t2f or t2w"],
  ["target", "target", text, "NAME", "auto (any label), wt, tc or et"],
  ["axis", "axis", number, "N", "slice along this voxel axis: 0, 1 or 2"],
  ["min-tumour", "minTumourVoxels", number, "N", "leave out slices with fewer tumour pixels"],
  ["max-slices", "maxSlicesPerCase", number, "N", "at most so many slices a case"],
  ["crop", "crop", number, "N", "centre crop of N x N pixels"],
  ["rescale", "rescale", text, "NAME", "percentile, zscore or minmax"],
  ["model", "model", text, "NAME", "mobile_sam, vit_b, vit_l or vit_h"],
  ["weights", "weights", text, "FILE", "the model's weights (default: MobileSAM's own)"],
  ["side", "side", number, "N", "side of the model's input, a multiple of 64 up to 1024"],
  ["epochs", "epochs", number, "N", "passes over the training slices"],
  ["batch-size", "batchSize", number, "N", "slices at a time"],
  [
    "gradient-accumulation-steps",
    "gradientAccumulationSteps",
    number,
    "N",
    "batches whose gradients a step takes together",
  ],
  [
    "checkpoint-activations",
    "checkpointActivations",
    flag,
    "",
    "compute blocks again in backward: less memory",
  ],
  ["storage", "storage", text, "NAME", "f32, or f16 to store activations in half the memory"],
  ["cache-memory", "cacheMemory", number, "MIB", "device memory for frozen activations"],
  ["cache-disk", "cacheDisk", number, "MIB", "disk for what that memory has no room for"],
  ["lr", "learningRate", number, "X", "highest learning rate"],
  [
    "pretrained-lr",
    "pretrainedLearningRate",
    number,
    "X",
    "that of pretrained weights, where they are trained (default: --lr)",
  ],
  ["warmup", "warmupSteps", number, "N", "steps of linear warm-up"],
  ["schedule", "schedule", text, "NAME", "cosine or constant"],
  ["optimizer", "optimizer", text, "NAME", "adam or adamw"],
  ["weight-decay", "weightDecay", number, "X", "weight decay"],
  ["max-grad-norm", "maxGradNorm", number, "X", "clip gradients to this norm"],
  ["prompt", "prompt", text, "NAME", `trained with: ${PROMPT_CHOICES.join(", ")}`],
  ["prompt-mix", "prompt", parsePromptMix, "A=P,B=P", "trained with: chances of kinds of prompt"],
  ["prompts-per-step", "promptsPerStep", number, "N", "prompts a batch is decoded under in a step"],
  ["prompt-iterations", "promptIterations", number, "N", "masks a step, clicks where one is wrong"],
  ["validation-prompt", "validationPrompt", text, "NAME", "prompt that decides the best epoch"],
  ["patience", "patience", number, "N", "epochs without improvement before stopping"],
  [
    "no-early-stopping",
    "earlyStopping",
    off,
    "",
    "train all epochs, only mark where it would stop",
  ],
  ["keep", "keep", text, "NAME", "score the weights of the best epoch (the default) or the last"],
  ["ema", "ema", number, "X", "decay of a moving average of the weights, used in their place"],
  ["flip", "flip", number, "P", "chance of a left-right flip"],
  [
    "augment",
    "augment",
    (text) => parseAugment(text).augment,
    "A,B=X@P",
    `flip, ${AUGMENTATIONS.join(", ")}, all or none: =strength, @chance`,
  ],
  ["augment-variants", "augmentVariants", number, "K", "fixed variants a slice, to be cached"],
  ["alpha", "alpha", number, "X", "LoRA's alpha; the update is scaled by alpha / rank"],
  ["dropout", "dropout", number, "P", "dropout on the adapters' input"],
  ["targets", "targets", texts, "A,B", "Linears that get adapters, by the end of their path"],
  ["blocks", "blocks", numbers, "A,B", "blocks that get adapters, counted from 0"],
  ["qkv-parts", "qkvParts", texts, "q,v", "adapt only these of queries, keys and values"],
  ["variants", "variants", texts, "A,B", "rslora (scale by alpha / sqrt rank), dora (magnitudes)"],
  ["init", "init", text, "NAME", "start of the adapters: default, gaussian or pissa"],
  ["save-modules", "modulesToSave", texts, "A,B", "modules trained whole, such as mask_decoder"],
  ["max-train", "maxTrain", number, "N", "at most so many training slices"],
  ["max-validation", "maxValidation", number, "N", "at most so many validation slices"],
  ["max-test", "maxTest", number, "N", "at most so many test slices"],
  ["seed", "seed", number, "N", "seed of split, adapters, order and prompts"],
  ["split-seed", "splitSeed", number, "N", "seed of split and scored prompts, if it is another"],
  ["split", "split", numbers, "A,B,C", "shares of patients to train, validate and test on"],
  ["folds", "folds", number, "N", "cross-validation by patient in so many folds"],
  ["fold", "fold", number, "N", "with --folds: this fold alone, counted from 1"],
];

const otherOptions = [
  ["preset", "NAME", "quick (the default without --data), full (with --data) or study"],
  ["ranks", "A,B", "ranks of the LoRA experiments"],
  ["baselines", "A,B", "what they are compared with: vanilla, peft, full (default: vanilla,peft)"],
  ["sweep", "NAME", `in place of these rows a sweep: ${Object.keys(sweeps).join(", ")}`],
  [
    "wise-ft",
    "A,B",
    "score trained rows also with these shares of their weights, the rest pretrained (such as 0.75)",
  ],
  ["seeds", "A,B", "train with each of these seeds, on the split of the first"],
  ["out", "DIR", "folder for the results (default: a new one under results/)"],
  ["resume", "DIR", "go on with the study in this folder, with its own options"],
  ["force", "", "go on although code, weights, data or options are not those it began with"],
  ["checkpoint-minutes", "N", "minutes between checkpoints within an epoch (default 5)"],
  ["sample", "ID", "case or slice whose masks are drawn"],
  ["webgpu", "NAME", "deno (the default) or dawn: Chromium's, from npm; needs --allow-ffi"],
  ["help", "", "print this"],
] as const;

/** The option that sets a value of the config. */
export function optionOf(field: string): string {
  return `--${configOptions.find(([, name]) => name === field)?.[0] ?? field}`;
}

/** The text of `--help`. */
export function helpText(usage: string): string {
  const rows = [
    ...otherOptions.map(([name, argument, what]) => [`--${name} ${argument}`, what]),
    ...configOptions.map(([name, , , argument, what]) => [`--${name} ${argument}`, what]),
  ];
  const width = Math.max(...rows.map(([option]) => option.length));
  const lines = rows.map(([option, what]) => `  ${option.padEnd(width)}  ${what}`);
  return `usage: ${usage}\n\n${lines.join("\n")}\n`;
}

/**
 * Reads the command line of an experiment.
 *
 * @throws {InputError} naming an option that is unknown or a value that is not possible.
 */
export function parseOptions(args: readonly string[]): Options {
  const known = [...otherOptions.map(([name]) => name), ...configOptions.map(([name]) => name)];
  const isFlag = (parse: Parse) => parse === flag || parse === off;
  const flags = configOptions.filter(([, , parse]) => isFlag(parse)).map(([name]) => name);
  const boolean = ["help", "force", ...flags];
  const parsed = parseArgs([...args], {
    string: known.filter((name) => !boolean.includes(name)),
    boolean,
    unknown: (argument, key) => {
      if (key === undefined) return true;
      throw new InputError(`there is no option ${argument.split("=")[0]}: --help lists them`);
    },
  }) as Record<string, unknown>;
  const value = (name: string) => {
    const given = parsed[name];
    if (given === "") throw new InputError(`--${name} needs a value: --help lists the options`);
    return given as string | undefined;
  };

  const presetName = value("preset") ?? (value("data") === undefined ? "quick" : "full");
  const preset = Object.hasOwn(presets, presetName) ? presets[presetName] : undefined;
  if (!preset) {
    throw new InputError(
      `there is no preset "${presetName}": choose ${Object.keys(presets).join(", ")}`,
    );
  }
  for (const name of ["out", "preset", "sample", "wise-ft"]) {
    if (value("resume") !== undefined && value(name) !== undefined) {
      throw new InputError(`--${name} does not go with --resume: a study keeps its own`);
    }
  }
  if (parsed.force && value("resume") === undefined) {
    throw new InputError("--force goes with --resume: leave it out");
  }
  const minutes = value("checkpoint-minutes");
  const checkpointMinutes = minutes === undefined
    ? null
    : number(minutes, "checkpoint-minutes") as number;
  if (checkpointMinutes !== null && checkpointMinutes < 0) {
    throw new InputError(`--checkpoint-minutes cannot be ${minutes}: give a number from 0 on`);
  }
  const sweep = value("sweep") === undefined ? null : sweepOf(value("sweep")!);
  for (const name of ["ranks", "baselines", "resume"]) {
    if (sweep && value(name) !== undefined) {
      throw new InputError(`--${name} does not go with --sweep: a sweep has its own rows`);
    }
  }
  const config: Record<string, unknown> = { ...preset.config, ...sweep?.values };
  const fields: (keyof Config)[] = [];
  for (const [name, field, parse] of configOptions) {
    const given = value(name);
    if (given === undefined || (isFlag(parse) && !parsed[name])) continue;
    config[field] = parse(given, name);
    fields.push(field);
    try {
      parseConfig(config, "");
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      const reason = /\((.*)\)/.exec(error.message)?.[1] ?? "";
      throw new InputError(`--${name} cannot be ${given} (${reason})`);
    }
  }
  const augment = value("augment");
  if (augment !== undefined) { // the list decides flips too
    if (value("flip") !== undefined) {
      throw new InputError("--flip does not go with --augment: name flip@CHANCE among the others");
    }
    config.flip = parseAugment(augment).flip;
    fields.push("flip");
  }
  const ranks = value("ranks") === undefined
    ? preset.ranks
    : numbers(value("ranks")!, "ranks") as number[];
  for (const rank of ranks) {
    if (!Number.isInteger(rank) || rank < 1) {
      throw new InputError(`--ranks cannot hold ${rank}: a rank is a whole number from 1 on`);
    }
  }
  if (new Set(ranks).size < ranks.length) {
    throw new InputError(`--ranks ${ranks.join(",")} names a rank twice: name each once`);
  }
  const compared = (value("baselines") ?? "vanilla,peft").split(",") as Baseline[];
  const strange = compared.find((name, i) =>
    !Object.hasOwn(baselines, name) || compared.indexOf(name) < i
  );
  if (strange !== undefined) {
    throw new InputError(
      `--baselines cannot hold ${strange}: choose among ${
        Object.keys(baselines).join(", ")
      }, each once`,
    );
  }
  const wiseFt = value("wise-ft") === undefined
    ? []
    : numbers(value("wise-ft")!, "wise-ft") as number[];
  if (!wiseFt.every((alpha, i) => alpha > 0 && alpha < 1 && wiseFt.indexOf(alpha) === i)) {
    throw new InputError(
      `--wise-ft cannot be ${value("wise-ft")}: give shares between 0 and 1, each once`,
    );
  }
  if (wiseFt.length > 0 && config.init === "pissa") {
    throw new InputError(
      "--wise-ft does not go with --init pissa, whose update is not nothing before training",
    );
  }
  const seeds = value("seeds") === undefined ? null : numbers(value("seeds")!, "seeds") as number[];
  const isSeed = (seed: number) => Number.isInteger(seed) && seed >= 0;
  if (seeds && !(seeds.every(isSeed) && new Set(seeds).size === seeds.length)) {
    throw new InputError(`--seeds cannot be ${value("seeds")}: give whole numbers, each once`);
  }
  if (config.fold !== null && config.folds === null) {
    throw new InputError("--fold goes with --folds: say how many folds there are");
  }
  if (config.folds !== null && !fields.includes("split")) config.split = null;
  if (config.split !== null && config.folds !== null) {
    throw new InputError("--split does not go with --folds: folds make the parts themselves");
  }
  const sound = parseConfig(config, "the command line");
  return {
    config: sound,
    ranks,
    baselines: compared,
    sweep,
    wiseFt,
    seeds,
    resume: value("resume") ?? null,
    force: parsed.force as boolean,
    checkpointMinutes,
    given: Object.fromEntries(fields.map((field) => [field, sound[field]])),
    givenRanks: value("ranks") === undefined ? null : ranks,
    out: value("out") ?? null,
    sample: value("sample") ?? null,
    webgpu: readWebgpuName(value("webgpu") ?? "deno"),
    positional: (parsed._ as unknown[]).map(String),
    help: parsed.help as boolean,
  };
}

/** What `evaluate` is asked for. */
export interface EvaluateOptions {
  /** Folder of a run, an adapter, or `vanilla`. */
  readonly subject: string | null;
  /** Folder of the data set. */
  readonly data: string | null;
  /** What the options say for themselves: values that replace those a run was trained with. */
  readonly overrides: Partial<Config>;
  /** At most so many slices; null for all. */
  readonly maxTest: number | null;
  /** Whether slices without tumour are scored too. */
  readonly wholeVolumes: boolean;
  /** File for the scores; null for one in the run's folder. */
  readonly out: string | null;
  /** The WebGPU implementation. */
  readonly webgpu: WebgpuName;
  readonly help: boolean;
}

/**
 * Reads the command line of `evaluate`: what is scored and the options that say on which slices.
 *
 * @throws {InputError} naming an option that is unknown or a value that is not possible.
 */
export function parseEvaluateOptions(given: readonly string[]): EvaluateOptions {
  const allowed = ["data", "modality", "target", "axis", "min-tumour", "max-slices", "crop"];
  const sizes = ["rescale", "model", "weights", "side", "batch-size", "max-test", "seed"];
  for (const argument of given) {
    const name = /^--([^=]+)/.exec(argument)?.[1];
    if (name && ![...allowed, ...sizes, "whole-volumes", "out", "webgpu", "help"].includes(name)) {
      throw new InputError(
        `evaluate has no option --${name}: it takes a run or adapter, --data and --out`,
      );
    }
  }
  const args = given.filter((argument) => argument !== "--whole-volumes");
  const { config, positional, out, webgpu, help } = parseOptions(args);
  const named = configOptions.filter(([name]) =>
    args.some((argument) => argument === `--${name}` || argument.startsWith(`--${name}=`))
  );
  const overrides = Object.fromEntries(named.map(([, field]) => [field, config[field]]));
  if (positional.length > 1) {
    throw new InputError(`unexpected argument ${positional[1]}: evaluate takes one run or adapter`);
  }
  return {
    subject: positional[0] ?? null,
    data: config.data,
    overrides,
    maxTest: named.some(([name]) => name === "max-test") ? config.maxTest : null,
    wholeVolumes: args.length < given.length,
    out,
    webgpu,
    help,
  };
}

/**
 * The command as a user would type it, without folders of this machine: of paths the last part stays.
 * The arguments have been parsed before, so that an option's value follows it or its equals sign.
 */
export function commandLine(task: string, args: readonly string[]): string {
  const paths = ["--data", "--weights", "--out", "--resume"];
  const shown = args.map((argument, i) => {
    const [name, ...value] = argument.split("=");
    if (value.length > 0 && paths.includes(name)) return `${name}=${basename(value.join("="))}`;
    return argument.startsWith("--") && !paths.includes(args[i - 1])
      ? argument
      : basename(argument);
  });
  return ["./run", task, ...shown].join(" ");
}
