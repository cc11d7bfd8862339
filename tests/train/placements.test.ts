import { assert, assertEquals } from "@std/assert";
import { drawPrompt } from "../../lib/data/prompts.ts";
import { adapterLayers } from "../../lib/adapters/adapter_layer.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { promptedLoss } from "../../lib/train/prompted_loss.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { fit } from "../../lib/train/fit.ts";
import { loadAdapter, saveAdapter } from "../../lib/study/adapter_folder.ts";
import { applyAdapter, collectAdapter } from "../../lib/adapters/apply_adapter.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { discs } from "./discs.ts";
import { tinySam } from "./tiny_sam.ts";

const data = discs("placements", { count: 4 });
const samples = await Promise.all(
  data.refs.slice(0, 2).map(async (ref) => ({ slice: await data.read(ref), variant: "" })),
);
const prompts = samples.map(({ slice: { mask, ref: { width, height } } }) =>
  drawPrompt("jittered-box", { mask, width, height, random: new Random(0) })
);

const decoderTargets = ["q_proj", "k_proj", "v_proj", "out_proj", "mlp.lin1", "mlp.lin2"];

async function decoderAdapters(): Promise<Sam> {
  const sam = tinySam();
  await injectLora(sam, {
    r: 2,
    lora_alpha: 4,
    target_modules: decoderTargets,
    init_lora_weights: false, // a B of zeros would hide A's gradient
    random: new Random(3),
  });
  return sam;
}

function wholeModel(): Sam {
  const sam = tinySam();
  sam.imageEncoder.setTrainable(true);
  sam.maskDecoder.setTrainable(true);
  return sam;
}

const lossOf = (model: SliceModel) =>
  promptedLoss(model, samples, { prompts: [prompts], iterations: 1, random: new Random(0) });

/** Slope of the loss along the gradient, by backward and by central differences. */
async function slopes(
  sam: Sam,
): Promise<{ backward: number; differences: number; without: string[] }> {
  using model = new SliceModel(sam, { side: 64 });
  const parameters = sam.trainableParameters();
  const gradients: (Float32Array | null)[] = [];
  {
    using _ = new Scope(gpu);
    const { loss } = await lossOf(model);
    loss.backward();
    for (const [, tensor] of parameters) {
      gradients.push(tensor.grad && await tensor.grad.data());
      tensor.zeroGrad();
    }
  }
  let squares = 0;
  for (const gradient of gradients) gradient?.forEach((value) => squares += value ** 2);
  const norm = Math.sqrt(squares);
  const values = await Promise.all(parameters.map(([, tensor]) => tensor.data()));
  const at = async (step: number) => {
    parameters.forEach(([, tensor], i) => {
      const gradient = gradients[i];
      if (gradient) tensor.write(values[i].map((value, j) => value + step * gradient[j] / norm));
    });
    using _ = new Scope(gpu);
    return (await (await lossOf(model)).loss.data())[0];
  };
  const step = 1e-3;
  const differences = (await at(step) - await at(-step)) / (2 * step);
  parameters.forEach(([, tensor], i) => tensor.write(values[i]));
  return {
    backward: norm,
    differences,
    without: parameters.flatMap(([path], i) => gradients[i] ? [] : [path]),
  };
}

Deno.test("the gradient of adapters in the decoder is the loss's slope", async () => {
  const sam = await decoderAdapters();
  assertEquals(adapterLayers(sam).size, 28 + 4);
  const { backward, differences, without } = await slopes(sam);
  assertEquals(without, []);
  const error = Math.abs(differences / backward - 1);
  assert(error < 5e-3, `slope ${differences}, gradient ${backward}`);
  sam.dispose();
});

Deno.test("the gradient of all weights of encoder and decoder is the loss's slope", async () => {
  const sam = wholeModel();
  const { backward, differences, without } = await slopes(sam);
  const error = Math.abs(differences / backward - 1);
  assert(error < 5e-3, `slope ${differences}, gradient ${backward}`);
  // Weights that only the three masks for ambiguous prompts and the estimate of the IoU need.
  assert(
    without.every((path) =>
      /^mask_decoder\.(output_hypernetworks_mlps\.[123]|iou_prediction_head)\./.test(path)
    ),
    without.join("\n"),
  );
  sam.dispose();
});

Deno.test("adapters in the decoder train, are saved as a PEFT folder and come back bit for bit", async () => {
  const sam = await decoderAdapters();
  using model = new SliceModel(sam, { side: 64 });
  const frozen = new Map<string, Float32Array>();
  for (const [path, tensor] of sam.namedParameters()) {
    if (!tensor.isParameter) frozen.set(path, await tensor.data());
  }
  const { epochs } = await fit(
    model,
    { reader: data, train: data.refs.slice(0, 3), validation: data.refs.slice(3) },
    { epochs: 4, batchSize: 3, warmupSteps: 0, learningRate: 2e-2, flip: 0 },
  );
  assert(epochs.at(-1)!.trainLoss < 0.95 * epochs[0].trainLoss, JSON.stringify(epochs));
  for (const [path, tensor] of sam.namedParameters()) {
    if (!tensor.isParameter) assertSameBits(await tensor.data(), frozen.get(path)!, path);
  }
  const logits = async (model: SliceModel) => {
    using _ = new Scope(gpu);
    return await noGrad(model.sam.gpu, () => model.decode(model.encode(samples), samples, prompts))
      .data();
  };
  const trained = await logits(model);
  const folder = await Deno.makeTempDir();
  await saveAdapter(folder, await collectAdapter(sam, { target_modules: decoderTargets }));
  const again = tinySam();
  const layers = await applyAdapter(again, await loadAdapter(folder));
  assertEquals([...layers.keys()], [...adapterLayers(sam).keys()]);
  using reloaded = new SliceModel(again, { side: 64 });
  assertSameBits(await logits(reloaded), trained, "the reloaded model");
  await Deno.remove(folder, { recursive: true });
  sam.dispose();
  again.dispose();
});
