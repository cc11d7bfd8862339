import { baselines, type LoneExperiment } from "../lib/study/experiment.ts";

/** The mask decoder alone is trained; image encoder and prompt encoder are frozen. */
export const peft: LoneExperiment = {
  experiment: baselines.peft,
  values: { prompt: "jittered-box", learningRate: 1e-3 },
};
