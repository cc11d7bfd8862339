import { assert, assertAlmostEquals } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import { injectLora, type LoraLinear } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { diceBceLoss } from "../../lib/tensor/ops/losses.ts";
import { reshape, slice } from "../../lib/tensor/ops/movement.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { toStateDict } from "../../lib/formats/safetensors.ts";
import { gpu } from "../gpu.ts";
import { largestDifference } from "./images.ts";
import { disc, sampled, wave } from "./seeded.ts";
import { readTensors } from "../formats/tensors_file.ts";

/** Results of PyTorch in float64; see tests/reference/make_mobile_sam_fixtures.py. */
const fixtures = toStateDict(
  readTensors(new URL("fixtures/mobile_sam.safetensors", import.meta.url).pathname),
);

function expected(name: string): Float32Array {
  const fixture = fixtures.get(name);
  if (!fixture) throw new Error(`the fixtures have no ${name}`);
  return fixture.data;
}

/** Inputs [B, S, S, 3]. */
function inputs(batch: number, side: number): Tensor {
  return Tensor.from(gpu, wave(batch, side), [batch, side, side, 3]);
}

/** Targets [B, H, W]. */
function targets(batch: number, height: number, width: number): Tensor {
  return Tensor.from(gpu, disc(batch, height, width), [batch, height, width]);
}

/** Adapters of rank 4 and scaling 2 on every qkv, with the script's values. */
async function adapt(sam: Sam, amplitude: number): Promise<Map<string, LoraLinear>> {
  const adapters = await injectLora(sam.imageEncoder, {
    r: 4,
    lora_alpha: 8,
    random: new Random(0),
  });
  const scatter = (n: number, seed: number, amplitude: number) =>
    Float32Array.from({ length: n }, (_, i) => amplitude * Math.sin(12.9898 * (i + 1) + seed));
  for (const [path, { lora_A: a, lora_B: b, inFeatures }] of adapters) {
    const [layer, block] = path.match(/\d+/g)!.map(Number);
    const seed = 10 * layer + block;
    a.weight.write(scatter(a.weight.size, seed, 1 / Math.sqrt(inFeatures)));
    b.weight.write(scatter(b.weight.size, seed + 0.5, amplitude));
  }
  return adapters;
}

const boxes = [[45, 15, 110, 65], [40, 10, 118, 70]] as const;

/** The loss of two images at side 128 whose targets are 48 x 64. */
function objective(sam: Sam, pixels: Tensor, target: Tensor): Tensor {
  const embedding = sam.imageEncoder.forward(pixels);
  const { masks } = sam.decode(embedding, boxes.map((box) => ({ box })));
  const logits = sam.postprocessMasks(masks, { input: [96, 128], original: [48, 64] });
  return diceBceLoss(reshape(logits, target.shape), target).loss;
}

for (const side of [256, 320]) {
  Deno.test(`at side ${side} embedding, logits and IoU are PyTorch's, with and without a mask`, async () => {
    const sam = await loadSam(gpu);
    {
      using _ = new Scope(gpu);
      const results = noGrad(gpu, () => {
        const embedding = sam.imageEncoder.forward(inputs(1, side));
        const prompts = [{
          box: [0.4 * side, 0.15 * side, 0.8 * side, 0.65 * side] as const,
        }];
        const single = sam.decode(embedding, prompts);
        const multi = sam.decode(embedding, prompts, { multimaskOutput: true });
        const first = slice(multi.masks, { axis: 1, start: 0, end: 1 });
        const mask = reshape(first, [1, side / 4, side / 4, 1]);
        const again = sam.decode(embedding, prompts, { mask });
        const againMulti = sam.decode(embedding, prompts, { mask, multimaskOutput: true });
        return { embedding, box: [single, multi], mask: [again, againMulti] };
      });
      const embedding = sampled(await results.embedding.data());
      const error = largestDifference(embedding, expected(`forward.${side}.embedding`));
      console.log(`embedding: largest difference ${error.toExponential(1)}`);
      assert(error < 1e-4, `the embedding differs by ${error}`);
      for (const name of ["box", "mask"] as const) {
        const parts = results[name];
        const join = async (tensors: Tensor[]) => {
          const arrays = await Promise.all(tensors.map((tensor) => tensor.data()));
          return Float32Array.from(arrays.flatMap((array) => [...array]));
        };
        const logits = sampled(await join(parts.map(({ masks }) => masks)));
        const iou = await join(parts.map(({ iouPredictions }) => iouPredictions));
        const logitError = largestDifference(logits, expected(`forward.${side}.${name}.logits`));
        const iouError = largestDifference(iou, expected(`forward.${side}.${name}.iou`));
        console.log(
          `${name}: logits differ by at most ${logitError.toExponential(1)}, IoU by ${
            iouError.toExponential(1)
          }`,
        );
        assert(logitError < 5e-3, `${name}: the logits differ by ${logitError}`);
        assert(iouError < 1e-4, `${name}: the estimated IoU differ by ${iouError}`);
      }
    }
    sam.dispose();
  });
}

Deno.test("gradients of Dice + BCE reach every kind of weight as in PyTorch", async () => {
  const sam = await loadSam(gpu);
  await adapt(sam, 0.05);
  sam.setTrainable(true);
  {
    using _ = new Scope(gpu);
    const loss = objective(sam, inputs(2, 128), targets(2, 48, 64));
    assertAlmostEquals(await loss.item(), expected("gradient.loss")[0], 1e-5);
    loss.backward();
    const parameters = new Map(sam.namedParameters());
    const names = [...fixtures.keys()].filter((name) =>
      name.startsWith("gradient.") && name !== "gradient.loss"
    );
    assert(names.length > 25, `only ${names.length} gradients are compared`);
    let worst = { name: "", error: 0 };
    for (const name of names) {
      const parameter = parameters.get(name.slice("gradient.".length));
      assert(parameter?.grad, `${name}: there is no gradient`);
      const reference = expected(name);
      const scale = reference.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const error = largestDifference(sampled(await parameter.grad.data()), reference) / scale;
      if (!(error <= worst.error)) worst = { name, error };
    }
    console.log(
      `${names.length} gradients: largest relative error ${
        worst.error.toExponential(1)
      } (${worst.name})`,
    );
    assert(worst.error < 1e-4, `${worst.name} is off by ${worst.error} of its largest element`);
  }
  sam.dispose();
});

Deno.test("the losses of AdamW steps with clipping are PyTorch's", async () => {
  const sam = await loadSam(gpu);
  await adapt(sam, 0);
  using pixels = inputs(2, 128);
  using target = targets(2, 48, 64);
  using optimizer = new Adam(sam.trainableParameters().map(([, tensor]) => tensor), {
    weightDecay: 0.01,
    decoupled: true,
    maxGradNorm: 1,
  });
  let largest = 0;
  for (const [step, reference] of expected("training.losses").entries()) {
    using _ = new Scope(gpu);
    const loss = objective(sam, pixels, target);
    const error = Math.abs(await loss.item() - reference) / reference;
    largest = Math.max(largest, error);
    assert(error < 1e-4, `the loss before step ${step + 1} is off by ${error} of itself`);
    loss.backward();
    optimizer.step(1e-3);
  }
  console.log(`6 losses: largest relative error ${largest.toExponential(1)}`);
  sam.dispose();
});
