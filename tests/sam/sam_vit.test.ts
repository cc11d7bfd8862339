import { assert, assertEquals, assertRejects } from "@std/assert";
import { CachedEncoder } from "../../lib/evaluate/cached_encoder.ts";
import { InputError } from "../../lib/errors.ts";
import { injectLora, type LoraLinear } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { buildSam, emptySam } from "../../lib/sam/build_sam.ts";
import { getRelPos, type ImageEncoderViT, ViTBlock } from "../../lib/sam/image_encoder_vit.ts";
import { SAM_INPUT, type SamModel } from "../../lib/sam/models.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { diceBceLoss } from "../../lib/tensor/ops/losses.ts";
import { reshape } from "../../lib/tensor/ops/movement.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { gpu } from "../gpu.ts";
import { largestDifference } from "./images.ts";
import { disc, hashed, sampled, seededState, seededWeight, wave } from "./seeded.ts";
import { compareForward, fixtures, largestMagnitude, relativeError } from "./segment_anything.ts";
import { hostWeights } from "../../lib/nn/weight_source.ts";

const TINY = { embedDim: 32, depth: 4, numHeads: 2, windowSize: 5, globalAttnIndexes: [2] };

/** A row of the registry with a ViT of 64 output channels. */
const tinyModel = (options = TINY): Pick<SamModel, "encoder" | "input"> => ({
  encoder: { kind: "vit", options: { ...options, outChans: 64 } },
  input: SAM_INPUT,
});

/** A Sam whose grid of 8 x 8 tokens is padded to windows of 5, with seeded weights made for side 128. */
async function buildTiny(side = 128): Promise<Sam> {
  const empty = emptySam(gpu, tinyModel(), { side: 128 });
  const weights = seededState(empty);
  empty.dispose();
  return await buildSam(gpu, tinyModel(), { side, weights: hostWeights(weights, "the state") });
}

/** Adapters of rank 4 and scaling 2 on every qkv, with the script's values. */
async function adapt(sam: Sam, amplitude: number): Promise<Map<string, LoraLinear>> {
  const adapters = await injectLora(sam.imageEncoder, {
    r: 4,
    lora_alpha: 8,
    random: new Random(0),
  });
  for (const [path, { lora_A: a, lora_B: b }] of adapters) {
    const name = `image_encoder.${path}`;
    a.weight.write(seededWeight(`${name}.lora_A.weight`, a.weight.shape).data);
    b.weight.write(seededWeight(`${name}.lora_B.weight`, b.weight.shape, amplitude).data);
  }
  return adapters;
}

/** The loss of two images at side 128 whose targets are 48 x 64. */
function objective(sam: Sam, pixels: Tensor, target: Tensor): Tensor {
  const boxes = [[45, 15, 110, 65], [40, 10, 118, 70]] as const;
  const embedding = sam.imageEncoder.forward(pixels);
  const { masks } = sam.decode(embedding, boxes.map((box) => ({ box })));
  const logits = sam.postprocessMasks(masks, { input: [96, 128], original: [48, 64] });
  return diceBceLoss(reshape(logits, target.shape), target).loss;
}

for (const side of [128, 64, 192]) {
  const made = side === 128 ? "with padded windows" : `made for side 128 and built for ${side}`;
  Deno.test(`a tiny SAM ${made} gives segment_anything's embedding, logits and IoU`, async () => {
    const { expected } = fixtures("tiny");
    const sam = await buildTiny(side);
    console.log(
      await compareForward(sam, {
        side,
        samples: 2 ** 11,
        expected: (name) => expected(`forward.${side}.${name}`),
      }),
    );
    sam.dispose();
  });
}

Deno.test("a block resizes its relative positions to the grid that it sees", async () => {
  const sizes = { dim: 8, numHeads: 2, mlpRatio: 2, windowSize: 0 };
  const block = new ViTBlock(gpu, { ...sizes, inputSize: 8 });
  block.loadState(seededState(block));
  const own = new ViTBlock(gpu, { ...sizes, inputSize: 12 });
  {
    using _ = new Scope(gpu);
    const [relPosH, relPosW] = [block.attn.relPosH, block.attn.relPosW].map((table) =>
      getRelPos(table, 12)
    );
    const state = new Map(seededState(block));
    state.set("attn.rel_pos_h", { shape: [23, 4], data: await relPosH.data() });
    state.set("attn.rel_pos_w", { shape: [23, 4], data: await relPosW.data() });
    own.loadState(state);
    const x = Tensor.from(gpu, Float32Array.from(hashed("x", 12 * 12 * 8)), [1, 12, 12, 8]);
    assertEquals(await block.forward(x).data(), await own.forward(x).data());
  }
  block.dispose();
  own.dispose();
});

Deno.test("gradients reach every weight of a tiny SAM and its adapters as in segment_anything", async () => {
  const { expected, names } = fixtures("tiny");
  const sam = await buildTiny();
  await adapt(sam, 0.2);
  sam.setTrainable(true);
  {
    using _ = new Scope(gpu);
    const pixels = Tensor.from(gpu, wave(2, 128), [2, 128, 128, 3]);
    const loss = objective(sam, pixels, Tensor.from(gpu, disc(2, 48, 64), [2, 48, 64]));
    const lossError = relativeError(await loss.data(), expected("gradient.loss"));
    assert(lossError < 1e-4, `the loss is off by ${lossError} of itself`);
    loss.backward();
    const worst = { name: "", error: 0 };
    const counts = { lora: 0, decoder: 0, other: 0 };
    for (const [name, parameter] of sam.namedParameters()) {
      const gradient = await parameter.grad?.data() ?? new Float32Array(1);
      const own = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0));
      // Some weights have no part in the loss (what reads clicks and masks, and what predicts the other
      // masks), and a softmax does not see what its keys have in common.
      const norm = names.has(`norm.${name}`) ? expected(`norm.${name}`)[0] : 0;
      if (norm < 1e-10) {
        assert(own < 1e-5, `the gradient of ${name} should vanish and is ${own}`);
        continue;
      }
      const reference = expected(`gradient.${name}`);
      const samples = name.includes("lora") ? 512 : 61;
      const largest = largestMagnitude(gradient);
      const error = Math.max(
        Math.abs(own - norm) / norm,
        largestDifference(sampled(gradient, samples), reference) / largest,
      );
      if (!(error <= worst.error)) Object.assign(worst, { name, error });
      counts[
        name.includes("lora") ? "lora" : name.startsWith("mask_decoder") ? "decoder" : "other"
      ]++;
    }
    console.log(
      `${counts.lora} LoRA matrices, ${counts.decoder} weights of the decoder and ${counts.other} ` +
        `others: largest relative error ${worst.error.toExponential(1)} (${worst.name})`,
    );
    assert(worst.error < 1e-3, `${worst.name} is off by ${worst.error}`);
    assert(counts.lora === 8 && counts.decoder > 85 && counts.other > 60, JSON.stringify(counts));
  }
  sam.dispose();
});

Deno.test("the losses of five Adam steps on adapters and decoder are segment_anything's", async () => {
  const { expected } = fixtures("tiny");
  const sam = await buildTiny();
  await adapt(sam, 0);
  sam.maskDecoder.setTrainable(true);
  using pixels = Tensor.from(gpu, wave(2, 128), [2, 128, 128, 3]);
  using target = Tensor.from(gpu, disc(2, 48, 64), [2, 48, 64]);
  using optimizer = new Adam(sam.trainableParameters().map(([, tensor]) => tensor));
  let largest = 0;
  for (const [step, reference] of expected("training.losses").entries()) {
    using _ = new Scope(gpu);
    const loss = objective(sam, pixels, target);
    const error = Math.abs(await loss.item() - reference) / reference;
    largest = Math.max(largest, error);
    assert(error < 1e-4, `the loss after ${step} steps is off by ${error} of itself`);
    loss.backward();
    optimizer.step(1e-3);
  }
  console.log(
    `losses before and after 5 steps: largest relative error ${largest.toExponential(1)}`,
  );
  sam.dispose();
});

Deno.test("what lies before the first adapter of a ViT is encoded once", async () => {
  const sam = await buildTiny();
  await injectLora(sam.imageEncoder, { r: 2, blocks: [2, 3], random: new Random(0) });
  using encoder = new CachedEncoder(sam.imageEncoder, { side: 128 });
  let made = 0;
  const input = { key: "a", pixels: () => (made++, wave(1, 128)) };
  using first = encoder.encode([input]);
  using again = encoder.encode([input]);
  assert(made === 1, `the pixels were made ${made} times`);
  assert(encoder.bytes === 4 * 8 * 8 * 32, `${encoder.bytes} bytes are kept`);
  assert(largestDifference(await first.data(), await again.data()) === 0);
  sam.dispose();
});

Deno.test("a trained position embedding keeps the ViT from being encoded once", async () => {
  const sam = await buildTiny();
  (sam.imageEncoder as ImageEncoderViT).posEmbed.setParameter(true);
  using encoder = new CachedEncoder(sam.imageEncoder, { side: 128 });
  encoder.encode([{ key: "a", pixels: () => wave(1, 128) }]).dispose();
  // The pixels themselves are what lies before the first stage.
  assert(encoder.bytes === 4 * 128 * 128 * 3, `${encoder.bytes} bytes are kept`);
  sam.dispose();
});

Deno.test("a ViT refuses images of another side and weights of another model", async () => {
  const sam = await buildTiny();
  using pixels = Tensor.from(gpu, wave(1, 64), [1, 64, 64, 3]);
  await assertRejects(
    // deno-lint-ignore require-await
    async () => sam.imageEncoder.forward(pixels),
    InputError,
    "built for images of side 128, not 64 x 64",
  );
  const weights = seededState(sam);
  await assertRejects(
    () =>
      buildSam(gpu, tinyModel({ ...TINY, depth: 3 }), {
        side: 128,
        weights: hostWeights(weights, "the state"),
      }),
    InputError,
    "unexpected: image_encoder.blocks.3.",
  );
  await assertRejects(
    () => buildSam(gpu, tinyModel(), { side: 100, weights: hostWeights(weights, "the state") }),
    InputError,
    "side 100",
  );
  sam.dispose();
});
