import { assertEquals, assertNotEquals } from "@std/assert";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { Random } from "../../lib/random.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { type ActivationStorage, withStorage } from "../../lib/tensor/half.ts";
import { diceBceLoss } from "../../lib/tensor/ops/losses.ts";
import type { Prompt } from "../../lib/data/prompts.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { assertSameBits } from "../bits.ts";
import { discs } from "./discs.ts";
import { tinySam } from "./tiny_sam.ts";

const STEPS = 2;
const LAST_LOSS = `loss ${STEPS - 1}`;

interface Training {
  /** Goes on to the end of the forward pass, of the backward pass or of the step. */
  readonly go: Generator<void, void>;
  /** Losses of the steps, and weights after them. */
  result(): Promise<Map<string, Float32Array>>;
}

/** A training with LoRA, dropout and activation checkpoints, which stops within its steps. */
async function training(gpu: Gpu, storage: ActivationStorage): Promise<Training> {
  const sam = tinySam("two devices", gpu);
  sam.imageEncoder.checkpointActivations = storage === "f32";
  const adapters = await injectLora(sam.imageEncoder, {
    r: 4,
    lora_alpha: 4,
    lora_dropout: 0.2,
    random: new Random(0),
  });
  for (const adapter of adapters.values()) adapter.training = true;
  const model = new SliceModel(sam, { side: 64, storage });
  const reader = discs("two devices", { count: 2 });
  const slices = await Promise.all(reader.refs.map((ref) => reader.read(ref)));
  const samples = slices.map((slice) => ({ slice, variant: "" }));
  const prompts = samples.map((): Prompt => ({ box: [8, 8, 50, 50] }));
  const weights = sam.trainableParameters();
  const adam = new Adam(weights.map(([, tensor]) => tensor), { maxGradNorm: 1 });
  const losses: Tensor[] = [];
  function* steps() {
    for (let step = 0; step < STEPS; step++) {
      using _ = new Scope(gpu);
      const logits = model.decode(model.encode(samples), samples, prompts);
      const { loss } = diceBceLoss(logits, model.target(samples));
      losses.push(loss.detach().keep());
      yield;
      loss.backward();
      yield;
      adam.step(1e-2);
      yield;
    }
  }
  const result = async () => {
    const named = [...losses.map((loss, i) => [`loss ${i}`, loss] as const), ...weights];
    const values = await Promise.all(
      named.map(async ([name, tensor]) => [name, await tensor.data()] as const),
    );
    return new Map(values);
  };
  return { go: steps(), result };
}

async function alone(gpu: Gpu, storage: ActivationStorage): Promise<Map<string, Float32Array>> {
  const { go, result } = await training(gpu, storage);
  while (!go.next().done);
  return await result();
}

Deno.test("two models on two devices, one in f16 storage, train interleaved as each does alone", async () => {
  using first = await Gpu.open();
  using second = await Gpu.open();
  const expected = [await alone(first, "f32"), await alone(second, "f16")];
  assertNotEquals(expected[0].get(LAST_LOSS), expected[1].get(LAST_LOSS));
  const [full, half] = [await training(first, "f32"), await training(second, "f16")];
  for (let i = 0; i <= 3 * STEPS; i++) {
    // Neither is to notice under which settings the other's device is meanwhile.
    withStorage(second, "f16", () => noGrad(second, () => full.go.next()));
    await first.finish();
    withStorage(first, "f32", () => noGrad(first, () => half.go.next()));
    if (i % 2) await second.finish();
  }
  for (const [i, { result }] of [full, half].entries()) {
    const actual = await result();
    assertEquals([...actual.keys()], [...expected[i].keys()]);
    for (const [name, values] of actual) assertSameBits(values, expected[i].get(name)!, name);
  }
});
