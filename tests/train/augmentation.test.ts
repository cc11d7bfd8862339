import { assertEquals, assertNotEquals } from "@std/assert";
import { AUGMENT_DEFAULTS, type AugmentOptions } from "../../lib/data/augment_options.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { fit } from "../../lib/train/fit.ts";
import type { FitOptions } from "../../lib/train/plan.ts";
import type { TrainingState } from "../../lib/train/resume.ts";
import { gpu } from "../gpu.ts";
import { adaptLastBlock } from "./adapt_last_block.ts";
import { countEncoded } from "./count_encoded.ts";
import { discs } from "./discs.ts";
import { tinySam } from "./tiny_sam.ts";
import { withoutCosts } from "./without_costs.ts";

const options = {
  batchSize: 2,
  epochs: 3,
  warmupSteps: 2,
  learningRate: 5e-3,
  prompt: "mixed",
  augment: AUGMENT_DEFAULTS,
} as const;

interface Chosen extends Partial<FitOptions> {
  cacheBytes?: number;
  cacheDiskBytes?: number;
  storage?: "f32" | "f16";
  from?: TrainingState;
  onCheckpoint?: (state: TrainingState) => void;
}

/** What a training came to, without its times, and how many images its encoder's first stage saw. */
async function train(chosen: Chosen = {}) {
  const { cacheBytes, cacheDiskBytes, storage, ...fitting } = chosen;
  const sam = tinySam();
  await adaptLastBlock(sam);
  const encoded = countEncoded(sam);
  using model = new SliceModel(sam, { side: 64, cacheBytes, cacheDiskBytes, storage });
  const reader = discs("augmented", { count: 7, width: 60, height: 44 });
  const parts = { reader, train: reader.refs.slice(0, 5), validation: reader.refs.slice(5) };
  const result = await fit(model, parts, { ...options, checkpointSeconds: 0, ...fitting });
  const weights = await Promise.all(sam.trainableParameters().map(([, t]) => t.data()));
  sam.dispose();
  return { outcome: { ...withoutCosts(result), weights }, encoded: encoded.images };
}

Deno.test("augmented training repeats for its seed, and each augmentation changes it", async () => {
  const { outcome } = await train();
  assertEquals((await train()).outcome, outcome);
  const losses = new Set<number>();
  const always = (name: keyof AugmentOptions): AugmentOptions => ({
    [name]: { ...AUGMENT_DEFAULTS[name], chance: 1 },
  });
  const names = Object.keys(AUGMENT_DEFAULTS) as (keyof AugmentOptions)[];
  const kinds = [{}, ...names.map(always), AUGMENT_DEFAULTS];
  for (const augment of kinds) {
    const { outcome: { epochs } } = await train({ augment, epochs: 1, flip: 0 });
    losses.add(epochs[0].trainLoss);
  }
  assertEquals(losses.size, kinds.length);
});

for (const augmentVariants of [0, 2]) {
  Deno.test(`a training with ${augmentVariants} variants that is gone on with ends with the same bits`, async () => {
    const states: TrainingState[] = [];
    const { outcome } = await train({
      augmentVariants,
      onCheckpoint: (state) => states.push(state),
    });
    assertEquals(states.length, 3 * 4);
    for (const i of [0, 5, 7]) {
      assertEquals((await train({ augmentVariants, from: states[i] })).outcome, outcome, `${i}`);
    }
  });
}

Deno.test("each variant is encoded once, in memory or on disk; what is drawn anew never is kept", async () => {
  const augment = {
    rotation: { degrees: 20, chance: 1 },
    noise: { low: 0.1, high: 0.1, chance: 1 },
  };
  const chosen = { augment, flip: 0, epochs: 7, patience: 7, augmentVariants: 2 };
  // Five slices in three variants each, and two to validate on.
  const cached = await train(chosen);
  assertEquals(cached.encoded, 5 * 3 + 2);
  const uncached = await train({ ...chosen, cacheBytes: 0 });
  assertEquals(uncached.encoded, 7 * (5 + 2));
  assertEquals(uncached.outcome, cached.outcome, "a cache changes no number");
  const onDisk = await train({ ...chosen, cacheBytes: 0, cacheDiskBytes: 2 ** 24 });
  assertEquals(onDisk.encoded, 5 * 3 + 2);
  assertEquals(onDisk.outcome, cached.outcome);
  const half = await train({ ...chosen, storage: "f16" });
  assertEquals(half.encoded, 5 * 3 + 2);
  const fresh = await train({ ...chosen, augmentVariants: 0 });
  assertEquals(fresh.encoded, 7 * 5 + 2, "validation slices are kept all the same");
  assertNotEquals(fresh.outcome, cached.outcome);
});

Deno.test("augmented training leaves nothing on the device", async () => {
  await train({ epochs: 1 });
  const before = gpu.memory.live;
  await train({ epochs: 2 });
  await train({ epochs: 2, augmentVariants: 1 });
  assertEquals(gpu.memory.live, before);
});
