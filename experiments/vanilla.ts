import { baselines, type LoneExperiment } from "../lib/study/experiment.ts";

/** SAM as it comes, nothing trained. */
export const vanilla: LoneExperiment = {
  experiment: baselines.vanilla,
  values: {},
};
