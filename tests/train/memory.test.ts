import { assert, assertEquals } from "@std/assert";
import type { PoolStatistics } from "../../lib/gpu/buffer_pool.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { diceBceLoss } from "../../lib/tensor/ops/losses.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { gelu } from "../../lib/tensor/ops/unary.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { gpu } from "../gpu.ts";
import { discs } from "./discs.ts";
import { tinySam } from "./tiny_sam.ts";

/** Runs steps; from the second on nothing may be allocated and no buffer stay lent. */
async function assertSteady(steps: number, step: () => void): Promise<void> {
  let reference: PoolStatistics | undefined;
  for (let i = 1; i <= steps; i++) {
    step();
    if (i === 2) reference = gpu.memory;
    if (i > 2) assertEquals(gpu.memory, reference, `after step ${i}`);
  }
  await gpu.finish();
}

Deno.test("200 steps of a perceptron allocate nothing after the second", async () => {
  const random = new Random(0);
  const make = (...shape: [number, number]) =>
    Tensor.from(
      gpu,
      Float32Array.from({ length: shape[0] * shape[1] }, () => 0.3 * random.normal()),
      shape,
    );
  const layers = [make(7, 33), make(33, 16), make(16, 5)].map((layer) => layer.setParameter(true));
  using x = make(12, 7);
  using target = Tensor.from(gpu, Array.from({ length: 60 }, (_, i) => i % 2), [12, 5]);
  using adam = new Adam(layers, { maxGradNorm: 1 });
  const objective = () => {
    const logits = layers.reduce((y, layer) => matmul(gelu(y), layer), x);
    return diceBceLoss(logits, target).loss;
  };
  const current = (): Promise<number> => {
    using _ = new Scope(gpu);
    return noGrad(gpu, objective).item();
  };
  const first = await current();
  await assertSteady(200, () => {
    using _ = new Scope(gpu);
    objective().backward();
    adam.step(0.01);
  });
  const last = await current();
  assert(last < 0.5 * first, `the loss went from ${first} to ${last} only`);
  for (const tensor of layers) tensor.dispose();
});

Deno.test("30 steps of LoRA with dropout allocate nothing after the second", async () => {
  const sam = tinySam();
  const adapters = await injectLora(sam, {
    r: 4,
    lora_alpha: 4,
    lora_dropout: 0.1,
    target_modules: ["attn.qkv", "fc1", "q_proj"],
    random: new Random(0),
  });
  for (const adapter of adapters.values()) adapter.training = true;
  using model = new SliceModel(sam, { side: 64 });
  const reader = discs("memory", { count: 2, width: 48, height: 60 });
  const slices = await Promise.all(reader.refs.map((ref) => reader.read(ref)));
  const samples = slices.map((slice) => ({ slice, variant: "" }));
  const prompts = [{ box: [4, 4, 40, 40] }, { box: [6, 4, 40, 44] }] as const;
  using adam = new Adam(sam.trainableParameters().map(([, tensor]) => tensor), {
    decoupled: true,
    weightDecay: 0.01,
    maxGradNorm: 1,
  });
  await assertSteady(30, () => {
    using _ = new Scope(gpu);
    const logits = model.decode(
      model.encode(samples),
      samples,
      prompts.map(({ box }) => ({ box: [...box] })),
    );
    diceBceLoss(logits, model.target(samples)).loss.backward();
    adam.step(1e-3);
  });
  sam.dispose();
});
