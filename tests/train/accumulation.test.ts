import { assert, assertEquals } from "@std/assert";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { discData, trainLastAttention, trainTiny } from "./train_tiny.ts";

/** Runs `act` while every optimizer step first tells `onStep` the gradients it is about to use. */
async function watchingSteps<T>(
  onStep: () => void,
  act: () => Promise<T>,
): Promise<T> {
  const { step } = Adam.prototype;
  Adam.prototype.step = function (this: Adam, learningRate: number): Tensor | null {
    onStep();
    return step.call(this, learningRate);
  };
  try {
    return await act();
  } finally {
    Adam.prototype.step = step;
  }
}

/** The gradients of each optimizer step of one epoch over seven slices, and the epoch's mean loss. */
async function train(options: { batchSize: number; gradientAccumulationSteps?: number }) {
  const reads: Promise<Float32Array[]>[] = [];
  let sam: Sam;
  const read = () =>
    reads.push(
      Promise.all(sam.trainableParameters().flatMap(([, { grad }]) => grad?.data() ?? [])),
    );
  const { result: { epochs: [{ steps, trainLoss }] } } = await watchingSteps(
    read,
    () =>
      trainTiny(discData("accumulated", 7), {
        epochs: 1,
        prompt: "tight-box",
        flip: 0,
        learningRate: 1e-6, // so small that a step's weights hardly differ by how it was computed
        prepare: async (built) => {
          sam = built;
          await injectLora(sam, { r: 2, lora_alpha: 2, random: new Random(0) });
          trainLastAttention(sam);
        },
        ...options,
      }),
  );
  const gradients = (await Promise.all(reads)).map((parts) => parts.flatMap((part) => [...part]));
  assertEquals(steps, gradients.length);
  return { gradients, trainLoss };
}

/** |a - b| / |b| by the Euclidean norm. */
function relativeDifference(a: readonly number[], b: readonly number[]): number {
  assertEquals(a.length, b.length);
  const norm = (values: readonly number[]) =>
    Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0));
  return norm(a.map((value, i) => value - b[i])) / norm(b);
}

Deno.test("gradients accumulated over batches are those of one batch of all their slices", async () => {
  const whole = await train({ batchSize: 7 });
  assertEquals(whole.gradients.length, 1);
  // 2 + 2 + 2 + 1 and 4 + 3 slices: the parts count by their slices.
  for (const [batchSize, gradientAccumulationSteps] of [[2, 4], [4, 2], [1, 7]]) {
    const parts = await train({ batchSize, gradientAccumulationSteps });
    assertEquals(parts.gradients.length, 1);
    const difference = relativeDifference(parts.gradients[0], whole.gradients[0]);
    console.log(`batches of ${batchSize}: gradients differ by ${difference.toExponential(1)}`);
    assert(difference < 1e-6, `${difference}`);
    assert(Math.abs(parts.trainLoss / whole.trainLoss - 1) < 1e-6);
  }
});

Deno.test("the last optimizer step of an epoch takes the batches that are left", async () => {
  const whole = await train({ batchSize: 3 }); // 3, 3, 1
  const parts = await train({ batchSize: 1, gradientAccumulationSteps: 3 });
  assertEquals([whole.gradients.length, parts.gradients.length], [3, 3]);
  parts.gradients.forEach((gradients, step) => {
    const difference = relativeDifference(gradients, whole.gradients[step]);
    assert(difference < 1e-4, `step ${step}: ${difference}`);
  });
});
