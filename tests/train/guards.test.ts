import { assert, assertEquals, assertThrows } from "@std/assert";
import { PROMPT_KINDS } from "../../lib/data/prompts.ts";
import { Random } from "../../lib/random.ts";
import { evaluationPrompt } from "../../lib/evaluate/scored_prompts.ts";
import {
  allOnesDice,
  checkAutomaticPrompts,
  checkOutputs,
  checkPatients,
  checkScores,
  GuardError,
} from "../../lib/evaluate/guards.ts";
import { areFinite, type BatchFigures, type GuardOptions, Guards } from "../../lib/train/guards.ts";
import type { MaskFigures } from "../../lib/evaluate/mask_figures.ts";
import { AUTOMATIC_PROMPTS } from "../../lib/evaluate/scored_prompts.ts";
import { discs } from "./discs.ts";

const options: GuardOptions = {
  learningRate: 1e-3,
  warmupSteps: 4,
  batchesPerEpoch: 10,
  learningRateAt: () => 1e-3,
};

/** Masks of ones on slices of which 2 and 4 % are tumour. */
const ones: MaskFigures[] = [0.02, 0.04].map((truth, i) => ({
  dice: allOnesDice(truth),
  predicted: 1,
  truth,
  odd: 0,
  output: i,
}));

/** Masks as a model gives them that is learning. */
const sound: MaskFigures[] = ones.map((mask, i) => ({
  ...mask,
  dice: 0.8 + i / 10,
  predicted: 0.03,
}));

const batch = (step: number, figures: Partial<BatchFigures> = {}): BatchFigures => ({
  step,
  loss: 0.4,
  norm: 0.5,
  masks: sound,
  ...figures,
});

/** Guard and step of the first batch that is caught, from step 1 on; null if none is. */
function caught(
  figures: (step: number) => Partial<BatchFigures>,
  { guards = new Guards(options), steps = 200, from = 1 } = {},
): string | null {
  for (let step = from; step <= steps; step++) {
    try {
      guards.batch(batch(step, figures(step)));
    } catch (error) {
      assert(error instanceof GuardError);
      assert(error.message.length > 40 && !error.message.includes("\n"));
      return `${error.guard} ${error.step}`;
    }
  }
  return null;
}

Deno.test("what is not finite is seen by its bits", () => {
  const finite = [0, -0, 1e-45, 3.4e38, -3.4e38];
  assert(areFinite(Float32Array.from(finite)));
  for (const value of [NaN, Infinity, -Infinity]) assert(!areFinite(Float32Array.of(1, value)));
  const quiet = new Float32Array(new Uint32Array([0xffc0_0001]).buffer);
  assert(!areFinite(quiet));
  assertEquals(caught((step) => step === 7 ? { loss: NaN } : {}), "non-finite 7");
  assertEquals(caught((step) => step === 9 ? { norm: Infinity } : {}), "non-finite 9");
  assertEquals(caught(() => ({})), null);
});

Deno.test("steps that half precision skips are no fault, but many in a row are one", () => {
  const half = () => new Guards({ ...options, skipsSteps: true });
  const skipped = (step: number) => step < 19 || step % 3 === 0;
  const norms = (step: number) => ({ norm: skipped(step) ? Infinity : 0.5 });
  assertEquals(caught(norms, { guards: half() }), null);
  assertEquals(caught(() => ({ norm: NaN }), { guards: half() }), "non-finite 20");
  assertEquals(caught(() => ({ loss: NaN }), { guards: half() }), "non-finite 1");
  const guards = half();
  guards.batch(batch(1, { norm: NaN }));
  assert(guards.haveSkipped(1) && !guards.haveSkipped(2), "weights have yet to change");
  const again = new Guards({ ...options, skipsSteps: true, state: guards.state });
  assertEquals(caught(() => ({ norm: NaN }), { guards: again, from: 2 }), "non-finite 20");
});

Deno.test("a target that is no mask is caught at once", () => {
  assertEquals(
    caught(() => ({ masks: [sound[0], { ...sound[1], odd: 3 }] })),
    "target-not-binary 1",
  );
});

Deno.test("steps without a gradient are caught in a row, and single ones are not", () => {
  assertEquals(caught(() => ({ norm: 0 })), "no-gradient 3");
  assertEquals(caught((step) => ({ norm: step % 3 === 0 ? 1 : 0 })), null);
  assertEquals(caught(() => ({ norm: null })), null, "batches that are not the last of their step");
});

Deno.test("masks of more than half of the image are caught after the warm-up and an epoch", () => {
  const large = sound.map((mask) => ({ ...mask, predicted: 0.6, dice: 0.05 }));
  // Four steps of warm-up, and 32 batches since an epoch has but ten.
  assertEquals(caught(() => ({ masks: large })), "whole-image-mask 36");
  const long = new Guards({ ...options, batchesPerEpoch: 50 });
  assertEquals(caught(() => ({ masks: large }), { guards: long }), "whole-image-mask 54");
});

Deno.test("a pretrained model that starts with everything on and learns is let alone", () => {
  // From the whole image to a tenth within 60 steps, as under whole-image prompts.
  const shrinking = (step: number) =>
    sound.map((mask) => ({ ...mask, dice: 0.1, predicted: Math.max(0.1, 1 - step / 66) }));
  assertEquals(caught((step) => ({ masks: shrinking(step) })), null);
  // Everything on under one prompt in three.
  assertEquals(caught((step) => ({ masks: step % 3 === 0 ? ones : sound })), null);
  // Everything on in the warm-up, or in a training of few steps.
  assertEquals(caught((step) => ({ masks: step <= 20 ? ones : sound })), null);
  assertEquals(caught(() => ({ masks: ones }), { steps: 35 }), null);
  // Tumours that fill the image.
  const big = ones.map((mask) => ({ ...mask, truth: 0.6, dice: allOnesDice(0.6) }));
  assertEquals(caught(() => ({ masks: big })), null);
});

Deno.test("Dice of a mask of ones is caught where the mask itself is not seen", () => {
  const masks = ones.map((mask) => ({ ...mask, predicted: 0.4 }));
  assertEquals(caught(() => ({ masks })), "all-ones-dice 36");
  const near = ones.map((mask) => ({ ...mask, predicted: 0.4, dice: 1.1 * mask.dice }));
  assertEquals(caught(() => ({ masks: near })), null);
});

Deno.test("a loss that rises above knowing nothing is caught, a high one that falls is not", () => {
  assertEquals(caught((step) => ({ loss: step < 10 ? 0.5 : 5 })), "diverging-loss 41");
  assertEquals(caught((step) => ({ loss: 12 * 0.97 ** step })), null);
  assertEquals(caught((step) => ({ loss: step % 8 === 0 ? 1 : 5 })), null);
});

Deno.test("what guards remember goes on, wherever a training is stopped", () => {
  const figures = (step: number) => ({ masks: ones, loss: 0.3 + 0.01 * step });
  const whole = caught(figures);
  for (const stop of [2, 5, 20, 35]) {
    const first = new Guards(options);
    assertEquals(caught(figures, { guards: first, steps: stop }), null);
    const state = JSON.parse(JSON.stringify(first.state));
    const guards = new Guards({ ...options, state });
    assertEquals(caught(figures, { guards, from: stop + 1 }), whole, `stopped after ${stop}`);
  }
});

Deno.test("weights that do not change are caught, all of them or one adapter of the encoder", () => {
  const names = [
    "image_encoder.layers.1.blocks.0.attn.qkv.lora_A.weight",
    "image_encoder.layers.1.blocks.0.attn.qkv.lora_B.weight",
    "mask_decoder.iou_prediction_head.layers.0.weight",
  ];
  const check = (before: number[], after: number[], norm = 1) => {
    const guards = new Guards(options);
    for (let step = 1; step <= 2; step++) guards.batch(batch(step, { norm }));
    try {
      guards.weights(names, { before, after, step: 2 });
      return null;
    } catch (error) {
      return (error as GuardError).guard +
        ((error as Error).message.includes("lora_B") ? " B" : "");
    }
  };
  assertEquals(check([1, 2, 3], [4, 5, 6]), null);
  assertEquals(check([1, 2, 3], [4, 5, 3]), null, "the IoU head takes no part in the loss");
  assertEquals(check([1, 2, 3], [1, 2, 3]), "unchanged-weights");
  assertEquals(check([1, 2, 3], [1, 2, 3], 0), "no-gradient");
  assertEquals(check([1, 2, 3], [4, 2, 6]), "unchanged-weights B");
});

Deno.test("a loss is caught that is the same for other targets, or does not mind everything on", () => {
  const probe = { present: 0.4, shuffled: 1.2, on: 10.7, surer: 20.5, truth: 0.03 };
  const check = (changed: Partial<typeof probe>) => {
    try {
      new Guards(options).loss({ ...probe, ...changed });
      return null;
    } catch (error) {
      return (error as GuardError).guard;
    }
  };
  assertEquals(check({}), null);
  assertEquals(check({ shuffled: 0.4 }), "target-blind-loss");
  assertEquals(check({ on: 0.96, surer: 0.96 }), "all-on-blind-loss");
  assertEquals(check({ on: 0.96, surer: 0.96, truth: 0.6 }), null, "more than half is tumour");
});

Deno.test("validation is caught that scores a buffer", () => {
  const validate = (epochs: number[][], { learningRate = 1e-3 } = {}) => {
    const guards = new Guards({ ...options, learningRateAt: () => learningRate });
    try {
      epochs.forEach((outputs, epoch) =>
        guards.validation(outputs.map((output) => ({ ...sound[0], output })), {
          loss: 0.5,
          step: 10 * (epoch + 1),
        })
      );
      return null;
    } catch (error) {
      return `${(error as GuardError).guard} ${(error as GuardError).step}`;
    }
  };
  assertEquals(validate([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), null);
  assertEquals(validate([[7, 7, 7]]), "untouched-output 10");
  assertEquals(validate([[1, 2, 3], [1, 2, 3]]), "untouched-output 20");
  assertEquals(validate([[7]]), null, "a single slice says nothing");
  // Steps too small for an f32 to see may change no output.
  assertEquals(validate([[1, 2, 3], [1, 2, 3]], { learningRate: 1e-12 }), null);
});

Deno.test("validation Dice of a mask of ones is caught in its second epoch", () => {
  const validate = (steps: number[]) => {
    const guards = new Guards(options);
    try {
      steps.forEach((step) =>
        guards.validation(ones.map((mask) => ({ ...mask, output: mask.output + step })), {
          loss: 0.5,
          step,
        })
      );
      return null;
    } catch (error) {
      return `${(error as GuardError).guard} ${(error as GuardError).step}`;
    }
  };
  assertEquals(validate([40, 80]), "all-ones-dice 80");
  assertEquals(validate([40]), null);
  assertEquals(validate([1, 2, 3]), null, "epochs of one step");
});

Deno.test("patients in two parts are caught, and shared ones only with the same slices", () => {
  const item = (id: string, patient: string) => ({ id, patient });
  const train = [item("a:1", "a"), item("b:1", "b")];
  checkPatients({ train, validation: [item("c:1", "c")], test: [item("d:1", "d")] });
  const shared = { shared: ["train", "validation"] };
  checkPatients({ train, validation: [item("b:2", "b")] }, shared);
  const overlaps = [
    [{ train, validation: [item("b:2", "b")] }, {}],
    [{ train, validation: [item("b:1", "b")] }, shared],
    [{ train, validation: [], test: [item("a:7", "a")] }, shared],
  ] as const;
  for (const [parts, given] of overlaps) {
    const { guard } = assertThrows(() => checkPatients(parts, given), GuardError);
    assertEquals(guard, "patient-overlap");
  }
});

Deno.test("prompts that count as automatic look at no truth, and all others would be caught", async () => {
  const reader = discs("prompts", { count: 3 });
  for (const ref of reader.refs) {
    const slice = { ...await reader.read(ref), width: ref.width, height: ref.height };
    const draw = (kind: typeof PROMPT_KINDS[number], shown: typeof slice) =>
      evaluationPrompt(kind, shown, 0);
    for (const kind of PROMPT_KINDS) {
      if (AUTOMATIC_PROMPTS.includes(kind)) checkAutomaticPrompts([kind], slice, draw);
      else {
        const check = () => checkAutomaticPrompts([kind], slice, draw);
        assertEquals(assertThrows(check, GuardError).guard, "leaking-prompt", kind);
      }
    }
    // A tight box under the name of the whole image.
    const leaking = (_: "whole-image", shown: typeof slice) =>
      evaluationPrompt("tight-box", shown, 0);
    assertThrows(() => checkAutomaticPrompts(["whole-image"], slice, leaking), GuardError);
  }
});

Deno.test("scores of masks of ones and outputs of one buffer are caught", () => {
  checkScores(sound, { what: "sound" });
  checkScores([], { what: "nothing" });
  assertThrows(() => checkScores(ones, { what: "LoRA-4" }), GuardError, "LoRA-4");
  checkOutputs([1, 2, 1], { what: "test" });
  assertThrows(() => checkOutputs([5, 5, 5], { what: "test" }), GuardError, "3 different images");
});

Deno.test("random sound figures never trip a guard", () => {
  const random = new Random("sound");
  for (let run = 0; run < 200; run++) {
    const warmupSteps = random.int(30);
    const guards = new Guards({ ...options, warmupSteps, batchesPerEpoch: 1 + random.int(60) });
    const start = random.uniformIn(0.3, 15); // a pretrained model may begin with any loss
    const halving = random.uniformIn(5, 25);
    for (let step = 1; step <= 120; step++) {
      const left = 0.5 ** (step / halving);
      guards.batch(batch(step, {
        loss: (0.2 + start * left) * random.uniformIn(0.7, 1.3),
        norm: random.uniformIn(1e-6, 10),
        masks: sound.map((mask) => ({
          ...mask,
          dice: random.uniform(),
          predicted: Math.min(1, mask.truth + left * random.uniformIn(0.5, 1)),
        })),
      }));
    }
  }
});
