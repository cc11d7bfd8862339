/**
 * Vocabulary of the files of experiments/sweeps: a sweep is a named list of experiments, each
 * with the hypothesis that stands before its run.
 *
 * @module
 */
import { MODELS } from "../sam/models.ts";
import { type Config, type Overrides, PLAIN } from "./schema.ts";
import type { Experiment, Hypothesis } from "./experiment.ts";

/** A named study. */
export interface Sweep {
  /** The question that it puts. */
  readonly asks: string;
  /** Values for all its rows, unless the command line says otherwise. */
  readonly values: Overrides;
  /** Its rows, for a model and data as the config says. */
  readonly experiments: (config: Config) => readonly Experiment[];
}

/**
 * Values that sweeps share: trained under all kinds of prompt, scored on a third of the patients. With
 * fewer than 15 of them no family of tests could come out significant.
 */
export const SWEEP_VALUES: Overrides = {
  ...PLAIN,
  side: 256,
  epochs: 3,
  prompt: { "tight-box": 0.2, "jittered-box": 0.3, point: 0.25, "whole-image": 0.25 },
  promptsPerStep: 2,
  validationPrompt: "jittered-box",
  split: [0.54, 0.13, 0.33],
};

/** Margin that counts as no worse: one point of Dice, a quarter of what two raters differ by. */
const NO_WORSE = 0.01;

/** A hypothesis on the mean Dice under boxes that miss the tumour by up to a fifth of its size. */
export function expect(
  expected: Hypothesis["expected"],
  than: string,
  sentence: string,
): Hypothesis {
  return {
    sentence,
    than,
    prompt: "jittered-box",
    metric: "dice",
    expected,
    ...(expected === "no worse" && { margin: NO_WORSE }),
  };
}

/** The rank of rows that do not ask for the rank. */
const RANK = 16;

/** A row with adapters that are described by values of the config. */
export function lora(
  name: string,
  { label, rank = RANK, hypothesis, ...overrides }: Overrides & {
    readonly label: string;
    readonly rank?: number;
    readonly hypothesis?: Hypothesis;
  },
): Experiment {
  return { name, kind: "lora", rank, label, overrides, ...(hypothesis && { hypothesis }) };
}

/** The numbers of the blocks of a model's image encoder, from 0. */
export function blocksOf({ model }: Pick<Config, "model">): number[] {
  return [...Array(MODELS[model].blocks).keys()];
}

/** The Linears of the mask decoder's attention. */
export const DECODER_ATTENTION: readonly string[] = ["q_proj", "k_proj", "v_proj", "out_proj"];
