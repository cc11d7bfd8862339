import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { officialWeights } from "../../lib/sam/official_weights.ts";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import { LayerNorm } from "../../lib/nn/layer_norm.ts";
import { Module } from "../../lib/nn/module.ts";
import { type LazyTensor, readWeights, type WeightSource } from "../../lib/nn/weight_source.ts";
import { gpu } from "../gpu.ts";
import names from "./fixtures/names.json" with { type: "json" };
import { mobileSamShapes, mobileSamState, openSamWeights } from "./pretrained.ts";

const fixture = (name: string): string => join(import.meta.dirname!, "fixtures", name);

/** Official name, shape, and the name that transformers' converter makes of it. */
const SAM = names.sam as [official: string, shape: number[], transformers: string][];

/** A source of tensors; each is filled with its place in the list, or given. */
function source(
  entries: Iterable<[name: string, shape: number[], data?: Float32Array]>,
): WeightSource {
  const tensors = new Map<string, LazyTensor>();
  for (const [name, shape, data] of entries) {
    const place = tensors.size;
    const size = shape.reduce((product, length) => product * length, 1);
    const elements = data ?? new Float32Array(size).fill(place);
    tensors.set(name, { shape, dtype: "F32", read: () => Promise.resolve(elements) });
  }
  return { source: "x.pth", tensors, [Symbol.dispose]() {} };
}

const shapesOf = ({ tensors }: WeightSource) =>
  Object.fromEntries([...tensors].map(([name, { shape }]) => [name, [...shape]]).sort());

const officialShapes = Object.fromEntries(SAM.map(([name, shape]) => [name, shape]).sort());

/** Each official tensor must be the one that stands at its place in the list. */
async function assertInOrder(weights: WeightSource): Promise<void> {
  for (const [place, [name]] of SAM.entries()) {
    const data = await weights.tensors.get(name)!.read();
    assert(data.every((value) => value === place), name);
  }
}

for (const prefix of ["", "module.", "sam.", "module.sam_model.", "model._orig_mod."]) {
  Deno.test(`official names stay, without the prefix "${prefix}"`, async () => {
    const weights = officialWeights(
      source(SAM.map(([name, shape]) => [prefix + name, shape])),
    );
    assertEquals(shapesOf(weights), officialShapes);
    await assertInOrder(weights);
  });
}

Deno.test("wrappers in some names alone are left out; what is not SAM's is set aside", async () => {
  const entries = SAM.map(([name, shape], i): [string, number[]] => {
    const wrapped = name.replace("image_encoder.", "image_encoder._orig_mod.")
      .replace("mask_decoder.transformer.", "mask_decoder.transformer.module.");
    return [(i % 3 === 0 ? "" : "module.") + wrapped, shape];
  });
  const partly = officialWeights(source(entries));
  assertEquals(shapesOf(partly), officialShapes);
  assertEquals(partly.leftOut, []);
  await assertInOrder(partly);

  // A trainer's checkpoint: SAM within it but for a part, its loss, and a moving average of SAM.
  const trained = officialWeights(source([
    ...SAM.map((
      [name, shape],
      i,
    ): [string, number[]] => [(i === 5 ? "" : "net.sam.") + name, shape]),
    ["loss.weight", [1]],
    ...SAM.slice(10).map(([name, shape]): [string, number[]] => [`ema.${name}`, shape]),
  ]));
  assertEquals(shapesOf(trained), officialShapes);
  await assertInOrder(trained);
  assertEquals(trained.leftOut, ["loss.weight", ...SAM.slice(10).map(([name]) => `ema.${name}`)]);

  // Beside SAM itself nothing is set aside: loading names it.
  const beside = officialWeights(
    source([...SAM.map(([name, shape]): [string, number[]] => [name, shape]), ["loss.weight", [
      1,
    ]]]),
  );
  assertEquals([...beside.tensors.keys()].includes("loss.weight"), true);
});

Deno.test("a tensor that is there with a wrapper and without is refused", () => {
  const twice = source([["image_encoder.a", [1]], ["module.image_encoder.a", [1]]]);
  assertThrows(() => officialWeights(twice), InputError, "holds image_encoder.a twice");
});

Deno.test("the names of transformers' SamModel are those that its converter made of the official ones", async () => {
  const shared: [string, number[]] = ["shared_image_embedding.positional_embedding", [2, 4]];
  const entries = SAM.map(([, shape, name]): [string, number[]] => [name, shape]);
  for (const list of [entries, [...entries, shared]]) {
    const weights = officialWeights(source(list));
    assertEquals(shapesOf(weights), officialShapes);
    await assertInOrder(weights);
  }
  // safetensors files keep one of the two names of a shared tensor.
  const own = "prompt_encoder.shared_embedding.positional_embedding";
  const alone = officialWeights(source([...entries.filter(([name]) => name !== own), shared]));
  assertEquals(shapesOf(alone), officialShapes);
});

for (const suffix of ["", "_proj"]) {
  Deno.test(`separate attn.q${suffix}, k and v become the rows of one qkv`, async () => {
    const entries = SAM.flatMap(([, shape, name]): [string, number[], Float32Array?][] => {
      const [, path, kind] = name.match(/^(.*)\.qkv\.(weight|bias)$/) ?? [];
      if (!path) return [[name, shape]];
      const third = [shape[0] / 3, ...shape.slice(1)];
      const size = third.reduce((a, b) => a * b, 1);
      return ["v", "q", "k"].map((part) => [
        `${path}.${part}${suffix}.${kind}`,
        third,
        new Float32Array(size).fill("qkv".indexOf(part)),
      ]);
    });
    const weights = officialWeights(source(entries));
    assertEquals(shapesOf(weights), officialShapes);
    const qkv = await weights.tensors.get("image_encoder.blocks.1.attn.qkv.weight")!.read();
    assertEquals(qkv, Float32Array.from(qkv, (_, i) => Math.floor(i / (qkv.length / 3))));
  });
}

Deno.test("a q without its k and v stays, to be named when the model is loaded", () => {
  const weights = officialWeights(source([["image_encoder.blocks.0.attn.q.weight", [4, 4]]]));
  assertEquals([...weights.tensors.keys()], ["image_encoder.blocks.0.attn.q.weight"]);
});

Deno.test("MobileSAM's own checkpoint has the tensors of our model once it is fused", () => {
  const weights = officialWeights(
    source(Object.entries(names.mobile_sam as Record<string, number[]>)),
  );
  const expected = [...mobileSamShapes()].map(([name, shape]) => [name, [...shape]]).sort();
  assertEquals(shapesOf(weights), Object.fromEntries(expected));
});

Deno.test("a fused BatchNorm and gathered biases equal PyTorch's, computed in float64", async () => {
  using weights = await openSamWeights(fixture("mobile_sam_part.pth"));
  using expected = await openSamWeights(fixture("mobile_sam_part_expected.pth"));
  assertEquals(await readWeights(weights), await readWeights(expected));
});

Deno.test("biases gathered from those of the published weights give the published table", async () => {
  const state = await mobileSamState();
  const path = "image_encoder.layers.2.blocks.3.attn";
  const { shape: [heads, n], data: full } = state.get(`${path}.attention_bias_full`)!;
  const biases = new Float32Array(heads * n);
  for (let head = 0; head < heads; head++) {
    biases.set(full.subarray(head * n * n, head * n * n + n), head * n); // as token 0 sees them
  }
  const weights = officialWeights(source([[`${path}.attention_biases`, [heads, n], biases]]));
  assertEquals(await weights.tensors.get(`${path}.attention_bias_full`)!.read(), full);
});

/** Two LayerNorms, and a record of what it was told. */
class Pair extends Module {
  readonly norms = [new LayerNorm(this.gpu, { dim: 2 }), new LayerNorm(this.gpu, { dim: 3 })];
  told = 0;

  protected override onLoad(): void {
    this.told++;
  }
}

Deno.test("a model is filled from a source, one tensor after another", async () => {
  const model = new Pair(gpu);
  let open = 0;
  const tensors = new Map<string, LazyTensor>();
  for (const [i, [name, { shape }]] of [...model.namedParameters()].entries()) {
    tensors.set(name, {
      shape,
      dtype: "F32",
      read: async () => {
        assertEquals(++open, 1, "two tensors are read at once");
        await Promise.resolve();
        open--;
        return new Float32Array(shape[0]).fill(i);
      },
    });
  }
  await model.loadFrom({ source: "x", tensors, [Symbol.dispose]() {} });
  assertEquals([...await model.norms[1].weight.data()], [2, 2, 2]);
  assertEquals([...await model.norms[0].bias.data()], [1, 1]);
  assertEquals(model.told, 1);
  model.dispose();
});

Deno.test("what a source lacks, has too much or in another shape is listed, and nothing is loaded", async () => {
  const model = new Pair(gpu);
  const names = ["norms.0.weight", "norms.0.bias", "norms.1.weight"];
  const weights = source([...names.map((name): [string, number[]] => [name, [2]]), ["head.x", [
    1,
  ]]]);
  const error = await assertRejects(() => model.loadFrom(weights), InputError, "x.pth");
  assertStringIncludes(error.message, "missing: norms.1.bias;");
  assertStringIncludes(error.message, "unexpected: head.x;");
  assertStringIncludes(error.message, "of another shape: norms.1.weight [2], expected [3]");
  assertEquals(model.told, 0);
  model.dispose();
});
