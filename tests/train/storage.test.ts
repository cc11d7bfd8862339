import { assert } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import type { ActivationStorage } from "../../lib/tensor/half.ts";
import { diceBceLoss } from "../../lib/tensor/ops/losses.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { gpu } from "../gpu.ts";
import { discs } from "./discs.ts";

const STEPS = 5;

/** MobileSAM with adapters on two discs: the first gradients, the losses, the bytes of the tape. */
async function train(storage: ActivationStorage) {
  const sam = await loadSam(gpu);
  await injectLora(sam, { r: 4, lora_alpha: 4, random: new Random(0) });
  using model = new SliceModel(sam, { side: 64, storage });
  const reader = discs("storage", { count: 2 });
  const slices = await Promise.all(reader.refs.map((ref) => reader.read(ref)));
  const samples = slices.map((slice) => ({ slice, variant: "" }));
  const prompts = slices.map(() => ({ box: [4, 4, 60, 60] as [number, number, number, number] }));
  const parameters = sam.trainableParameters().map(([, tensor]) => tensor);
  using adam = new Adam(parameters, { maxGradNorm: 1 });
  const losses: number[] = [];
  const gradients: number[] = [];
  let tape = 0;
  for (let step = 0; step < STEPS; step++) {
    using _ = new Scope(gpu);
    const before = gpu.memory.liveBytes;
    const { loss } = diceBceLoss(
      model.decode(model.encode(samples), samples, prompts),
      model.target(samples),
    );
    tape = gpu.memory.liveBytes - before;
    losses.push(await loss.item());
    loss.backward();
    if (step === 1) { // in the first step B is zero, and so is A's gradient
      for (const { grad } of parameters) gradients.push(...await grad!.data());
    }
    adam.step(4e-3);
  }
  sam.dispose();
  return { losses, gradients, tape };
}

Deno.test("with activations in 16 bits MobileSAM's gradients hold three digits, and it learns alike", async () => {
  const exact = await train("f32");
  const halved = await train("f16");
  const norm = (values: number[]) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  const error = norm(halved.gradients.map((x, i) => x - exact.gradients[i])) /
    norm(exact.gradients);
  const last = STEPS - 1;
  console.log(
    `tape ${(exact.tape / 2 ** 20).toFixed(1)} MiB, halved ${
      (halved.tape / 2 ** 20).toFixed(1)
    } MiB; gradients differ by ${error.toExponential(1)}; loss after ${last} steps ${
      exact.losses[last].toFixed(5)
    } and ${halved.losses[last].toFixed(5)}`,
  );
  assert(halved.tape < 0.8 * exact.tape);
  assert(error > 0 && error < 1e-2, `${error}`);
  assert(exact.losses[last] < 0.9 * exact.losses[0]);
  assert(Math.abs(halved.losses[last] - exact.losses[last]) < 1e-2);
});
