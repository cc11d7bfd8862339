import { baselines, type Experiment } from "../lib/study/experiment.ts";
import { runAlone } from "./run_alone.ts";

/** Image encoder and mask decoder trained whole. */
export const experiment: Experiment = baselines.full;

if (import.meta.main) await runAlone(experiment, Deno.args);
