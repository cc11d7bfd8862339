import { adapterExperiments, baselines, type Experiment } from "../lib/study/experiment.ts";
import { type Options, resolveOptions } from "../lib/study/schema.ts";
import { sweeps } from "./sweeps/mod.ts";

/** Rows and options of the study that a command line asks for. */
export function studyOf(
  given: Parameters<typeof resolveOptions>[0],
): { rows: readonly Experiment[]; options: Options } {
  const sweep = given.sweep ? sweeps[given.sweep] : null;
  const options = resolveOptions(given, sweep?.values);
  const rows = sweep ? sweep.experiments(options.config) : [
    ...options.baselines.map((name) => baselines[name]),
    ...adapterExperiments(options.config, options),
  ];
  return { rows, options };
}
