import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { zeros } from "../../lib/tensor/ops/fill.ts";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { diceBceLoss, diceLoss } from "../../lib/tensor/ops/losses.ts";
import { sigmoid } from "../../lib/tensor/ops/unary.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { evaluate } from "../../lib/evaluate/evaluate.ts";
import { GuardError } from "../../lib/evaluate/guards.ts";
import { type Procedure, SOUND } from "../../lib/train/procedure.ts";
import { runProtocol } from "../../lib/evaluate/protocol.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { fitBy } from "../../lib/train/fit.ts";
import type { FitData, FitOptions } from "../../lib/train/plan.ts";
import { gpu } from "../gpu.ts";
import { discs } from "./discs.ts";
import { tinySam } from "./tiny_sam.ts";
import { adaptLastBlock, discData, trainLastAttention, trainTiny } from "./train_tiny.ts";

/** Six slices to train on and two to validate on; tumours of 5 to 20 % of 64 x 64. */
const data = () => discData("guarded", 6);

const quick = {
  batchSize: 2,
  warmupSteps: 2,
  prompt: "tight-box",
  learningRate: 2e-3,
  epochs: 1,
} as const satisfies FitOptions;

async function adapted(): Promise<Sam> {
  const sam = tinySam();
  await adaptLastBlock(sam, { blocks: [1, 2] });
  return sam;
}

/** Name of the guard that ends a training by a procedure, and the steps done. */
async function caught(
  procedure: (sam: Sam) => Partial<Procedure>,
  options: {
    model?: (sam: Sam) => SliceModel;
    data?: FitData;
    fit?: Partial<FitOptions>;
  } = {},
): Promise<string> {
  const before = gpu.memory.live;
  const sam = await adapted();
  const model = options.model?.(sam) ?? new SliceModel(sam, { side: 64 });
  const error = await assertRejects(
    () =>
      fitBy({ ...SOUND, ...procedure(sam) }, model, options.data ?? data(), {
        ...quick,
        ...options.fit,
      }),
    GuardError,
  );
  for (const [, tensor] of sam.trainableParameters()) tensor.zeroGrad();
  model[Symbol.dispose]();
  sam.dispose();
  assertEquals(gpu.memory.live, before, "what a guard ends leaves nothing on the device");
  return `${error.guard} ${error.step}`;
}

Deno.test("a forward pass under no-grad is caught", async () => {
  class Frozen extends SliceModel {
    override encode(...args: Parameters<SliceModel["encode"]>) {
      return noGrad(this.sam.gpu, () => super.encode(...args));
    }
    override decodeStep(...args: Parameters<SliceModel["decodeStep"]>) {
      return noGrad(this.sam.gpu, () => super.decodeStep(...args));
    }
  }
  const found = await caught(
    () => ({ backward: () => {}, step: () => zeros(gpu, []) }),
    { model: (sam) => new Frozen(sam, { side: 64 }) },
  );
  assertEquals(found, "no-gradient 3");
});

Deno.test("an optimizer whose step is never taken is caught", async () => {
  const found = await caught((sam) => ({
    step: () => {
      for (const [, parameter] of sam.trainableParameters()) parameter.zeroGrad();
      return Tensor.scalar(gpu, 1);
    },
  }));
  assertEquals(found, "unchanged-weights 3");
});

Deno.test("one adapter that is not trained is caught among those that are", async () => {
  const found = await caught((sam) => ({
    step: (optimizer, learningRate) => {
      const [, parameter] = sam.trainableParameters().find(([path]) =>
        path.endsWith("lora_B.weight")
      )!;
      parameter.zeroGrad();
      return optimizer.step(learningRate)!;
    },
  }));
  assertEquals(found, "unchanged-weights 3");
});

Deno.test("losses that do not look at the truth, or do not mind everything on, are caught", async () => {
  const self: Procedure["criterion"] = (logits) =>
    diceBceLoss(logits, sigmoid(logits).detach()).loss;
  assertEquals(await caught(() => ({ criterion: self })), "target-blind-loss 0");
  const blind: Procedure["criterion"] = (logits, target) => diceLoss(logits, target);
  assertEquals(await caught(() => ({ criterion: blind })), "all-on-blind-loss 0");
});

Deno.test("labels that are no mask are caught", async () => {
  class Raw extends SliceModel {
    override target(slices: Parameters<SliceModel["target"]>[0]) {
      return super.target(slices.map(({ slice, variant }) => ({
        slice: { ...slice, mask: slice.mask.map((pixel) => 3 * pixel) },
        variant,
      })));
    }
  }
  const found = await caught(() => ({}), { model: (sam) => new Raw(sam, { side: 64 }) });
  assertEquals(found, "target-not-binary 1");
});

Deno.test("validation that scores a buffer of zeros, or what it scored before, is caught", async () => {
  const zero: Procedure["evaluate"] = async (model, ...rest) => {
    model.decode = (_, slices) => zeros(gpu, [slices.length, 64, 64]);
    try {
      return await evaluate(model, ...rest);
    } finally {
      delete (model as Partial<SliceModel>).decode;
    }
  };
  assertEquals(await caught(() => ({ evaluate: zero })), "untouched-output 3");
  let first: ReturnType<typeof evaluate> | undefined;
  const stale: Procedure["evaluate"] = (...args) => first ??= evaluate(...args);
  const found = await caught(() => ({ evaluate: stale }), { fit: { epochs: 3 } });
  assertEquals(found, "untouched-output 6");
});

Deno.test("patients who are trained on and validated on are caught before the first step", async () => {
  const { reader, train } = data();
  const shared = { reader, train, validation: train.slice(0, 1) };
  assertEquals(await caught(() => ({}), { data: shared }), "patient-overlap 0");
});

Deno.test("a learning rate that no training survives is caught", async () => {
  const fit = { learningRate: 1e38, warmupSteps: 0, epochs: 3 };
  assert((await caught(() => ({}), { fit })).startsWith("non-finite"));
});

Deno.test("a model that calls everything tumour is caught after the warm-up and 32 batches", async () => {
  // Logits of a thousand more than the model's: no step brings them down.
  class Collapsed extends SliceModel {
    override decodeStep(...args: Parameters<SliceModel["decodeStep"]>) {
      const step = super.decodeStep(...args);
      const { size, shape } = step.logits;
      const more = Tensor.from(gpu, new Float32Array(size).fill(1e3), shape);
      return { ...step, logits: add(step.logits, more) };
    }
  }
  const found = await caught(() => ({}), {
    model: (sam) => new Collapsed(sam, { side: 64 }),
    data: discData("small", 4, { width: 96, height: 96 }),
    fit: { epochs: 20, patience: 20 },
  });
  assertEquals(found, "whole-image-mask 34");
});

Deno.test("sound trainings of every size and prompt are let alone", async () => {
  const whole = { prompt: "whole-image", validationPrompt: "whole-image" } as const;
  for (
    const [slices, prepare, options] of [
      [1, adaptLastBlock, { ...whole, epochs: 3, batchSize: 1 }],
      [3, trainLastAttention, {
        epochs: 2,
        batchSize: 4,
        gradientAccumulationSteps: 2,
        prompt: "mixed",
      }],
      // Long enough for every guard: 36 batches after the warm-up.
      [4, adaptLastBlock, { ...whole, epochs: 9, batchSize: 1, warmupSteps: 0 }],
      [4, trainLastAttention, { ...whole, epochs: 9, batchSize: 1, warmupSteps: 0 }],
    ] as const
  ) {
    const { result: { epochs } } = await trainTiny(discData("sound", slices), {
      ...quick,
      learningRate: 5e-3,
      patience: 9,
      ...options,
      prepare,
    });
    assertEquals(epochs.length, options.epochs);
  }
});

Deno.test("scoring that does not come from the model is caught under the protocol too", async () => {
  const sam = tinySam();
  using model = new SliceModel(sam, { side: 64 });
  const reader = discs("scored", { count: 3 });
  const scoring = { reader, refs: reader.refs };
  await runProtocol(model, scoring, { prompts: ["tight-box", "whole-image"] });
  const decodeStep = model.decodeStep.bind(model);
  model.decodeStep = (embeddings, slices, step) => ({
    ...decodeStep(embeddings, slices, step),
    logits: zeros(gpu, [slices.length, 64, 64]),
  });
  const error = await assertRejects(
    () => runProtocol(model, scoring, { prompts: ["tight-box"] }),
    GuardError,
  );
  assertEquals(error.guard, "untouched-output");
  sam.dispose();
});
