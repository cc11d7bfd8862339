/**
 * Experiments as data: what is trained, on which values of its own, and what is expected to come of it.
 *
 * @module
 */
import * as v from "valibot";
import { methodOf } from "../adapters/methods.ts";
import { InputError } from "../errors.ts";
import { EXPECTATIONS } from "../stats/verdict.ts";
import { metricsAt } from "../metrics/metrics.ts";
import { PROTOCOL } from "../evaluate/scored_prompts.ts";
import { type BASELINES, type Config, configSchema, overridden, type Overrides } from "./schema.ts";

/** Ranks that a file may ask for: none is wider than SAM's widest Linear, of 5120. */
const MAXIMUM_RANK = 5120;

const experimentName = v.pipe(v.string(), v.regex(/^[a-z0-9_]+$/));

/** Hypothesis about an experiment, written down before it runs. */
const hypothesisSchema = v.pipe(
  v.strictObject({
    /** In words, with where the expectation comes from. */
    sentence: v.string(),
    /** The experiment that it is compared with. */
    than: experimentName,
    /** Under which prompt. */
    prompt: v.picklist(PROTOCOL),
    /** By which metric of the test slices. */
    metric: v.picklist(metricsAt("slice")),
    /** Expected difference of the metric's value from the other's; "no worse" knows which way is better. */
    expected: v.picklist(EXPECTATIONS),
    /** By how much it must differ at least, or may be worse at most; in the metric's own unit. */
    margin: v.optional(v.pipe(v.number(), v.finite(), v.minValue(0))),
  }),
  // Nothing can be shown to be no worse by nothing at all.
  v.check(({ expected, margin = 0 }) => expected !== "no worse" || margin > 0),
);

/** One row of the comparison. */
export const experimentSchema = v.pipe(
  v.strictObject({
    /** Folder name and argument of `./run experiment`. */
    name: experimentName,
    /**
     * The trained part: nothing; the mask decoder alone, which the study calls PEFT; whole modules, the
     * encoder and the decoder unless `modules` says otherwise; or adapters.
     */
    kind: v.picklist(["vanilla", "peft", "full", "lora"]),
    /** Rank of the adapters (kind `lora`). */
    rank: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(MAXIMUM_RANK))),
    /** Paths of the modules that are trained whole (kind `full`). */
    modules: v.optional(v.pipe(v.array(v.pipe(v.string(), v.minLength(1))), v.minLength(1))),
    /** Share of the weights of another row that it is; studies of earlier versions had such rows. */
    wiseFt: v.optional(v.strictObject({
      of: experimentName,
      alpha: v.pipe(v.number(), v.gtValue(0), v.ltValue(1)),
    })),
    /** Its name in tables and pictures, if it is not that of its kind. */
    label: v.optional(v.pipe(v.string(), v.minLength(1))),
    /** Values of the config that are its own. */
    overrides: v.optional(v.partial(configSchema)),
    /** Hypothesis about it. */
    hypothesis: v.optional(hypothesisSchema),
  }),
  v.check(({ kind, rank }) => (kind === "lora") === (rank !== undefined)),
  v.check(({ kind, modules }) => kind === "full" || modules === undefined),
);

type Parsed = v.InferOutput<typeof experimentSchema>;

/** Hypothesis about an experiment, written down before it runs. */
export type Hypothesis = v.InferOutput<typeof hypothesisSchema>;

/** One row of the comparison. */
export type Experiment = Readonly<Omit<Parsed, "overrides">> & { readonly overrides?: Overrides };

/** The trained part of the model. */
export type ExperimentKind = Parsed["kind"];

/** The modules of kind `full`, unless an experiment names its own: all but the prompt encoder. */
export const FULL_MODULES: readonly string[] = ["image_encoder", "mask_decoder"];

/** An experiment of a file of its own. */
export interface LoneExperiment {
  /** Its row of the comparison. */
  readonly experiment: Experiment;
  /** Values that it runs with, unless the command line says otherwise. */
  readonly values: Overrides;
}

/** Baselines that the others are compared with. */
export const baselines = {
  /** SAM as it comes, nothing trained. */
  vanilla: { name: "vanilla", kind: "vanilla" },
  /** The study's PEFT: the mask decoder alone is trained, encoder and prompt encoder are frozen. */
  peft: { name: "peft", kind: "peft" },
  /**
   * Image encoder and mask decoder trained whole, the prompt encoder frozen. Pretrained weights take a
   * tenth of the learning rate that adapters, which start from nothing, do.
   */
  full: {
    name: "full",
    kind: "full",
    overrides: { learningRate: 1e-4, pretrainedLearningRate: null },
  },
} as const satisfies Readonly<Record<typeof BASELINES[number], Experiment>>;

/** The name of an experiment that others are compared with. */
export type Baseline = keyof typeof baselines;

/**
 * Checks an experiment from a file.
 *
 * @throws {InputError} if it is none that can be rebuilt.
 */
export function parseExperiment(value: unknown, source: string): Experiment {
  const result = v.safeParse(experimentSchema, value);
  if (result.success) return result.output;
  throw new InputError(
    `${source} names no experiment that can be rebuilt: name the folder of a run`,
  );
}

/** The values that an experiment runs with: the study's, but for its own. */
export function configOf({ overrides = {} }: Experiment, config: Config): Config {
  return overridden(config, overrides);
}

/** The row for a rank: adapters, and the modules that the config trains whole beside them. */
export function adapterExperiment(
  rank: number,
  { peftType, modulesToSave }: Pick<Config, "peftType" | "modulesToSave">,
): Experiment {
  const name = `${peftType}_${rank}`;
  const label = `${methodOf(peftType).label}-${rank}`;
  return {
    name,
    kind: "lora",
    rank,
    label: modulesToSave?.includes("mask_decoder") ? `${label} + decoder` : label,
    ...(peftType !== "lora" && { overrides: { peftType } }),
  };
}

/** The row for a rank that trains nothing but the adapters in the encoder: the study's own question. */
function encoderExperiment(rank: number, config: Config): Experiment {
  const row = adapterExperiment(rank, { ...config, modulesToSave: null });
  return {
    ...row,
    name: `${row.name}_encoder`,
    label: `${row.label}, encoder alone`,
    overrides: { ...row.overrides, modulesToSave: null },
  };
}

/** The rows with adapters, those of the encoder alone first; where all are, each once. */
export function adapterExperiments(
  config: Config,
  { ranks, encoderRanks }: {
    ranks: readonly number[];
    /** Null for the first of `ranks`. */
    encoderRanks: readonly number[] | null;
  },
): Experiment[] {
  const alone = config.modulesToSave === null ? [] : encoderRanks ?? ranks.slice(0, 1);
  return [
    ...alone.map((rank) => encoderExperiment(rank, config)),
    ...ranks.map((rank) => adapterExperiment(rank, config)),
  ];
}

/** Name of an experiment in tables and pictures. */
export function displayName({ kind, rank, label }: Experiment): string {
  if (label !== undefined) return label;
  const names = { vanilla: "Vanilla", peft: "PEFT", full: "Full fine-tune", lora: `LoRA-${rank}` };
  return names[kind];
}
