import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import type { AugmentedSlice } from "../../lib/data/augment.ts";
import type { Prompt } from "../../lib/data/prompts.ts";
import { InputError } from "../../lib/errors.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import type { EpochMetrics, FitProgress } from "../../lib/train/training.ts";
import { fit } from "../../lib/train/fit.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { readOptions } from "../experiments/read_options.ts";
import { countEncoded } from "./count_encoded.ts";
import { tinySam } from "./tiny_sam.ts";
import {
  adaptLastBlock,
  assertSameOutcome,
  discData,
  trainLastAttention,
  trainTiny,
} from "./train_tiny.ts";

/** Four slices to train on and two to validate on. */
const data = () => discData("disc", 4);

const quick = { batchSize: 2, warmupSteps: 2, prompt: "tight-box", learningRate: 2e-3 } as const;

/** A tiny SAM of which little is trainable. */
function trainableSam(): Sam {
  const sam = tinySam();
  trainLastAttention(sam);
  return sam;
}

Deno.test("LoRA on MobileSAM learns discs", async () => {
  const sam = await loadSam(gpu);
  await injectLora(sam.imageEncoder, { r: 4, lora_alpha: 4, random: new Random(0) });
  using model = new SliceModel(sam, { side: 64 });
  const { epochs } = await fit(model, data(), {
    ...quick,
    epochs: 4,
    learningRate: 5e-3,
    prompt: "whole-image",
    validationPrompt: "whole-image",
  });
  assertEquals(epochs.map(({ epoch, steps }) => [epoch, steps]), [[1, 2], [2, 2], [3, 2], [4, 2]]);
  const losses = epochs.map(({ validationLoss }) => validationLoss);
  console.log(`validation losses ${losses.map((loss) => loss.toFixed(3)).join(", ")}`);
  assert(losses[3] < 0.9 * losses[0]);
  sam.dispose();
});

Deno.test("the seed decides order, flips and prompts, and the same seed gives the same bits", async () => {
  const train = (seed: number) =>
    trainTiny(data(), {
      ...quick,
      epochs: 2,
      prompt: "mixed",
      seed,
      prepare: (sam) => adaptLastBlock(sam, { lora_dropout: 0.1 }),
    });
  const first = await train(1);
  assertSameOutcome(await train(1), first);
  const other = await train(2);
  assert(other.result.epochs[0].trainLoss !== first.result.epochs[0].trainLoss);
});

Deno.test("with a cache and without one training is the same, bit for bit", async () => {
  const everyBlock = (sam: Sam) =>
    injectLora(sam.imageEncoder, { r: 2, lora_alpha: 2, random: new Random(0) });
  for (const prepare of [trainLastAttention, everyBlock]) {
    const train = (cacheBytes: number) =>
      trainTiny(data(), { ...quick, epochs: 3, learningRate: 5e-3, cacheBytes, prepare });
    const cached = await train(2 ** 24);
    const { epochs } = cached.result;
    assert(epochs[2].trainLoss < epochs[0].trainLoss);
    assertSameOutcome(await train(0), cached);
  }
});

Deno.test("training the decoder alone encodes no slice twice", async () => {
  const sam = trainableSam();
  const encoded = countEncoded(sam);
  using model = new SliceModel(sam, { side: 64 });
  const parts = data();
  await fit(model, parts, { ...quick, epochs: 2, flip: 0 });
  assertEquals(encoded.images, 6);
  assert(parts.reader.reads > 6, "though slices are read again for their masks");
  await fit(model, parts, { ...quick, epochs: 2, flip: 1 });
  assertEquals(encoded.images, 6 + 4, "flipped slices are other pixels");
  sam.dispose();
});

/** A model whose answers on the validation slices, and so their Dice, follow a script. */
class ScriptedModel extends SliceModel {
  /** Calls of decode on validation slices so far: one an epoch. */
  validations = 0;

  constructor(sam: Sam, readonly script: readonly number[], readonly validation: Set<string>) {
    super(sam, { side: 64 });
  }

  override decode(
    embeddings: Tensor,
    slices: readonly AugmentedSlice[],
    prompts: readonly Prompt[],
  ): Tensor {
    if (!this.validation.has(slices[0].slice.ref.id)) {
      return super.decode(embeddings, slices, prompts);
    }
    const dice = this.script[this.validations++];
    // A share s of the mask's pixels, and none beside, has a Dice of 2 s / (1 + s).
    const share = dice / (2 - dice);
    const logits = slices.flatMap(({ slice: { mask, ref } }) => {
      let left = Math.round(share * ref.tumourVoxels);
      return Array.from(mask, (pixel) => pixel && left-- > 0 ? 1 : -1);
    });
    return Tensor.from(gpu, logits, [slices.length, 64, 64]);
  }
}

Deno.test("training stops when validation Dice no longer rises, with the best epoch's weights", async () => {
  const sam = trainableSam();
  const parts = data();
  const ids = new Set(parts.validation.map(({ id }) => id));
  using model = new ScriptedModel(sam, [0.3, 0.8, 0.5, 0.79, 0.8, 0.9], ids);
  const [, parameter] = sam.trainableParameters()[0];
  const seen: { metrics: EpochMetrics; best: boolean; weights: Float32Array }[] = [];
  const result = await fit(model, parts, {
    ...quick,
    epochs: 6,
    patience: 3,
    onEpoch: async (metrics, best) => {
      seen.push({ metrics, best, weights: await parameter.data() });
    },
  });
  assertEquals(seen.map(({ best }) => best), [true, true, false, false, false]);
  assertEquals(
    seen.map(({ metrics }) => Math.round(100 * metrics.validationDice) / 100),
    [0.3, 0.8, 0.5, 0.79, 0.8],
  );
  assertEquals([result.bestEpoch, result.stoppedEarly, result.epochs.length], [2, true, 5]);
  assertEquals(result.epochs, seen.map(({ metrics }) => metrics));
  const restored = await parameter.data();
  assertSameBits(restored, seen[1].weights, "the restored weights");
  assert(restored.some((value, i) => value !== seen[4].weights[i]));
  sam.dispose();
});

Deno.test("a rise within the patience goes on, and the last epoch may be the best", async () => {
  const sam = trainableSam();
  const parts = data();
  const ids = new Set(parts.validation.map(({ id }) => id));
  using model = new ScriptedModel(sam, [0.5, 0.4, 0.6, 0.3, 0.7], ids);
  const result = await fit(model, parts, { ...quick, epochs: 5, patience: 2 });
  assertEquals([result.bestEpoch, result.stoppedEarly, result.epochs.length], [5, false, 5]);
  sam.dispose();
});

Deno.test("progress tells the slices done and their mean loss and Dice", async () => {
  const seen: FitProgress[] = [];
  const { result: { epochs } } = await trainTiny(discData("many", 9), {
    ...quick,
    epochs: 2,
    prepare: trainLastAttention,
    onProgress: (progress) => seen.push(progress),
  });
  const places = seen.map(({ epoch, done, total }) => [epoch, done, total]);
  // Every eighth step of two slices is looked at, and the end of an epoch of five.
  assertEquals(places, [[1, 9, 9], [2, 6, 9], [2, 9, 9]]);
  epochs.forEach(({ trainLoss, trainDice, learningRate }, i) => {
    const { loss, dice } = seen[2 * i];
    assertEquals([trainLoss, trainDice], [loss, dice]);
    assert(loss > 0 && dice >= 0 && dice <= 1 && learningRate > 0);
  });
});

Deno.test("dropout is on in training and off in validation and afterwards", async () => {
  const sam = tinySam();
  const adapters = await injectLora(sam.imageEncoder, {
    r: 2,
    lora_alpha: 2,
    lora_dropout: 0.2,
    random: new Random(0),
  });
  const states: boolean[] = [];
  for (const adapter of adapters.values()) {
    const forward = adapter.forward.bind(adapter);
    adapter.forward = (x: Tensor) => {
      states.push(adapter.training);
      return forward(x);
    };
  }
  using model = new SliceModel(sam, { side: 64 });
  await fit(model, data(), { ...quick, epochs: 1 });
  assertEquals(states.filter((state, i) => state !== states[i - 1]), [true, false]);
  assert([...adapters.values()].every(({ training }) => !training));
  sam.dispose();
});

Deno.test("training leaves nothing on the device", async () => {
  const train = () => trainTiny(data(), { ...quick, epochs: 1, ema: 0.5 });
  await train();
  const before = gpu.memory.live;
  await train();
  assertEquals(gpu.memory.live, before);
});

Deno.test("what cannot be trained is refused in words", async () => {
  const sam = tinySam();
  using model = new SliceModel(sam, { side: 64 });
  await assertRejects(() => fit(model, data(), { epochs: 1 }), Error, "nothing is trainable");
  trainLastAttention(sam);
  for (
    const [option, flag] of [
      ["promptsPerStep", "--prompts-per-step"],
      ["promptIterations", "--prompt-iterations"],
    ]
  ) {
    const reason = "cannot be 1000000: give 100 or less";
    assertThrows(() => readOptions([flag, "1000000"]), InputError, `${flag} ${reason}`);
    await assertRejects(
      () => fit(model, data(), { epochs: 1, [option]: 1_000_000 }),
      InputError,
      `${option} ${reason}`,
    );
  }
  for (const part of ["train", "validation"] as const) {
    await assertRejects(
      () => fit(model, { ...data(), [part]: [] }, { epochs: 1 }),
      InputError,
      `there are no slices for ${part}`,
    );
  }
  await assertRejects(
    () => fit(model, data(), { ...quick, epochs: 3, warmupSteps: 0, learningRate: 1e38 }),
    InputError,
    "is not finite",
  );
  sam.dispose();
});

Deno.test("pretrained weights learn at their own rate, beside adapters and alone", async () => {
  for (const adapters of [true, false]) {
    const sam = tinySam();
    if (adapters) await adaptLastBlock(sam);
    trainLastAttention(sam);
    using model = new SliceModel(sam, { side: 64 });
    const read = () =>
      Promise.all(
        sam.trainableParameters().map(async ([path, tensor]) => ({
          path,
          values: await tensor.data(),
        })),
      );
    const before = await read();
    const { epochs } = await fit(model, discData("rates", 3), {
      epochs: 1,
      batchSize: 3,
      warmupSteps: 0,
      schedule: "constant",
      learningRate: 1e-2,
      pretrainedLearningRate: 1e-3,
    });
    // Adam's first step is of the rate's length wherever there is a gradient.
    const longest = { adapters: 0, pretrained: 0 };
    (await read()).forEach(({ path, values }, i) => {
      const kind = path.includes(".lora_") ? "adapters" : "pretrained";
      values.forEach((value, j) => {
        longest[kind] = Math.max(longest[kind], Math.abs(value - before[i].values[j]));
      });
    });
    assertAlmostEquals(longest.adapters, adapters ? 1e-2 : 0, 1e-4);
    assertAlmostEquals(longest.pretrained, 1e-3, 1e-5);
    assertEquals(epochs[0].learningRate, adapters ? 1e-2 : 1e-3);
    sam.dispose();
  }
});
