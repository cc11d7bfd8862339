import { assert } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { backward } from "../../lib/tensor/autograd.ts";
import { diceBceLoss } from "../../lib/tensor/ops/losses.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { GradScaler } from "../../lib/train/grad_scaler.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { SliceModel, type SliceModelOptions } from "../../lib/evaluate/slice_model.ts";
import { gpu } from "../gpu.ts";
import { discs } from "./discs.ts";

const STEPS = 5;

/** MobileSAM with adapters on two discs: the first gradients, the losses, the bytes of the tape. */
async function train(options: Omit<SliceModelOptions, "side"> = {}) {
  const sam = await loadSam(gpu);
  await injectLora(sam, { r: 4, lora_alpha: 4, random: new Random(0) });
  using model = new SliceModel(sam, { side: 64, ...options });
  const reader = discs("storage", { count: 2 });
  const slices = await Promise.all(reader.refs.map((ref) => reader.read(ref)));
  const samples = slices.map((slice) => ({ slice, variant: "" }));
  const prompts = slices.map(() => ({ box: [4, 4, 60, 60] as [number, number, number, number] }));
  const parameters = sam.trainableParameters().map(([, tensor]) => tensor);
  using scaler = options.precision === "f16" ? new GradScaler(gpu, { initScale: 256 }) : null;
  using adam = new Adam(parameters, { maxGradNorm: 1, scaler });
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
    backward(loss, scaler?.scale);
    if (step === 1) { // in the first step B is zero, and so is A's gradient
      const scale = await scaler?.scale.item() ?? 1;
      for (const { grad } of parameters) {
        gradients.push(...(await grad!.data()).map((value) => value / scale));
      }
    }
    adam.step(4e-3);
  }
  sam.dispose();
  return { losses, gradients, tape };
}

type Trained = Awaited<ReturnType<typeof train>>;

/** Relative error of the gradients, and what else differs, in a line. */
function compare(halved: Trained, exact: Trained): number {
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
  assert(exact.losses[last] < 0.9 * exact.losses[0]);
  assert(Math.abs(halved.losses[last] - exact.losses[last]) < 1e-2);
  return error;
}

const exact = await train();

Deno.test("with activations in 16 bits MobileSAM's gradients hold three digits, and it learns alike", async () => {
  const halved = await train({ storage: "f16" });
  assert(halved.tape < 0.8 * exact.tape);
  const error = compare(halved, exact);
  assert(error > 0 && error < 1e-2, `${error}`);
});

Deno.test("with products in half precision MobileSAM's gradients hold two digits, and it learns alike", async () => {
  const error = compare(await train({ precision: "f16", storage: "f16" }), exact);
  assert(error > 0 && error < 2e-2, `${error}`);
});
