import type { Gpu } from "../../lib/gpu/gpu.ts";
import type { HostState } from "../../lib/nn/host_state.ts";
import type { Module } from "../../lib/nn/module.ts";
import { Random } from "../../lib/random.ts";
import { type Architecture, emptySam } from "../../lib/sam/build_sam.ts";
import { SAM_INPUT } from "../../lib/sam/models.ts";
import type { Sam } from "../../lib/sam/sam.ts";

/** MobileSAM's parts, a few channels wide. */
export const TINY: Architecture = {
  encoder: {
    kind: "tiny_vit",
    options: {
      embedDims: [8, 16, 16, 32],
      depths: [1, 1, 1, 1],
      numHeads: [1, 2, 2, 2],
      windowSizes: [2, 2, 2, 2],
      mlpRatio: 2,
      mbconvExpandRatio: 2,
      outChannels: 32,
    },
  },
  input: SAM_INPUT,
};

/** A tiny SAM with random weights, frozen. */
export function randomSam(gpu: Gpu, seed: string): Sam {
  const sam = emptySam(gpu, TINY);
  return sam.loadState(randomState(sam, new Random(seed)));
}

/** Weights in PyTorch's usual ranges: normalisations at one and zero, the others by their fan-in. */
export function randomState(model: Module, random: Random): HostState {
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
