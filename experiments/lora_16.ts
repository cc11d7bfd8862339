import type { LoneExperiment } from "../lib/study/experiment.ts";

/** LoRA of rank 16 in the fused queries, keys and values of the image encoder; all else is frozen. */
export const lora_16: LoneExperiment = {
  experiment: { name: "lora_16", kind: "lora", rank: 16 },
  values: {
    alpha: 16,
    targets: ["attn.qkv"],
    prompt: "jittered-box",
    learningRate: 1e-3,
  },
};
