import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { officialName, transformersName } from "../../lib/sam/names.ts";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { mergeAdapters, unmergeResidual } from "../../lib/adapters/adapter_layer.ts";
import { ImageEncoderViT } from "../../lib/sam/image_encoder_vit.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { adapterWeights } from "../../lib/adapters/adapter.ts";
import { loadAdapter, saveAdapter } from "../../lib/study/adapter_folder.ts";
import { formatAdapterConfig, parseAdapterConfig } from "../../lib/adapters/config.ts";
import { applyAdapter } from "../../lib/adapters/apply_adapter.ts";
import { toStateDict } from "../../lib/formats/safetensors.ts";
import { addWeightedAdapter } from "../../lib/adapters/weighted_adapter.ts";
import { gpu } from "../gpu.ts";
import { largestDifference } from "../sam/images.ts";
import { fixtures, tinyNames, tinySam, wave } from "./tiny_model.ts";
import { readTensors } from "../formats/tensors_file.ts";

/** Outputs that peft computed; see tests/reference/make_adapter_fixtures.py. */
const expected = toStateDict(readTensors(join(fixtures, "outputs.safetensors")));
const folders = [...Deno.readDirSync(fixtures)].filter(({ isDirectory }) => isDirectory)
  .map(({ name }) => name).sort();
const computed = [...new Set([...expected.keys()].map((name) => name.split(":")[0]))].sort();
const library = (adapter: string) =>
  adapter === "decoder" || adapter.startsWith("transformers") ? "transformers" : "segment_anything";

Deno.test("the names of segment_anything and transformers map onto each other one to one", () => {
  const official = Object.entries(tinyNames.segment_anything.parameters);
  const theirs = tinyNames.transformers.parameters;
  const own = (name: string) => name.startsWith("shared_image_embedding.");
  assertEquals(
    official.map(([name]) => transformersName(name)).sort(),
    Object.keys(theirs).filter((name) => !own(name)).sort(),
  );
  for (const [name, shape] of official) {
    assertEquals(officialName(transformersName(name)), name);
    const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
    assertEquals(size(theirs[transformersName(name)]), size(shape), name);
  }
});

for (const name of folders) {
  Deno.test(`peft's "${name}" is saved as it was loaded, byte for byte`, async () => {
    const copy = await Deno.makeTempDir();
    const folder = join(fixtures, name);
    await saveAdapter(copy, await loadAdapter(folder));
    for (const file of ["adapter_model.safetensors", "adapter_config.json"]) {
      assertEquals(await Deno.readFile(join(copy, file)), await Deno.readFile(join(folder, file)));
    }
    // The config is written as peft writes it even where its text is not at hand.
    const text = await Deno.readTextFile(join(folder, "adapter_config.json"));
    assertEquals(formatAdapterConfig(parseAdapterConfig(text, { source: "" })), text);
    await Deno.remove(copy, { recursive: true });
  });
}

/** The script's names of the gradients of LoRA's tensors. */
const GRADIENTS: Readonly<Record<string, string>> = {
  "lora_A.weight": "A",
  "lora_B.weight": "B",
  "lora_magnitude_vector": "magnitude",
};

let worst = { output: 0, gradient: 0, merged: 0, residual: 0 };
for (const name of computed) {
  Deno.test(`peft's "${name}" computes the same here, apart and merged, with its gradients`, async () => {
    const model = tinySam(library(name));
    const layers = await applyAdapter(model, await loadAdapter(join(fixtures, name)));
    const inFile = library(name) === "transformers" ? transformersName : (path: string) => path;
    const adapted = [...expected.keys()].filter((key) =>
      key.startsWith(`${name}:`) && key.endsWith(".y")
    ).map((key) => key.slice(name.length + 1, -2));
    assertEquals([...layers.keys()].map(inFile).sort(), adapted.sort(), "the adapted layers");
    for (const [path, layer] of layers) {
      using _ = new Scope(gpu);
      const own = inFile(path);
      const reference = (what: string) => expected.get(`${name}:${own}.${what}`)?.data;
      const x = Tensor.from(gpu, wave(own, 3 * layer.inFeatures), [3, layer.inFeatures]);
      x.setParameter(true);
      const y = layer.forward(x);
      const error = largestDifference(await y.data(), reference("y")!);
      assert(error < 2e-6, `${path} is off by ${error}`);
      worst = { ...worst, output: Math.max(worst.output, error) };

      sum(mul(y, Tensor.from(gpu, wave(`${own}!`, y.size), y.shape))).backward();
      const gradients = new Map([["dx", x.grad]]);
      for (const [parameter, { grad }] of layer.trainableParameters()) {
        gradients.set(`d${GRADIENTS[parameter] ?? parameter}`, grad);
      }
      const prefix = `${name}:${own}.`;
      for (const [key, { data: theirs }] of expected) {
        if (!key.startsWith(`${prefix}d`)) continue;
        const what = key.slice(prefix.length);
        const difference = largestDifference(await gradients.get(what)!.data(), theirs);
        assert(difference < 5e-6, `${what} of ${path} is off by ${difference}`);
        worst = { ...worst, gradient: Math.max(worst.gradient, difference) };
      }
    }
    const residual = await unmergeResidual(model);
    worst = { ...worst, residual: Math.max(worst.residual, residual) };
    assert(residual < 1e-6, `unmerging leaves ${residual}`);
    mergeAdapters(model);
    for (const [path, layer] of layers) {
      using _ = new Scope(gpu);
      const own = inFile(path);
      const x = Tensor.from(gpu, wave(own, 3 * layer.inFeatures), [3, layer.inFeatures]);
      const y = await layer.forward(x).data();
      const error = largestDifference(y, expected.get(`${name}:${own}.y`)!.data);
      assert(error < 3e-6, `merged, ${path} is off by ${error}`);
      worst = { ...worst, merged: Math.max(worst.merged, error) };
    }
    model.dispose();
  });
}

Deno.test("the whole image encoder gives peft's embedding with every adapter", async () => {
  let [largest, effect] = [0, 0];
  for (const name of computed) {
    const model = tinySam(library(name));
    model.at(["image_encoder"]).dispose();
    const encoder = new ImageEncoderViT(gpu, {
      imageSize: 32,
      patchSize: 8,
      embedDim: 16,
      depth: 3,
      numHeads: 2,
      mlpRatio: 2,
      outChans: 16,
      windowSize: 2,
      globalAttnIndexes: [1],
    });
    model.set("image_encoder", encoder);
    for (const [path, tensor] of encoder.namedParameters("image_encoder")) {
      const own = library(name) === "transformers" ? transformersName(path) : path;
      tensor.write(wave(own, tensor.size));
    }
    using _ = new Scope(gpu);
    const values = wave("pixels", 3 * 32 * 32);
    const pixels = values.map((_, i) => values[(i % 3) * 1024 + Math.floor(i / 3)]);
    const x = Tensor.from(gpu, pixels, [1, 32, 32, 3]);
    const reference = expected.get(`${name}:embedding`)!.data;
    const plain = await encoder.forward(x).data();
    await applyAdapter(model, await loadAdapter(join(fixtures, name)));
    const adapted = await encoder.forward(x).data();
    const mean = reference.reduce((sum, value) => sum + value, 0) / reference.length;
    const deviation = Math.hypot(...reference.map((value) => value - mean)) /
      Math.sqrt(reference.length);
    const error = largestDifference(adapted, reference) / deviation;
    largest = Math.max(largest, error);
    effect = Math.max(effect, largestDifference(adapted, plain) / deviation);
    assert(error < 1e-5, `${name}: the embedding is off by ${error} standard deviations`);
    model.dispose();
  }
  console.log(
    `of effects up to ${effect.toFixed(1)} standard deviations, the embeddings differ by ${
      largest.toExponential(1)
    }`,
  );
});

Deno.test("modules that peft saved whole are loaded and trainable, and nothing else is", async () => {
  for (const name of ["saved", "transformers_saved"]) {
    const model = tinySam(library(name));
    const adapter = await loadAdapter(join(fixtures, name));
    await applyAdapter(model, adapter);
    const weights = adapterWeights(adapter);
    const trainable = new Map(model.trainableParameters());
    assertEquals([...trainable.keys()].sort(), [...weights.keys()].sort());
    assert([...trainable.keys()].some((path) => path.startsWith("mask_decoder.iou_prediction")));
    for (const [path, tensor] of trainable) {
      assertEquals(await tensor.data(), weights.get(path)!.data, path);
    }
    model.dispose();
  }
});

Deno.test("weighted sums of two adapters are peft's, linear and cat", async () => {
  const adapters = await Promise.all(
    ["default", "other"].map((name) => loadAdapter(join(fixtures, name))),
  );
  for (const combination_type of ["linear", "cat"] as const) {
    const summed = addWeightedAdapter(adapters, { weights: [0.7, -0.4], combination_type });
    const theirs = await loadAdapter(join(fixtures, `sum_${combination_type}`));
    assertEquals([summed.config!.r, summed.config!.lora_alpha], [
      theirs.config!.r,
      theirs.config!.lora_alpha,
    ]);
    const [own, reference] = [adapterWeights(summed), adapterWeights(theirs)];
    assertEquals([...own.keys()].sort(), [...reference.keys()].sort());
    let error = 0;
    for (const [name, { shape, data }] of own) {
      assertEquals([...shape], [...reference.get(name)!.shape], name);
      error = Math.max(error, largestDifference(data, reference.get(name)!.data));
    }
    assert(error < 1e-7, `the ${combination_type} sum is off by ${error}`);
  }
  assertMatch(
    (await assertRejects(async () => {
      addWeightedAdapter([adapters[0], await loadAdapter(join(fixtures, "dora"))], {
        weights: [1, 1],
        combination_type: "cat",
      });
    }, InputError)).message,
    /DoRA/,
  );
  assertMatch(
    (await assertRejects(async () => {
      addWeightedAdapter([adapters[0], await loadAdapter(join(fixtures, "layers"))], {
        weights: [1, 1],
        combination_type: "linear",
      });
    }, InputError)).message,
    /ranks 4, 3.*cat/,
  );
});

Deno.test("the largest errors against peft", () => {
  const text = Object.entries(worst).map(([what, error]) => `${what} ${error.toExponential(1)}`);
  console.log(`${computed.length} adapters: ${text.join(", ")}`);
});
