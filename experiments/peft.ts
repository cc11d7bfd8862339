import { baselines, type LoneExperiment } from "../lib/study/experiment.ts";

/** The mask decoder alone is trained; image encoder and prompt encoder are frozen. */
export const peft: LoneExperiment = {
  experiment: baselines.peft,
  values: {
    prompt: { "tight-box": 0.2, "jittered-box": 0.3, point: 0.2, "whole-image": 0.3 },
    pretrainedLearningRate: 5e-4,
  },
};
