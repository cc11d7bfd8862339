import type { Part } from "../part.ts";
import { dawn } from "./dawn.ts";
import { devices } from "./devices.ts";
import { kernelTests } from "./kernel_tests.ts";
import { kernels } from "./kernels.ts";
import { steps } from "./steps.ts";
import { study } from "./study.ts";
import { tiles } from "./tiles.ts";

/** Parts in the order in which they are measured and shown: the most telling first. */
export const parts: readonly Part[] = [
  steps("mobile_sam", 512, { GPU: 15, CPU: 45 }),
  steps("vit_b", 1024, { GPU: 25, CPU: 300 }),
  kernels,
  kernelTests("gpu"),
  study({
    name: "study_vanilla",
    model: "Vanilla",
    command: ["experiment", "vanilla"],
    needs: { GPU: 20, CPU: 60 },
  }),
  tiles,
  steps("mobile_sam", 1024, { GPU: 15, CPU: 60 }),
  steps("vit_b", 512, { GPU: 20, CPU: 90 }),
  study({
    name: "study_lora",
    model: "LoRA-16 + decoder",
    command: ["experiments", "--baselines", "vanilla", "--ranks", "16", "--encoder-ranks", "none"],
    needs: { GPU: 60, CPU: 300 },
  }),
  dawn,
  kernelTests("cpu"),
  devices,
];
