// Writes adapters made here for the real peft: see make_adapter_fixtures.py.
//
// deno run --allow-all tests/reference/write_adapters.ts FOLDER
import { join } from "node:path";
import { transformersName } from "../../lib/sam/names.ts";
import { injectAdapter } from "../../lib/adapters/inject.ts";
import type { LohaOptions } from "../../lib/adapters/loha.ts";
import type { LoraOptions } from "../../lib/adapters/lora.ts";
import { methodOf } from "../../lib/adapters/methods.ts";
import { Random } from "../../lib/random.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { adapterWeights, inHalfPrecision } from "../../lib/adapters/adapter.ts";
import { saveAdapter } from "../../lib/study/adapter_folder.ts";
import { collectAdapter } from "../../lib/adapters/apply_adapter.ts";
import { renameAdapter } from "../../lib/adapters/rename_adapter.ts";
import type { StateDict } from "../../lib/formats/state_dict.ts";
import { gpu } from "../gpu.ts";
import { tinySam, wave } from "../adapters/tiny_model.ts";
import { writeTensors } from "../formats/tensors_file.ts";

/** Options by name; those with loha in their name are of that method. */
const adapters: Record<string, LoraOptions & LohaOptions> = {
  default: { r: 4, lora_alpha: 8 },
  rslora_gaussian: {
    r: 3,
    lora_alpha: 5,
    use_rslora: true,
    init_lora_weights: "gaussian",
    target_modules: ["qkv", "attn.proj", "mlp.lin1", "mlp.lin2"],
  },
  dora: { r: 2, use_dora: true, target_modules: ["attn.qkv", "q_proj", "out_proj"] },
  pissa: { r: 4, lora_alpha: 2, init_lora_weights: "pissa", target_modules: ["attn.qkv"] },
  patterns: {
    target_modules: String.raw`.*\.(attn\.(qkv|proj)|v_proj)`,
    rank_pattern: { "blocks.1.attn.qkv": 5, v_proj: 2 },
    alpha_pattern: { proj: 3 },
  },
  layers: { r: 2, target_modules: ["qkv"], layers_to_transform: [0, 2], layers_pattern: "blocks" },
  blocks: { r: 2, target_modules: ["qkv", "lin1"], blocks: [1, 2] },
  q_and_v: { r: 3, lora_alpha: 6, qkv_parts: ["q", "v"], use_rslora: true },
  convolution_of_that_name: { r: 2, target_modules: ["proj"] },
  saved: { r: 4, modules_to_save: ["mask_decoder"] },
  half_saved: { r: 4, modules_to_save: ["mask_decoder"] },
  half_decoder: { r: 2, target_modules: ["q_proj", "v_proj", "mlp.lin1"] },
  transformers: { r: 4, lora_alpha: 8, use_dora: true },
  transformers_saved: {
    r: 2,
    target_modules: ["attn.qkv", "lin2"],
    rank_pattern: { "blocks.1.mlp.lin2": 3 },
    modules_to_save: ["mask_decoder"],
  },
  loha: { r: 4, alpha: 6, target_modules: ["qkv", "mlp.lin1"], rank_pattern: { lin1: 2 } },
  loha_saved: { r: 3, alpha: 5, blocks: [0, 2], modules_to_save: ["mask_decoder"] },
  transformers_loha: { r: 2, rank_dropout: 0.25, alpha_pattern: { "1.attn.qkv": 3 } },
};

const [folder] = Deno.args;
for (const [name, options] of Object.entries(adapters)) {
  const library = name.startsWith("transformers") ? "transformers" : "segment_anything";
  const inFile = library === "transformers" ? transformersName : (path: string) => path;
  const model = tinySam(library);
  const random = new Random(name);
  const method = methodOf(name.includes("loha") ? "loha" : "lora");
  const layers = await injectAdapter(model, method, { ...options, random });
  for (const [path, tensor] of model.trainableParameters()) {
    // As after training; a B with parts stays zero where it is zero.
    const values = await tensor.data();
    const parts = options.qkv_parts && path.endsWith("lora_B.weight");
    const rows = tensor.shape[0];
    const rank = options.r!;
    tensor.write(values.map((value, i) => {
      const [row, column] = [Math.floor(i / (2 * rank)), i % (2 * rank)];
      if (parts && Math.floor(row / (rows / 3)) !== (column < rank ? 0 : 2)) return value;
      return value * (1 + 0.1 * random.normal()) + 0.1 * random.normal();
    }));
  }
  const own = await collectAdapter(model, options);
  const adapter = name.startsWith("half") ? inHalfPrecision(own) : own;
  const weights = adapterWeights(adapter);
  for (const [path, tensor] of model.trainableParameters()) tensor.write(weights.get(path)!.data);
  const outputs: StateDict = new Map();
  for (const [path, layer] of layers) {
    using _ = new Scope(gpu);
    const own = inFile(path);
    const x = Tensor.from(gpu, wave(own, 3 * layer.inFeatures), [3, layer.inFeatures]);
    const y = layer.forward(x);
    outputs.set(own, { shape: y.shape, data: await y.data() });
  }
  await saveAdapter(
    join(folder, name),
    library === "transformers" ? renameAdapter(adapter, library) : adapter,
  );
  await writeTensors(join(folder, `${name}.safetensors`), outputs);
  model.dispose();
}
gpu[Symbol.dispose]();
