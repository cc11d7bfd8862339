import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import { type Adapter, adapterParts, adapterWeights } from "../../lib/adapters/adapter.ts";
import { applyAdapter } from "../../lib/adapters/apply_adapter.ts";
import { readLegacyAdapter } from "../../lib/adapters/legacy.ts";
import { InputError } from "../../lib/errors.ts";
import { hostWeights } from "../../lib/nn/weight_source.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { loadAdapter } from "../../lib/study/adapter_folder.ts";
import { gpu } from "../gpu.ts";
import { largestDifference } from "../sam/images.ts";
import { fixtures, tinyNames, tinySam, wave } from "./tiny_model.ts";

/** An adapter with other names of its tensors; null leaves one out. */
function renamed(adapter: Adapter, rename: (name: string) => string): Adapter {
  const tensors = new Map([...adapter.tensors].map(([name, tensor]) => [rename(name), tensor]));
  return { ...adapter, tensors };
}

/** The layers that applying an adapter to the tiny SAM gives, with their trained tensors. */
async function applied(adapter: Adapter): Promise<Map<string, Float32Array>> {
  const model = tinySam("segment_anything");
  const layers = await applyAdapter(model, adapter);
  const found = new Map<string, Float32Array>();
  for (const [path, layer] of layers) {
    for (const [name, tensor] of layer.trainableParameters()) {
      found.set(`${path}.${name}`, await tensor.data());
    }
  }
  model.dispose();
  return found;
}

Deno.test("adapters of a module that holds SAM, under PEFT's prefix twice, or of the encoder alone", async () => {
  for (const name of ["default", "transformers"]) {
    const adapter = await loadAdapter(join(fixtures, name));
    const expected = await applied(adapter);
    assert(expected.size > 0);
    const root = name === "default" ? "image_encoder." : "vision_encoder.";
    const variants: Record<string, (path: string) => string> = {
      "under sam.": (path) => `sam.${path}`,
      "under a trainer's module": (path) => `module.net.sam.${path}`,
      "doubled prefix": (path) => `base_model.model.${path}`,
      "encoder alone": (path) => path.replace(root, ""),
      "encoder alone, doubled prefix": (path) => `base_model.model.${path.replace(root, "")}`,
    };
    for (const [what, rename] of Object.entries(variants)) {
      if (what.startsWith("encoder")) {
        assert([...adapter.tensors.keys()].every((path) => path.startsWith(root)), name);
      }
      const config = { ...adapter.config!, auto_mapping: null };
      assertEquals(
        await applied({ ...renamed(adapter, rename), config }),
        expected,
        `${name}, ${what}`,
      );
    }
  }
});

Deno.test("an adapter of the encoder alone does not target the decoder's Linears", async () => {
  const adapter = renamed(
    await loadAdapter(join(fixtures, "default")),
    (path) => path.replace("image_encoder.", ""),
  );
  // The mask decoder has Linears of these names, too.
  const config = { ...adapter.config!, target_modules: ["qkv", "q_proj", "k_proj"] };
  assertEquals((await applied({ ...adapter, config })).size, adapter.tensors.size);
  const { covers } = adapterParts(adapter);
  assertEquals([covers("image_encoder.neck"), covers("mask_decoder.transformer")], [true, false]);
});

/** A state dict of finetune-SAM: the tiny SAM with matrices beside the qkv of one block. */
function finetuneSam(
  rank: number,
  layer: string,
): Map<string, { shape: number[]; data: Float32Array }> {
  const state = new Map<string, { shape: number[]; data: Float32Array }>();
  for (const [name, shape] of Object.entries(tinyNames.segment_anything.parameters)) {
    const own = name.startsWith(`${layer}.`) ? name.replace(layer, `${layer}.qkv`) : name;
    const size = shape.reduce((a, b) => a * b, 1);
    state.set(own, { shape: [...shape], data: wave(name, size) });
  }
  const dim = 16;
  for (const part of ["q", "v"]) {
    for (const [matrix, shape] of [["a", [rank, dim]], ["b", [dim, rank]]] as const) {
      const name = `${layer}.linear_${matrix}_${part}.weight`;
      state.set(name, { shape: [...shape], data: wave(name, rank * dim) });
    }
  }
  return state;
}

Deno.test("finetune-SAM's matrices beside a qkv add to its queries and values, unscaled", async () => {
  const layer = "image_encoder.blocks.1.attn.qkv";
  const [rank, dim] = [3, 16];
  const state = finetuneSam(rank, layer);
  const wrapped = new Map([...state].map(([name, tensor]) => [`module.${name}`, tensor]));
  for (const file of [state, wrapped]) {
    const adapter = await readLegacyAdapter(hostWeights(file, "x.pth"));
    const model = tinySam("segment_anything");
    const layers = await applyAdapter(model, adapter);
    assertEquals([...layers.keys()], [layer]);
    using _ = new Scope(gpu);
    const x = wave("x", dim);
    const y = await layers.get(layer)!.forward(Tensor.from(gpu, x, [1, dim])).data();
    const times = (matrix: Float32Array, vector: ArrayLike<number>) => {
      const columns = vector.length;
      return Float64Array.from({ length: matrix.length / columns }, (_, row) => {
        let sum = 0;
        for (let i = 0; i < columns; i++) sum += matrix[row * columns + i] * vector[i];
        return sum;
      });
    };
    const data = (name: string) => state.get(`${layer}.${name}`)!.data;
    const expected = times(data("qkv.weight"), x).map((value, i) => value + data("qkv.bias")[i]);
    for (const [part, first] of [["q", 0], ["v", 2 * dim]] as const) {
      const update = times(
        data(`linear_b_${part}.weight`),
        times(data(`linear_a_${part}.weight`), x),
      );
      update.forEach((value, i) => expected[first + i] += value);
    }
    assert(largestDifference(y, expected) < 1e-5);
    assert(adapterWeights(adapter).has("mask_decoder.iou_token.weight"));
    model.dispose();
  }
});

Deno.test("what an adapter holds that is not taken is refused by its name", async () => {
  const layer = "image_encoder.blocks.1.attn.qkv";
  const lacking = finetuneSam(2, layer);
  lacking.delete(`${layer}.linear_b_v.weight`);
  await assertRejects(
    () => readLegacyAdapter(hostWeights(lacking, "x.pth")),
    InputError,
    `x.pth lacks ${layer}.linear_b_v.weight`,
  );
  const adapter = await loadAdapter(join(fixtures, "default"));
  const [[name, tensor]] = adapter.tensors;
  const beside = (other: string, shape = tensor.shape) => ({
    ...adapter,
    tensors: new Map([...adapter.tensors, [other, { ...tensor, shape }]]),
  });
  const path = name.replace(/\.lora_[AB]\.weight$/, "");
  for (
    const [other, says] of [
      [beside(`${path}.lora_embedding_A`), /lora_embedding_A, which is not of an adapted Linear/],
      [beside(`${path}.lora_B.bias`), /lora_B\.bias, which is not of an adapted Linear/],
      [beside("image_encoder.neck.0.lora_A.weight", [2, 4, 1, 1]), /neck\.0.*(is no Linear|lacks)/],
      [
        beside("image_encoder.blocks.0.attn.qkv.lora_E"),
        /lora_E, which is not of an adapted Linear/,
      ],
    ] as const
  ) {
    const model = tinySam("segment_anything");
    const { message } = await assertRejects(() => applyAdapter(model, other), InputError);
    assert(says.test(message), message);
    model.dispose();
  }
});
