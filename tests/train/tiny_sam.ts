import type { Gpu } from "../../lib/gpu/gpu.ts";
import type { Module } from "../../lib/nn/module.ts";
import { Random } from "../../lib/random.ts";
import { MaskDecoder } from "../../lib/sam/mask_decoder.ts";
import { PromptEncoder } from "../../lib/sam/prompt_encoder.ts";
import { Sam } from "../../lib/sam/sam.ts";
import { TinyViT } from "../../lib/sam/tiny_vit.ts";
import { gpu as shared } from "../gpu.ts";

/** A SAM of MobileSAM's parts, a few channels wide, with random weights, frozen. */
export function tinySam(seed: string = "tiny", gpu: Gpu = shared): Sam {
  const dim = 32;
  const sam = new Sam(gpu, {
    imageEncoder: new TinyViT(gpu, {
      embedDims: [8, 16, 16, 32],
      depths: [1, 1, 1, 1],
      numHeads: [1, 2, 2, 2],
      windowSizes: [2, 2, 2, 2],
      mlpRatio: 2,
      mbconvExpandRatio: 2,
      outChannels: dim,
    }),
    promptEncoder: new PromptEncoder(gpu, { embedDim: dim }),
    maskDecoder: new MaskDecoder(gpu, { transformerDim: dim }),
  });
  return sam.loadState(randomState(sam, new Random(seed)));
}

/** Weights in PyTorch's usual ranges: normalisations at one and zero, the others by their fan-in. */
function randomState(model: Module, random: Random) {
  const state = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [path, { shape, size }] of model.namedParameters()) {
    const fanIn = shape.length > 1 ? shape.slice(1).reduce((a, b) => a * b, 1) : 4;
    const normalisation = shape.length === 1 && path.endsWith(".weight");
    const data = Float32Array.from(
      { length: size },
      () => normalisation ? 1 : random.normal() / Math.sqrt(fanIn),
    );
    state.set(path, { shape, data });
  }
  return state;
}
