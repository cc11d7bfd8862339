import { baselines, type Experiment } from "../lib/study/experiment.ts";
import { runAlone } from "./run_alone.ts";

/** SAM as it comes, nothing trained. */
export const experiment: Experiment = baselines.vanilla;

if (import.meta.main) await runAlone(experiment, Deno.args);
