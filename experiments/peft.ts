import { baselines, type Experiment } from "../lib/study/experiment.ts";
import { runAlone } from "./run_alone.ts";

/** The study's PEFT: the mask decoder alone is trained, encoder and prompt encoder are frozen. */
export const experiment: Experiment = baselines.peft;

if (import.meta.main) await runAlone(experiment, Deno.args);
