import type { LoneExperiment } from "../lib/study/experiment.ts";

/** LoRA of rank 16 in every Linear of the encoder's late stages, with the mask decoder trained whole. */
export const lora_16: LoneExperiment = {
  experiment: { name: "lora_16", kind: "lora", rank: 16, label: "LoRA-16 + decoder" },
  values: {
    alpha: 16,
    targets: ["all-linear"],
    blocks: "late",
    modulesToSave: ["mask_decoder"],
    prompt: { "tight-box": 0.2, "jittered-box": 0.3, point: 0.2, "whole-image": 0.3 },
    learningRate: 3e-3,
    pretrainedLearningRate: 5e-4,
  },
};
