import { baselines, type LoneExperiment } from "../lib/study/experiment.ts";

/** Image encoder and mask decoder trained whole, at a learning rate of their own. */
export const full: LoneExperiment = {
  experiment: baselines.full,
  values: {
    prompt: { "tight-box": 0.2, "jittered-box": 0.3, point: 0.2, "whole-image": 0.3 },
  },
};
