import { assert, assertEquals, assertRejects } from "@std/assert";
import { float32Tensor } from "../../lib/formats/raw_tensor.ts";
import { join } from "node:path";
import { InputError } from "../../lib/errors.ts";
import type { Linear } from "../../lib/nn/linear.ts";
import { adapterLayers } from "../../lib/adapters/adapter_layer.ts";
import { injectLora, type LoraOptions } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import type { Adapter } from "../../lib/adapters/adapter.ts";
import { loadAdapter, saveAdapter } from "../../lib/study/adapter_folder.ts";
import type { AdapterConfig } from "../../lib/adapters/method.ts";
import { applyAdapter, collectAdapter } from "../../lib/adapters/apply_adapter.ts";
import { renameAdapter } from "../../lib/adapters/rename_adapter.ts";
import { fixtures, tinySam, wave } from "./tiny_model.ts";

const trained = await loadAdapter(join(fixtures, "default"));

/** The adapter with another config. */
function configured(fields: Partial<AdapterConfig>): Adapter {
  return { ...trained, config: { ...trained.config!, ...fields } };
}

/** The adapter with some tensors renamed, or left out. */
function renamed(rename: (name: string) => string | null): Adapter {
  const tensors = new Map([...trained.tensors].flatMap(([name, tensor]) => {
    const own = rename(name);
    return own === null ? [] : [[own, tensor] as const];
  }));
  return { ...trained, tensors };
}

/** Adapters that do not fit, and the sentences about them. */
const misfits: Readonly<Record<string, [Adapter, RegExp]>> = {
  "another model": [
    renamed((name) => name.replace("blocks", "layers.1.blocks")),
    /image_encoder\.layers\.1\.blocks\.0\.attn\.qkv.*does not have.*image_encoder\.blocks\.0/,
  ],
  "more blocks": [
    renamed((name) => name.replace("blocks.2", "blocks.11")),
    /blocks\.11\.attn\.qkv, which the model does not have .*: choose the model/,
  ],
  "fewer blocks": [
    renamed((name) => name.includes("blocks.2") ? null : name),
    /lacks image_encoder\.blocks\.2\.attn\.qkv/,
  ],
  "another width": [
    renamed((name) => name.replace("attn.qkv", "mlp.lin1")),
    /mlp\.lin1 of 16 to 48 features, but the model's has 16 to 32/,
  ],
  "another rank": [configured({ r: 8 }), /blocks\.0\.attn\.qkv is of rank 4.*config says 8/],
  "targets that nothing is": [
    configured({ target_modules: ["nothing"] }),
    /targets no Linear.*\["nothing"\].*the model has image_encoder\.blocks\.0\.attn\.qkv/,
  ],
  "layers beside those that the config targets": [
    configured({ layers_to_transform: [0, 2] }),
    /adapts image_encoder\.blocks\.1\.attn\.qkv, which its config does not target/,
  ],
  "a layer that the config excludes": [
    configured({ exclude_modules: ["2.attn.qkv"] }),
    /adapts image_encoder\.blocks\.2\.attn\.qkv, which its config does not target/,
  ],
  "a config of targets without any adapted layer": [
    { ...configured({ target_modules: ["nothing"] }), tensors: new Map() },
    /targets no Linear/,
  ],
  "a pattern that never ends": [
    configured({ target_modules: "(a+)+" }),
    /target_modules "\(a\+\)\+" repeats/,
  ],
  "DoRA without magnitudes": [configured({ use_dora: true }), /lacks a lora_magnitude_vector/],
  "a module to save that is missing": [
    configured({ modules_to_save: ["mask_decoder"] }),
    /lacks mask_decoder\./,
  ],
  "a tensor that no module has": [
    {
      ...trained,
      tensors: new Map([...trained.tensors, [
        "head.weight",
        trained.tensors.values().next().value!,
      ]]),
    },
    /holds head\.weight, which the model does not have \(it has image_encoder, prompt_encoder/,
  ],
  "A without B": [
    renamed((name) => name.endsWith("0.attn.qkv.lora_B.weight") ? null : name),
    /blocks\.0\.attn\.qkv lacks its lora_B\.weight/,
  ],
  "an adapted convolution": [
    {
      ...trained,
      tensors: new Map(
        [...trained.tensors].map((
          [name, tensor],
        ) => [
          name,
          name.endsWith("0.attn.qkv.lora_A.weight") ? { ...tensor, shape: [4, 16, 1, 1] } : tensor,
        ]),
      ),
    },
    /blocks\.0\.attn\.qkv is no Linear/,
  ],
  "no config": [{ ...trained, config: null }, /no adapter_config\.json/],
};

Deno.test("an adapter that does not fit costs one sentence and leaves the model as it was", async () => {
  const model = tinySam("segment_anything");
  for (const [name, [adapter, says]] of Object.entries(misfits)) {
    const { message } = await assertRejects(() => applyAdapter(model, adapter), InputError);
    assert(says.test(message), `${name}: ${message}`);
    assert(!message.includes("\n") && message.length < 500, message);
    assertEquals(adapterLayers(model).size, 0, name);
  }
  assertEquals((await applyAdapter(model, trained)).size, 3);
  model.dispose();
});

Deno.test("a name that both libraries have means what the library that peft wrapped calls so", async () => {
  const official = "mask_decoder.iou_prediction_head.layers.1";
  const sam = tinySam("segment_anything");
  const [, layer] = [...sam.namedModules()].find(([path]) => path === official)!;
  const { inFeatures, outFeatures } = layer as Linear;
  sam.dispose();
  const tensors = new Map([
    [".lora_A.weight", float32Tensor([4, inFeatures], wave("A", 4 * inFeatures))],
    [".lora_B.weight", float32Tensor([outFeatures, 4], wave("B", 4 * outFeatures))],
  ]);
  const named = (path: string, fields: Partial<AdapterConfig>): Adapter => ({
    ...configured({ target_modules: [path], ...fields }),
    tensors: new Map([...tensors].map(([end, tensor]) => [path + end, tensor])),
  });
  const library = { parent_library: "transformers.models.sam.modeling_sam" };
  const theirs = named("mask_decoder.iou_prediction_head.layers.0", { auto_mapping: library });
  const own = named(official, {});
  for (const adapter of [theirs, renameAdapter(own, "transformers"), own]) {
    const model = tinySam("segment_anything");
    assertEquals([...(await applyAdapter(model, adapter)).keys()], [official]);
    model.dispose();
  }
  assertEquals([...renameAdapter(theirs, "segment_anything").tensors.keys()], [
    ...own.tensors.keys(),
  ]);
});

Deno.test("a shallower model names the block that it lacks", async () => {
  const model = tinySam("segment_anything", { depth: 2 });
  await assertRejects(() => applyAdapter(model, trained), InputError, "blocks.2.attn.qkv");
  model.dispose();
});

Deno.test("a damaged adapter folder costs one sentence", async () => {
  const text = await Deno.readTextFile(join(fixtures, "default", "adapter_config.json"));
  const cases: [string | null, RegExp][] = [
    [text.slice(0, 200), /adapter_config\.json is not JSON/],
    ["[]", /not the config of a .* adapter/],
    [text.replace('"LORA"', '"IA3"'), /an adapter of type IA3, which is not supported/],
    [text.replace('"LORA"', '"ADALORA"'), /an adapter of type ADALORA, which is not supported/],
    [text.replace('"r": 4', '"r": 0'), /: r is not valid/],
    [text.replace('"lora_alpha": 8', '"lora_alpha": "8"'), /lora_alpha is not valid/],
    [text.replace('"bias": "none"', '"bias": "all"'), /sets bias to "all"/],
    [text.replace('"use_qalora": false', '"use_qalora": true'), /use_qalora/],
    [text.replace('"init_lora_weights": true', '"init_lora_weights": "olora"'), /olora/],
    [null, /has no adapter_config\.json/],
  ];
  for (const [config, says] of cases) {
    const folder = await Deno.makeTempDir();
    await saveAdapter(folder, trained);
    const path = join(folder, "adapter_config.json");
    if (config === null) await Deno.remove(path);
    else {
      assert(config !== text, `${says} changes nothing`);
      await Deno.writeTextFile(path, config);
    }
    const { message } = await assertRejects(() => loadAdapter(folder), InputError);
    assert(says.test(message), message);
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("unknown fields and other element types survive loading and saving", async () => {
  const folder = await Deno.makeTempDir();
  const config =
    '{\n  "peft_type": "LORA", "r": 4, "lora_alpha": 8.50,\n  "target_modules": ["qkv"],\n' +
    '  "new_field": {"10": 1e-07, "9": "ä"}\n}\n';
  const tensors = new Map([
    ["z.lora_A.weight", {
      dtype: "BF16" as const,
      shape: [4, 2],
      bytes: new Uint8Array(16).fill(7),
    }],
    ["a.lora_A.weight", float32Tensor([1, 2], Float32Array.of(1, 1e-40))],
  ]);
  await saveAdapter(folder, {
    ...trained,
    configText: config,
    tensors,
    metadata: { z: "1", a: "ß" },
  });
  const bytes = await Deno.readFile(join(folder, "adapter_model.safetensors"));
  const again = await Deno.makeTempDir();
  await saveAdapter(again, await loadAdapter(folder));
  assertEquals(await Deno.readFile(join(again, "adapter_model.safetensors")), bytes);
  assertEquals(await Deno.readTextFile(join(again, "adapter_config.json")), config);
  for (const path of [folder, again]) await Deno.remove(path, { recursive: true });
});

Deno.test("what was injected and trained comes back by its own config", async () => {
  const kinds: LoraOptions[] = [
    { r: 3, lora_alpha: 5, use_rslora: true, target_modules: ["qkv", "lin1"] },
    { r: 2, use_dora: true, blocks: [0, 2] },
    { target_modules: ".*\\.attn\\.(qkv|proj)", rank_pattern: { proj: 2, "1.attn.qkv": 5 } },
    { r: 2, lora_alpha: 4, qkv_parts: ["q", "v"], modules_to_save: ["mask_decoder"] },
    { r: 2, target_modules: "all-linear" },
  ];
  for (const options of kinds) {
    const model = tinySam("segment_anything");
    const layers = await injectLora(model, { ...options, random: new Random(3) });
    const random = new Random("trained");
    for (const [, tensor] of model.trainableParameters()) {
      tensor.write(Float32Array.from({ length: tensor.size }, () => 0.1 * random.normal()));
    }
    const adapter = await collectAdapter(model, options);
    const other = tinySam("segment_anything");
    const restored = await applyAdapter(other, adapter);
    assertEquals([...restored.keys()], [...layers.keys()]);
    for (const [path, layer] of restored) {
      assertEquals(layer.scaling, layers.get(path)!.scaling, path);
    }
    const weights = new Map(other.trainableParameters());
    assertEquals([...weights.keys()], model.trainableParameters().map(([path]) => path));
    const again = await collectAdapter(other, options);
    for (const [name, { bytes }] of adapter.tensors) {
      assertEquals(again.tensors.get(name)!.bytes, bytes, name);
    }
    model.dispose();
    other.dispose();
  }
});
