import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import type { SliceReader } from "../../lib/data/loader.ts";
import type { Slice } from "../../lib/data/slices.ts";
import { InputError } from "../../lib/errors.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { Random } from "../../lib/random.ts";
import { diceBceLoss } from "../../lib/tensor/ops/losses.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { healthyBatches, TrainingPlan } from "../../lib/train/plan.ts";
import type { TrainingState } from "../../lib/train/resume.ts";
import { promptedLoss } from "../../lib/train/prompted_loss.ts";
import { gpu } from "../gpu.ts";
import { discs } from "./discs.ts";
import { tinySam } from "./tiny_sam.ts";
import { assertSameOutcome, trainLastAttention, trainTiny } from "./train_tiny.ts";

const made = discs("healthy", { count: 12 });

/** The last five discs without their truth: slices of another kind. */
const slices = await Promise.all(made.refs.map(async (ref, i): Promise<Slice> => {
  const slice = await made.read(ref);
  if (i < 7) return slice;
  return { ...slice, mask: slice.mask.map(() => 0), ref: { ...ref, tumourVoxels: 0 } };
}));
const refs = slices.map(({ ref }) => ref);
const reader: SliceReader = {
  read: ({ id }) => Promise.resolve(slices.find(({ ref }) => ref.id === id)!),
};
const data = {
  reader,
  train: refs.slice(0, 5),
  validation: refs.slice(5, 7),
  healthy: refs.slice(7),
};

Deno.test("an epoch has its share of tumour-free slices in batches of their own, each before any twice", () => {
  const sam = tinySam();
  trainLastAttention(sam);
  const options = { epochs: 1, batchSize: 2, healthyShare: 0.6 };
  const plan = new TrainingPlan(sam, data, options);
  sam.dispose();
  // 0.6 / 0.4 of five slices are 7.5: four batches of two.
  assertEquals(healthyBatches(5, options), 4);
  assertEquals([plan.batchesPerEpoch, plan.stepsPerEpoch], [7, 7]);
  for (let epoch = 0; epoch < 4; epoch++) {
    const batches = plan.batches(new Random(epoch)).map(({ refs }) => refs);
    assertEquals(batches.length, 7);
    const free = batches.filter(([first]) => first.tumourVoxels === 0);
    assert(batches.every((batch) => new Set(batch.map((r) => r.tumourVoxels > 0)).size === 1));
    assertEquals(free.length, 4);
    // Three batches hold all five; the fourth begins anew.
    assertEquals(new Set(free.flat()).size, 5);
    const others = batches.filter(([first]) => first.tumourVoxels > 0).flat();
    assertEquals(new Set(others), new Set(data.train));
    assertEquals(others.length, 5);
  }
  assertEquals(healthyBatches(5, { ...options, healthyShare: 0 }), 0);
});

Deno.test("tumour-free slices are prompted by the whole image once, whatever the others are", async () => {
  const seen: string[] = [];
  const options = {
    epochs: 1,
    batchSize: 2,
    healthyShare: 0.5,
    prompt: "point",
    promptsPerStep: 2,
    promptIterations: 2,
    iouLoss: 1,
    prepare: trainLastAttention,
  } as const;
  const outcome = await trainTiny(data, {
    ...options,
    arrange: (model) => {
      const decode = model.decodeStep.bind(model);
      model.decodeStep = (embeddings, samples, step) => {
        const free = samples.every(({ slice }) => slice.ref.tumourVoxels === 0);
        const kinds = step.prompts.map((prompt) => Object.keys(prompt).join());
        seen.push(`${free ? "free" : "tumour"} ${[...new Set(kinds)]}`);
        return decode(embeddings, samples, step);
      };
    },
  });
  const count = (text: string) => seen.filter((one) => one === text).length;
  // Of five slices in three batches both prompts at once, two masks each; of two or three others one mask each.
  assertEquals(count("tumour points"), 3 * 2);
  assertEquals(count("free box"), healthyBatches(5, options));
  assertEquals(count("tumour box"), 1); // validation, under the tight box
  const [{ trainLoss, steps }] = outcome.result.epochs;
  assertEquals(steps, 3 + healthyBatches(5, options));
  assert(Number.isFinite(trainLoss));
  // Stopped within the epoch and continued, it comes to the same bits.
  let state: TrainingState | null = null;
  const stopped = { ...options, checkpointSeconds: 0 };
  const onCheckpoint = (one: TrainingState) => {
    if (one.position.batch === 4) state = one;
  };
  assertSameOutcome(await trainTiny(data, { ...stopped, onCheckpoint }), outcome);
  assertSameOutcome(await trainTiny(data, { ...options, from: state }), outcome);
});

Deno.test("the loss of an empty truth is finite, and that of the estimated IoU what float64 gives", async () => {
  const sam = tinySam();
  trainLastAttention(sam);
  using model = new SliceModel(sam, { side: 64 });
  using _ = new Scope(gpu);
  for (const group of [slices.slice(0, 2), slices.slice(7, 9)]) {
    const samples = group.map((slice) => ({ slice, variant: "" }));
    const prompts = samples.map(() => ({
      box: [0, 0, 64, 64] as [number, number, number, number],
    }));
    const { logits, iouPredictions } = model.decodeStep(model.encode(samples), samples, {
      prompts,
    });
    const [values, ious] = [await logits.detach().data(), await iouPredictions.detach().data()];
    const errors = group.map(({ mask }, i) => {
      const own = values.subarray(i * mask.length, (i + 1) * mask.length);
      const both = mask.filter((pixel, j) => pixel && own[j] > 0).length;
      const either = mask.filter((pixel, j) => pixel || own[j] > 0).length;
      return (ious[i] - both / Math.max(1, either)) ** 2;
    });
    const plain = (await diceBceLoss(logits.detach(), model.target(samples)).loss.data())[0];
    const { loss } = await promptedLoss(model, samples, {
      prompts: [prompts],
      iterations: 1,
      random: new Random(0),
      iouLoss: 0.5,
    });
    assertAlmostEquals((await loss.data())[0], plain + 0.5 * (errors[0] + errors[1]) / 2, 1e-5);
    // Soft Dice of nothing: 1 - 1 / (1 + the sum of probabilities), beside the cross-entropy.
    if (group[0].ref.tumourVoxels > 0) continue;
    const expected = group.map(({ mask }, i) => {
      const own = [...values.subarray(i * mask.length, (i + 1) * mask.length)];
      const sum = own.reduce((sum, x) => sum + 1 / (1 + Math.exp(-x)), 0);
      const entropy = own.reduce((sum, x) => sum + Math.log1p(Math.exp(x)), 0) / own.length;
      return 1 - 1 / (1 + sum) + entropy;
    });
    assertAlmostEquals(plain, (expected[0] + expected[1]) / 2, 1e-4);
  }
  sam.dispose();
});

Deno.test("a share without tumour-free slices is refused", async () => {
  const { healthy: _, ...none } = data;
  const options = { epochs: 1, healthyShare: 0.5, prepare: trainLastAttention };
  await assertRejects(() => trainTiny(none, options), InputError, "no tumour-free slices");
});
