import { assertEquals } from "@std/assert";
import { injectLora, type LoraOptions } from "../../lib/adapters/lora.ts";
import { SliceModel, type SliceModelOptions } from "../../lib/evaluate/slice_model.ts";
import { Random } from "../../lib/random.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { fit, type FitResult } from "../../lib/train/fit.ts";
import type { FitData, FitOptions } from "../../lib/train/plan.ts";
import type { FitCallbacks, FitCheckpoints } from "../../lib/train/training.ts";
import { assertSameBits } from "../bits.ts";
import { discs } from "./discs.ts";
import { tinySam } from "./tiny_sam.ts";

/** Adapters in the encoder's last block alone: most of the encoder lies before them, and can be cached. */
export async function adaptLastBlock(sam: Sam, options: LoraOptions = {}): Promise<void> {
  const random = new Random(0);
  await injectLora(sam.imageEncoder, { r: 2, lora_alpha: 2, blocks: [2], ...options, random });
}

/** Makes the decoder's last attention trainable: pretrained weights of which there are few. */
export function trainLastAttention(sam: Sam): void {
  sam.maskDecoder.transformer.finalAttnTokenToImage.setTrainable(true);
}

/** Discs to train on, and two more to validate on. */
export function discData(
  name: string,
  train: number,
  size: { width?: number; height?: number } = {},
): FitData & { reader: ReturnType<typeof discs> } {
  const reader = discs(name, { count: train + 2, ...size });
  return { reader, train: reader.refs.slice(0, train), validation: reader.refs.slice(train) };
}

/** Options of {@linkcode trainTiny} beside those of a training. */
export interface TinyOptions extends Partial<Omit<SliceModelOptions, "side">> {
  /** Makes something trainable; by default adapters in the last block. */
  readonly prepare?: (sam: Sam) => unknown;
  /** Changes the model before it trains. */
  readonly arrange?: (model: SliceModel) => void;
}

/** Result of a training but for its wall times and device memory, which differ between equal ones. */
export interface Outcome {
  readonly result: Omit<FitResult, "peakGpuBytes">;
  /** Trained weights by path. */
  readonly weights: ReadonlyMap<string, Float32Array>;
}

/** Trains in a tiny model that is built anew, as another process would. */
export async function trainTiny(
  data: FitData,
  options: FitOptions & FitCallbacks & FitCheckpoints & TinyOptions,
): Promise<Outcome & { readonly peakGpuBytes: number }> {
  const { prepare = adaptLastBlock, arrange, ...rest } = options;
  const sam = tinySam();
  try {
    await prepare(sam);
    using model = new SliceModel(sam, { side: 64, ...rest });
    arrange?.(model);
    const { peakGpuBytes, ...result } = await fit(model, data, rest);
    const weights = new Map<string, Float32Array>();
    for (const [path, tensor] of sam.trainableParameters()) weights.set(path, await tensor.data());
    const epochs = result.epochs.map((metrics) => ({ ...metrics, seconds: 0 }));
    return { result: { ...result, epochs }, weights, peakGpuBytes };
  } finally {
    sam.dispose();
  }
}

/** Checks that two trainings gave the same numbers and the same bits. */
export function assertSameOutcome(actual: Outcome, expected: Outcome, what = ""): void {
  assertEquals(actual.result, expected.result, what);
  assertEquals([...actual.weights.keys()], [...expected.weights.keys()], what);
  for (const [path, values] of expected.weights) {
    assertSameBits(actual.weights.get(path)!, values, `${what} ${path}`);
  }
}
