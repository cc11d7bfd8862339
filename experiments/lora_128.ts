import type { LoneExperiment } from "../lib/study/experiment.ts";

/** LoRA of rank 128 in every Linear of the encoder's late stages, with the mask decoder trained whole. */
export const lora_128: LoneExperiment = {
  experiment: { name: "lora_128", kind: "lora", rank: 128, label: "LoRA-128 + decoder" },
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
