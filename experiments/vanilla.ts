import { baselines, type Experiment } from "./harness/experiment.ts";
import { runAlone } from "./harness/run_alone.ts";

/** SAM as it comes, nothing trained. */
export const experiment: Experiment = baselines.vanilla;

if (import.meta.main) await runAlone(experiment, Deno.args);
