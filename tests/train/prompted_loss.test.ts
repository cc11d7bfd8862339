import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { drawPrompt, type Prompt } from "../../lib/data/prompts.ts";
import { Random } from "../../lib/random.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { diceBceLoss, maskOverlap } from "../../lib/tensor/ops/losses.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { promptedLoss } from "../../lib/train/prompted_loss.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { gpu } from "../gpu.ts";
import { discs } from "./discs.ts";
import { tinySam } from "./tiny_sam.ts";
import { trainLastAttention, trainTiny } from "./train_tiny.ts";

const data = discs("prompted", { count: 4 });
const samples = await Promise.all(
  data.refs.slice(0, 2).map(async (ref) => ({ slice: await data.read(ref), variant: "" })),
);
const prompts = samples.map(({ slice: { mask, ref: { width, height } } }) =>
  drawPrompt("tight-box", { mask, width, height, random: new Random(0) })
);

/** A model that remembers the steps that it was asked for. */
class Watched extends SliceModel {
  readonly steps: { prompts: readonly Prompt[]; mask: boolean; logits: Promise<Float32Array> }[] =
    [];

  override decodeStep(...args: Parameters<SliceModel["decodeStep"]>) {
    const result = super.decodeStep(...args);
    const [, , { prompts, mask }] = args;
    const logits = result.logits.detach().data();
    this.steps.push({ prompts, mask: mask !== undefined, logits });
    return result;
  }
}

function watched(): Watched {
  const sam = tinySam();
  trainLastAttention(sam);
  return new Watched(sam, { side: 64 });
}

const gradients = async (model: SliceModel) => {
  const found: [string, Float32Array][] = [];
  for (const [path, tensor] of model.sam.trainableParameters()) {
    if (tensor.grad) found.push([path, await tensor.grad.data()]);
  }
  return new Map(found);
};

/** Goes backward from a loss and gives its value and its gradients. */
async function backward(model: SliceModel, compute: () => Promise<{ loss: Tensor }>) {
  using _ = new Scope(gpu);
  const { loss } = await compute();
  loss.backward();
  return { loss: (await loss.data())[0], gradients: await gradients(model) };
}

Deno.test("each iteration adds a click where the mask before is wrong, and that mask", async () => {
  using model = watched();
  {
    using _ = new Scope(gpu);
    await promptedLoss(model, samples, {
      prompts: [prompts],
      iterations: 3,
      random: new Random(1),
    });
  }
  const { steps } = model;
  assertEquals(steps.map(({ mask }) => mask), [false, true, true]);
  assertEquals(steps[0].prompts, prompts);
  for (let step = 1; step < 3; step++) {
    const before = await steps[step - 1].logits;
    samples.forEach(({ slice: { mask, ref: { width } } }, i) => {
      const { box, points } = steps[step].prompts[i];
      assertEquals(box, prompts[i].box);
      assertEquals(points!.length, step);
      assertEquals(points!.slice(0, -1), steps[step - 1].prompts[i].points ?? []);
      const { x, y, label } = points!.at(-1)!;
      const at = y * width + x;
      assertEquals(mask[at], label);
      assert((before[i * mask.length + at] > 0) !== (label === 1), "the click corrects an error");
    });
  }
  model.sam.dispose();
});

Deno.test("loss and gradients are the mean of those of each mask by itself", async () => {
  using model = watched();
  const iterations = 3;
  const whole = await backward(
    model,
    () => promptedLoss(model, samples, { prompts: [prompts], iterations, random: new Random(1) }),
  );
  const asked = model.steps.map(({ prompts }) => prompts);
  for (const [, tensor] of model.sam.trainableParameters()) tensor.grad?.dispose();
  model.sam.dispose();

  // The same steps one after the other, each with a fresh model and its own backward pass.
  let loss = 0;
  const sums = new Map<string, Float64Array>();
  for (let step = 0; step < iterations; step++) {
    using alone = watched();
    const found = await backward(alone, () => {
      const target = alone.target(samples);
      const embeddings = alone.encode(samples);
      let mask: Tensor | undefined;
      for (let i = 0; i < step; i++) {
        mask = noGrad(gpu, () => alone.decodeStep(embeddings, samples, { prompts: asked[i], mask }))
          .lowResMasks;
      }
      const { logits } = alone.decodeStep(embeddings, samples, { prompts: asked[step], mask });
      return Promise.resolve(diceBceLoss(logits, target));
    });
    loss += found.loss / iterations;
    for (const [path, values] of found.gradients) {
      const sum = sums.get(path) ?? new Float64Array(values.length);
      values.forEach((value, i) => sum[i] += value / iterations);
      sums.set(path, sum);
    }
    alone.sam.dispose();
  }
  assertAlmostEquals(whole.loss, loss, 1e-5);
  assertEquals([...whole.gradients.keys()].sort(), [...sums.keys()].sort());
  let largest = 0;
  for (const sum of sums.values()) {
    for (const value of sum) largest = Math.max(largest, Math.abs(value));
  }
  for (const [path, values] of whole.gradients) {
    values.forEach((value, i) =>
      assertAlmostEquals(value, sums.get(path)![i], 1e-4 * largest, path)
    );
  }
});

Deno.test("with one iteration nothing is clicked and the loss is that of the prompts alone", async () => {
  using model = watched();
  using _ = new Scope(gpu);
  const { loss, dice } = await promptedLoss(model, samples, {
    prompts: [prompts],
    iterations: 1,
    random: new Random(1),
  });
  assertEquals(model.steps.length, 1);
  const logits = model.decode(model.encode(samples), samples, prompts);
  const expected = diceBceLoss(logits, model.target(samples));
  assertEquals(await loss.data(), await expected.loss.data());
  assertEquals(await dice.data(), await maskOverlap(logits, model.target(samples)).dice.data());
  model.sam.dispose();
});

Deno.test("several first prompts give the mean of the losses, gradients and Dice that each gives", async () => {
  const lists = (["tight-box", "point", "whole-image"] as const).map((kind, i) =>
    samples.map(({ slice: { mask, ref: { width, height } } }) =>
      drawPrompt(kind, { mask, width, height, random: new Random(i) })
    )
  );
  const run = async (prompts: typeof lists) => {
    using model = watched();
    using _ = new Scope(gpu);
    const { loss, dice } = await promptedLoss(model, samples, {
      prompts,
      iterations: 1,
      random: new Random(1),
    });
    loss.backward();
    const found = {
      loss: (await loss.data())[0],
      dice: await dice.data(),
      gradients: await gradients(model),
    };
    model.sam.dispose();
    return found;
  };
  const together = await run(lists);
  const apart: Awaited<ReturnType<typeof run>>[] = [];
  for (const list of lists) apart.push(await run([list]));
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b) / values.length;
  assertAlmostEquals(together.loss, mean(apart.map(({ loss }) => loss)), 1e-5);
  together.dice.forEach((value, i) =>
    assertAlmostEquals(value, mean(apart.map(({ dice }) => dice[i])), 1e-6)
  );
  let largest = 0;
  for (const { gradients } of apart) {
    for (const values of gradients.values()) {
      for (const value of values) largest = Math.max(largest, Math.abs(value));
    }
  }
  for (const [path, values] of together.gradients) {
    values.forEach((value, i) => {
      const expected = mean(apart.map(({ gradients }) => gradients.get(path)?.[i] ?? 0));
      assertAlmostEquals(value, expected, 1e-4 * largest, path);
    });
  }
});

Deno.test("a model trains on a mixture, iteratively, and equal seeds give equal numbers", async () => {
  const train = async (promptIterations: number, promptsPerStep = 1) => {
    const { result } = await trainTiny(
      { reader: data, train: data.refs.slice(0, 3), validation: data.refs.slice(3) },
      {
        epochs: 2,
        batchSize: 2,
        prompt: { "tight-box": 0.3, "points-5": 0.4, "whole-image": 0.3 },
        promptIterations,
        promptsPerStep,
        prepare: trainLastAttention,
      },
    );
    return result.epochs.map(({ trainLoss, validationDice }) => [trainLoss, validationDice]);
  };
  const before = gpu.memory.live;
  const first = await train(3);
  assertEquals(await train(3), first);
  assert(String(await train(1)) !== String(first));
  assertEquals(await train(2, 2), await train(2, 2));
  assertEquals(gpu.memory.live, before);
});
