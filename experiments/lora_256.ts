import { type Experiment, loraExperiment } from "../lib/study/experiment.ts";
import { runAlone } from "./run_alone.ts";

/** LoRA of rank 256 in every `attn.qkv` of the image encoder, everything else frozen. */
export const experiment: Experiment = loraExperiment(256);

if (import.meta.main) await runAlone(experiment, Deno.args);
