import { assert, assertEquals } from "@std/assert";
import { Random } from "../../lib/random.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import type { FitOptions } from "../../lib/train/plan.ts";
import { WeightAverage } from "../../lib/train/weight_average.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { discData, trainLastAttention, trainTiny } from "./train_tiny.ts";

Deno.test("the average is that of doubles, and exchanging it twice changes nothing", async () => {
  const before = gpu.memory.live;
  const random = new Random(1);
  const draw = (size: number) => Float32Array.from({ length: size }, () => random.normal());
  const shapes = [[3, 5], [7], [1]];
  const weights = shapes.map((shape) => {
    const size = shape.reduce((a, b) => a * b, 1);
    return Tensor.from(gpu, draw(size), shape).keep().setParameter(true);
  });
  const expected = await Promise.all(weights.map(async (w) => Float64Array.from(await w.data())));
  {
    using average = new WeightAverage(weights, 0.9);
    for (let step = 1; step <= 100; step++) {
      const decay = Math.min(0.9, (1 + step) / (10 + step));
      for (const [i, weight] of weights.entries()) {
        const values = draw(weight.size);
        weight.write(values);
        expected[i] = expected[i].map((mean, j) => decay * mean + (1 - decay) * values[j]);
      }
      average.update(step);
    }
    const raw = await Promise.all(weights.map((weight) => weight.data()));
    average.exchange();
    let largest = 0;
    for (const [i, weight] of weights.entries()) {
      (await weight.data()).forEach((value, j) => {
        largest = Math.max(largest, Math.abs(value - expected[i][j]));
      });
      assertSameBits(await average.tensors[i].data(), raw[i], "the weights are kept aside");
    }
    assert(largest < 1e-6, `${largest}`);
    average.exchange();
    for (const [i, weight] of weights.entries()) {
      assertSameBits(await weight.data(), raw[i], "the weights are back");
    }
  }
  for (const weight of weights) weight.dispose();
  assertEquals(gpu.memory.live, before);
});

/** Trains a part of a tiny decoder and gives its weights, its result and the tensors of its states. */
async function train(options: Partial<FitOptions>) {
  const states: ReadonlyMap<string, { data: Float32Array }>[] = [];
  const { result, weights } = await trainTiny(discData("average", 3), {
    epochs: 3,
    batchSize: 2,
    warmupSteps: 0,
    learningRate: 3e-3,
    prepare: trainLastAttention,
    ...options,
    onCheckpoint: ({ tensors }) => void states.push(tensors),
  });
  return { ...result, states, weights };
}

/** Checks that the weights are those that a state has under a name. */
function assertWeightsOf(
  weights: ReadonlyMap<string, Float32Array>,
  state: ReadonlyMap<string, { data: Float32Array }>,
  name: "ema" | "weights",
): void {
  for (const [path, values] of weights) {
    assertSameBits(values, state.get(`${name}.${path}`)!.data, path);
  }
}

Deno.test("training is the same with an average, which alone is validated and kept", async () => {
  const plain = await train({ keep: "last" });
  const averaged = await train({ keep: "last", ema: 0.6 });
  assertEquals(
    averaged.epochs.map(({ trainLoss }) => trainLoss),
    plain.epochs.map(({ trainLoss }) => trainLoss),
  );
  assert(
    String(averaged.epochs.map((e) => e.validationLoss)) !==
      String(plain.epochs.map((e) => e.validationLoss)),
  );
  assertWeightsOf(averaged.weights, averaged.states.at(-1)!, "ema");
  assertWeightsOf(plain.weights, plain.states.at(-1)!, "weights");
  // The best of an average is an average too.
  const best = await train({ ema: 0.6 });
  assertWeightsOf(best.weights, best.states[best.bestEpoch - 1], "ema");
});

Deno.test("the last weights can be kept, and where patience ran out is told without stopping", async () => {
  // So small a step changes no mask: the first epoch stays the best.
  const still = { learningRate: 1e-7, patience: 2, epochs: 4 };
  const stopped = await train(still);
  assertEquals(
    [stopped.epochs.length, stopped.stoppedEarly, stopped.earlyStoppingEpoch, stopped.bestEpoch],
    [3, true, 3, 1],
  );
  const marked = await train({ ...still, earlyStopping: false, keep: "last" });
  assertEquals(
    [marked.epochs.length, marked.stoppedEarly, marked.earlyStoppingEpoch, marked.bestEpoch],
    [4, false, 3, 1],
  );
  const last = marked.states.at(-1)!;
  const first = marked.states[0];
  const moved = [...marked.weights.keys()].some((path) =>
    String(last.get(`weights.${path}`)!.data) !== String(first.get(`weights.${path}`)!.data)
  );
  assert(moved);
  assertWeightsOf(marked.weights, last, "weights");
  assertEquals((await train({ ...still, epochs: 2 })).earlyStoppingEpoch, null);
});
