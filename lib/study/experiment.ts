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
import { type BASELINES, type Config, configSchema, type Overrides } from "./schema.ts";

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
    /**
     * Nothing is trained: the weights of another row of the same study, which comes before it, are drawn
     * back towards the pretrained ones, of which (1 - alpha) comes in.
     */
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
  full: { name: "full", kind: "full", overrides: { learningRate: 1e-4 } },
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
export function configOf({ overrides }: Experiment, config: Config): Config {
  return { ...config, ...overrides };
}

/** The experiment for a rank, of LoRA or of another method of adapters. */
export function adapterExperiment(rank: number, peftType = "lora"): Experiment {
  const row = { name: `${peftType}_${rank}`, kind: "lora", rank } as const;
  if (peftType === "lora") return row;
  return { ...row, label: `${methodOf(peftType).label}-${rank}`, overrides: { peftType } };
}

/** Each experiment, and after those that train something what WiSE-FT makes of them at each alpha. */
export function withWiseFt(
  experiments: readonly Experiment[],
  alphas: readonly number[],
): Experiment[] {
  return experiments.flatMap((experiment) => {
    if (experiment.kind === "vanilla") return [experiment];
    const { hypothesis: _, ...trained } = experiment;
    return [
      experiment,
      ...alphas.map((alpha) => ({
        ...trained,
        name: `${experiment.name}_wise_${String(alpha).replace(/\W/g, "_")}`,
        label: `${displayName(experiment)}, WiSE-FT ${alpha}`,
        wiseFt: { of: experiment.name, alpha },
      })),
    ];
  });
}

/** Name of an experiment in tables and pictures. */
export function displayName({ kind, rank, label }: Experiment): string {
  if (label !== undefined) return label;
  const names = { vanilla: "Vanilla", peft: "PEFT", full: "Full fine-tune", lora: `LoRA-${rank}` };
  return names[kind];
}
