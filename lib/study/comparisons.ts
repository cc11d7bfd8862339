import { join } from "node:path";
import { InputError } from "../errors.ts";
import type { RowTests } from "./comparison.ts";
import { compareModels, type Comparison, type ModelObservations } from "../stats/compare.ts";
import { type MaskMetric, METRICS, metricsAt } from "../metrics/metrics.ts";
import { PROTOCOL, type ScoredPrompt } from "../evaluate/scored_prompts.ts";
import type { ProtocolSlice } from "../evaluate/protocol.ts";
import { baselines, displayName, type Experiment } from "./experiment.ts";
import { observations } from "./verdicts.ts";

/** What the others are compared with, as tables call them. */
const VANILLA = displayName(baselines.vanilla);
const PEFT = displayName(baselines.peft);

/** One family of tests: all models against vanilla and PEFT under one prompt by one metric. */
export interface ComparisonFamily {
  readonly prompt: ScoredPrompt;
  readonly metric: MaskMetric;
  readonly comparisons: readonly Comparison[];
}

/**
 * Reads the slices' scores of a run.
 *
 * @throws {InputError} if the run has none.
 */
export async function readScores(run: string): Promise<ProtocolSlice[]> {
  const path = join(run, "scores.json");
  try {
    return JSON.parse(await Deno.readTextFile(path));
  } catch {
    throw new InputError(`${path} cannot be read: score the run again with ./run evaluate`);
  }
}

/** Compares models with vanilla and PEFT under every prompt that any of them was scored under. */
export function compareScores(
  models: ReadonlyMap<string, readonly ProtocolSlice[]>,
): ComparisonFamily[] {
  return PROTOCOL.flatMap((prompt) =>
    metricsAt("slice").filter((name) => METRICS[name].tested).flatMap((metric) => {
      const observed = new Map<string, ModelObservations>();
      for (const [model, slices] of models) {
        observed.set(model, observations(slices, { prompt, metric }));
      }
      const comparisons = compareModels(observed, {
        references: [VANILLA, PEFT],
        resamples: 2000,
      });
      return comparisons.length === 0 ? [] : [{ prompt, metric, comparisons }];
    })
  );
}

/** The slices' scores of the runs in a results folder, by the experiments' display names. */
export async function readAllScores(
  folder: string,
  experiments: readonly Experiment[],
): Promise<Map<string, readonly ProtocolSlice[]>> {
  const models = new Map<string, readonly ProtocolSlice[]>();
  for (const experiment of experiments) {
    models.set(displayName(experiment), await readScores(join(folder, experiment.name)));
  }
  return models;
}

/** Each model's tests by Dice under one prompt, as the table takes them. */
export function testsOf(
  families: readonly ComparisonFamily[],
  prompt: ScoredPrompt,
): Map<string, RowTests> {
  const tests = new Map<string, RowTests>();
  const family = families.find((one) => one.prompt === prompt && one.metric === "dice");
  for (const comparison of family?.comparisons ?? []) {
    const { model, reference, p, pHolm, interval, patients } = comparison;
    const kind = reference === PEFT ? "peft" : "vanilla";
    tests.set(model, { ...tests.get(model), [kind]: { p, pHolm, interval, patients } });
  }
  return tests;
}
