import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import type { SliceReader } from "../../lib/data/loader.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { evaluate, meanDice } from "../../lib/evaluate/evaluate.ts";
import { evaluationPrompt } from "../../lib/evaluate/scored_prompts.ts";
import { scoreMask } from "../../lib/metrics/mask_score.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { gpu } from "../gpu.ts";
import { discs } from "../train/discs.ts";
import { tinySam } from "../train/tiny_sam.ts";

const sam = tinySam();
const square = discs("square", { count: 3 });
const wide = discs("wide", { count: 2, width: 80, height: 50 });
/** Slices of two sizes, mixed. */
const refs = [square.refs[0], wide.refs[0], square.refs[1], square.refs[2], wide.refs[1]];
const reader: SliceReader = {
  read: (ref) => (ref.id.startsWith("square") ? square : wide).read(ref),
};
const kinds = ["tight-box", "jittered-box", "point", "whole-image"] as const;

Deno.test("scores and losses are those of the masks, read back and compared pixel by pixel", async () => {
  using model = new SliceModel(sam, { side: 64 });
  const evaluation = await evaluate(model, { reader, refs }, {
    prompts: kinds,
    seed: 3,
    batchSize: 2,
  });
  assertEquals(evaluation.slices.map(({ id }) => id), refs.map(({ id }) => id));
  const losses = kinds.map(() => 0);
  for (const [i, ref] of refs.entries()) {
    const slice = await reader.read(ref);
    const { scores, patient, tumourPixels } = evaluation.slices[i];
    assertEquals([patient, tumourPixels], [ref.patient, ref.tumourVoxels]);
    for (const [k, kind] of kinds.entries()) {
      const logits = await (() => {
        using _ = new Scope(gpu);
        const samples = [{ slice, variant: "" }];
        const prompts = [evaluationPrompt(kind, slice, 3)];
        return noGrad(gpu, () => model.decode(model.encode(samples), samples, prompts)).data();
      })();
      const prediction = Uint8Array.from(logits, (logit) => Number(logit > 0));
      const expected = scoreMask(prediction, slice.mask, {
        level: "slice",
        shape: [ref.width, ref.height, 1],
        spacing: [1, 1, 1],
      });
      assertAlmostEquals(scores[kind]!.dice, expected.dice, 1e-6);
      assertAlmostEquals(scores[kind]!.iou, expected.iou!, 1e-6);

      let [cross, both, total] = [0, 0, 0];
      logits.forEach((x, j) => {
        const t = slice.mask[j];
        const p = 1 / (1 + Math.exp(-x));
        cross += (Math.max(x, 0) - x * t + Math.log1p(Math.exp(-Math.abs(x)))) / logits.length;
        both += p * t;
        total += p + t;
      });
      losses[k] += (cross + 1 - (2 * both + 1) / (total + 1)) / refs.length;
    }
  }
  kinds.forEach((kind, k) => {
    assertAlmostEquals(evaluation.losses[kind]!, losses[k], 1e-4);
    const scores = evaluation.slices.map((slice) => slice.scores[kind]!.dice);
    assertAlmostEquals(meanDice(evaluation, kind), scores.reduce((a, b) => a + b) / 5, 1e-12);
  });
});

Deno.test("neither batches nor order decide a slice's score, the seed decides its jitter", async () => {
  using model = new SliceModel(sam, { side: 64 });
  const options = { prompts: ["jittered-box"], seed: 3 } as const;
  const progress: number[] = [];
  const one = await evaluate(model, { reader, refs }, {
    ...options,
    batchSize: 1,
    onProgress: (done) => progress.push(done),
  });
  assertEquals(progress, [1, 2, 3, 4, 5]);
  const three = await evaluate(model, { reader, refs: refs.toReversed() }, {
    ...options,
    batchSize: 3,
  });
  one.slices.forEach(({ id, scores }, i) => {
    const other = three.slices[4 - i];
    assertEquals(other.id, id);
    assertAlmostEquals(other.scores["jittered-box"]!.dice, scores["jittered-box"]!.dice, 2e-3);
  });
  const slice = await reader.read(refs[0]);
  assertEquals(
    evaluationPrompt("jittered-box", slice, 3),
    evaluationPrompt("jittered-box", slice, 3),
  );
  assert(
    String(evaluationPrompt("jittered-box", slice, 4).box) !==
      String(evaluationPrompt("jittered-box", slice, 3).box),
  );
});

Deno.test("evaluating leaves nothing on the device but the cache, and that not after disposal", async () => {
  const options = { prompts: ["tight-box"], seed: 0 } as const;
  const data = { reader, refs: refs.slice(0, 2) };
  {
    using model = new SliceModel(sam, { side: 64 });
    await evaluate(model, data, options);
  } // the position embedding of this grid exists now
  const before = gpu.memory.live;
  const model = new SliceModel(sam, { side: 64 });
  await evaluate(model, data, options);
  assertEquals(gpu.memory.live, before + 2);
  await evaluate(model, data, options);
  assertEquals(gpu.memory.live, before + 2);
  model[Symbol.dispose]();
  assertEquals(gpu.memory.live, before);
});

Deno.test("what the cache has no memory for goes to disk before more of it is computed", async () => {
  const steps: string[] = [];
  class Watched extends SliceModel {
    override encode(...args: Parameters<SliceModel["encode"]>) {
      steps.push("encode");
      return super.encode(...args);
    }
    override async settle() {
      steps.push("settle");
      await super.settle();
    }
  }
  using model = new Watched(sam, { side: 64 });
  await evaluate(model, { reader, refs }, { prompts: ["point"], batchSize: 2 });
  assertEquals(steps, ["encode", "settle", "encode", "settle", "encode", "settle"]);
});
