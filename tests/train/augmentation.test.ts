import { assertEquals, assertNotEquals } from "@std/assert";
import { AUGMENT_DEFAULTS, type AugmentOptions } from "../../lib/data/augment_options.ts";
import type { FitOptions } from "../../lib/train/plan.ts";
import type { TrainingState } from "../../lib/train/resume.ts";
import type { FitCheckpoints } from "../../lib/train/training.ts";
import { gpu } from "../gpu.ts";
import { countEncoded } from "./count_encoded.ts";
import {
  adaptLastBlock,
  assertSameOutcome,
  discData,
  type TinyOptions,
  trainTiny,
} from "./train_tiny.ts";

const options = {
  batchSize: 2,
  epochs: 2,
  warmupSteps: 2,
  learningRate: 5e-3,
  prompt: "mixed",
  augment: AUGMENT_DEFAULTS,
} as const;

/** A training's outcome on three slices, and how many images its encoder's first stage saw. */
async function train(chosen: Partial<FitOptions> & FitCheckpoints & TinyOptions = {}) {
  const encoded = { images: () => 0 };
  const prepare: TinyOptions["prepare"] = async (sam) => {
    await adaptLastBlock(sam);
    const counted = countEncoded(sam);
    encoded.images = () => counted.images;
  };
  const data = discData("augmented", 3, { width: 60, height: 44 });
  const outcome = await trainTiny(data, { ...options, checkpointSeconds: 0, prepare, ...chosen });
  return { outcome, encoded: encoded.images() };
}

Deno.test("augmented training repeats for its seed, and each augmentation changes it", async () => {
  const { outcome } = await train();
  assertSameOutcome((await train()).outcome, outcome);
  const losses = new Set<number>();
  const always = (name: keyof AugmentOptions): AugmentOptions => ({
    [name]: { ...AUGMENT_DEFAULTS[name], chance: 1 },
  });
  const names = Object.keys(AUGMENT_DEFAULTS) as (keyof AugmentOptions)[];
  const kinds = [{}, ...names.map(always), AUGMENT_DEFAULTS];
  for (const augment of kinds) {
    const { outcome: { result } } = await train({ augment, epochs: 1, flip: 0 });
    losses.add(result.epochs[0].trainLoss);
  }
  assertEquals(losses.size, kinds.length);
});

for (const augmentVariants of [0, 2]) {
  Deno.test(`a training with ${augmentVariants} variants that is continued ends with the same bits`, async () => {
    const states: TrainingState[] = [];
    const { outcome } = await train({
      augmentVariants,
      onCheckpoint: (state) => void states.push(state),
    });
    assertEquals(states.length, 2 * 3);
    for (const i of [0, 3]) {
      const from = states[i];
      assertSameOutcome((await train({ augmentVariants, from })).outcome, outcome, `${i}`);
    }
  });
}

Deno.test("each variant is encoded once, in memory or on disk; what is drawn anew never is kept", async () => {
  const augment = {
    rotation: { degrees: 20, chance: 1 },
    noise: { low: 0.1, high: 0.1, chance: 1 },
  };
  const chosen = { augment, flip: 0, epochs: 6, earlyStopping: false, augmentVariants: 2 };
  // Three slices in three variants each, and two to validate on.
  const cached = await train(chosen);
  assertEquals(cached.encoded, 3 * 3 + 2);
  const uncached = await train({ ...chosen, cacheBytes: 0 });
  assertEquals(uncached.encoded, 6 * (3 + 2));
  assertSameOutcome(uncached.outcome, cached.outcome, "a cache changes no number");
  const onDisk = await train({ ...chosen, cacheBytes: 0, cacheDiskBytes: 2 ** 24 });
  assertEquals(onDisk.encoded, 3 * 3 + 2);
  assertSameOutcome(onDisk.outcome, cached.outcome, "on disk");
  const half = await train({ ...chosen, storage: "f16" });
  assertEquals(half.encoded, 3 * 3 + 2);
  const fresh = await train({ ...chosen, augmentVariants: 0 });
  assertEquals(fresh.encoded, 6 * 3 + 2, "validation slices are kept all the same");
  assertNotEquals(fresh.outcome.result, cached.outcome.result);
});

Deno.test("augmented training leaves nothing on the device", async () => {
  await train({ epochs: 1 });
  const before = gpu.memory.live;
  await train({ epochs: 1 });
  await train({ epochs: 1, augmentVariants: 1 });
  assertEquals(gpu.memory.live, before);
});
