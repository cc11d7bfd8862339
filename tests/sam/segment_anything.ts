import { assert } from "@std/assert";
import { toStateDict } from "../../lib/formats/safetensors.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { concat } from "../../lib/tensor/ops/movement.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { readTensors } from "../formats/tensors_file.ts";
import { gpu } from "../gpu.ts";
import { largestDifference } from "./images.ts";
import { sampled, wave } from "./seeded.ts";

/** Results of Meta's segment_anything; see tests/reference/make_sam_vit_fixtures.py. */
export function fixtures(
  name: string,
): { expected: (name: string) => Float32Array; names: ReadonlySet<string> } {
  const path = new URL(`fixtures/sam_vit_${name}.safetensors`, import.meta.url).pathname;
  const state = toStateDict(readTensors(path));
  const expected = (name: string) => {
    const fixture = state.get(name);
    if (!fixture) throw new Error(`the fixtures have no ${name}`);
    return fixture.data;
  };
  return { expected, names: new Set(state.keys()) };
}

/** Embedding, and logits and IoU of one box, the single mask's first. */
async function forwardResults(sam: Sam, side: number) {
  using _ = new Scope(gpu);
  const pixels = Tensor.from(gpu, wave(1, side), [1, side, side, 3]);
  const results = noGrad(gpu, () => {
    const embedding = sam.imageEncoder.forward(pixels);
    const box = [0.4 * side, 0.15 * side, 0.8 * side, 0.65 * side] as const;
    const single = sam.decode(embedding, [{ box }]);
    const multi = sam.decode(embedding, [{ box }], { multimaskOutput: true });
    return {
      embedding,
      logits: concat([single.masks, multi.masks], 1),
      iou: concat([single.iouPredictions, multi.iouPredictions], 1),
    };
  });
  return {
    embedding: await results.embedding.data(),
    logits: await results.logits.data(),
    iou: await results.iou.data(),
  };
}

/** Compares embedding (in standard deviations), logits and IoU with the official ones. */
export async function compareForward(
  sam: Sam,
  options: {
    side: number;
    samples: number;
    expected: (name: "embedding" | "embedding_std" | "logits" | "iou") => Float32Array;
  },
): Promise<string> {
  const { side, samples, expected } = options;
  const results = await forwardResults(sam, side);
  const [std] = expected("embedding_std");
  const embedding = sampled(results.embedding, samples);
  const embeddingError = largestDifference(embedding, expected("embedding")) / std;
  const logitError = largestDifference(sampled(results.logits, samples), expected("logits"));
  const iouError = largestDifference(results.iou, expected("iou"));
  const range = largestMagnitude(expected("logits"));
  assert(embeddingError < 1e-4, `the embedding differs by ${embeddingError} of its deviation`);
  assert(logitError < 1e-3, `the logits differ by ${logitError}`);
  assert(iouError < 1e-3, `the estimated IoU differ by ${iouError}`);
  return `embedding differs by ${embeddingError.toExponential(1)} of its standard deviation, ` +
    `logits (up to ${range.toFixed(1)}) by ${logitError.toExponential(1)}, IoU by ${
      iouError.toExponential(1)
    }`;
}

/** The largest magnitude of an element. */
export function largestMagnitude(values: Float32Array): number {
  return values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
}

/** The largest difference as a part of the reference's largest element. */
export function relativeError(actual: Float32Array, expected: Float32Array): number {
  return largestDifference(actual, expected) / largestMagnitude(expected);
}
