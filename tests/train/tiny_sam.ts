import type { Gpu } from "../../lib/gpu/gpu.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { gpu as shared } from "../gpu.ts";
import { randomSam } from "./random_sam.ts";

/** A SAM of MobileSAM's parts, a few channels wide, with random weights, frozen. */
export function tinySam(seed: string = "tiny", gpu: Gpu = shared): Sam {
  return randomSam(gpu, seed);
}
