import { assert, assertEquals } from "@std/assert";
import { encodeSafetensors } from "../../../lib/formats/safetensors.ts";
import { float32Tensor } from "../../../lib/formats/raw_tensor.ts";
import fc from "fast-check";
import { join } from "node:path";
import { openAdapter } from "../../../lib/study/adapter.ts";
import { InputError } from "../../../lib/errors.ts";
import { isSavedModule, isTarget, patternValue } from "../../../lib/adapters/targets.ts";
import { type Adapter, adapterParts, adapterWeights } from "../../../lib/adapters/adapter.ts";
import { loadAdapter, saveAdapter } from "../../../lib/study/adapter_folder.ts";
import { renameAdapter } from "../../../lib/adapters/rename_adapter.ts";
import { addWeightedAdapter } from "../../../lib/adapters/weighted_adapter.ts";
import type { FuzzCase, Kind } from "../kind.ts";
import { applyAll, type Edit, jsonEdit, jsonText, labels, some } from "../mutations.ts";
import { renameEdit, safetensorsEdit } from "./safetensors.ts";

const fixtures = join(import.meta.dirname!, "..", "..", "adapters", "fixtures", "peft");

const TENSORS = "adapter_model.safetensors";
const CONFIG = "adapter_config.json";

/** Adapters that the real peft wrote, of every kind that is read here. */
const seeds = [...Deno.readDirSync(fixtures)].filter(({ isDirectory }) => isDirectory)
  .map(({ name }) => name).sort()
  .map((name) => ({
    tensors: Deno.readFileSync(join(fixtures, name, TENSORS)),
    config: Deno.readFileSync(join(fixtures, name, CONFIG)),
  }));

/** Paths of a model's Linears, in both libraries' names. */
const PATHS: readonly string[] = Object.values(
  JSON.parse(Deno.readTextFileSync(join(fixtures, "model.json"))) as Record<
    string,
    { linears: string[] }
  >,
).flatMap(({ linears }) => linears);

const FIELDS = (
  "r lora_alpha lora_dropout target_modules exclude_modules rank_pattern alpha_pattern " +
  "layers_to_transform layers_pattern modules_to_save use_rslora use_dora init_lora_weights " +
  "peft_type bias auto_mapping base_model_name_or_path"
).split(" ");

/** Expressions that may take forever, on a model's paths. */
const EXPRESSIONS = (
  String.raw`(a+)+$ (.*)*x ([a-z.]+)*$ (.|.)*z (a|aa)+$ .*.*.*.*.*.*x (\w+\.?)+! (?:.*\.)*\d+x ` +
  String.raw`^(([a-z])+.)+[A-Z]([a-z])+$ x{0,99999} (x{9999}){9999} (?=(.*)*y) [ ( \ * ` +
  String.raw`(?P<a>.)(?P=a) (?i)ATTN.QKV .*attn\.qkv all-linear \p{L}+ (?<!a{1000})b ` +
  String.raw`((((((((((a?)?)?)?)?)?)?)?)?)?)? (.*?){3}(.*?){3}x .{0,500}.{0,500}x`
).split(" ");

/** Changes to one field of the config that the readers know. */
const fieldEdit: fc.Arbitrary<Edit> = fc.tuple(
  fc.constantFrom(...FIELDS),
  fc.oneof(
    fc.constantFrom<unknown>(
      ...[null, 0, -1, 1, 4, 1.5, 2 ** 31, 1e15, 1e308, "", "x", [], {}, true, false, [[]], [null]],
      ...["LORA", "lora", "LOHA", "pissa", "pissa_niter_4", "pissa_niter_999999999", "gaussian"],
    ),
    fc.constantFrom(...EXPRESSIONS),
    fc.constantFrom(...EXPRESSIONS).map((expression) => [expression]),
    fc.tuple(fc.constantFrom(...EXPRESSIONS), fc.constantFrom(1, 4, 1e9, 2 ** 40)).map((
      [expression, value],
    ) => ({ [expression]: value })),
    fc.constant({ parent_library: "transformers.models.sam", base_model_class: "SamModel" }),
  ),
).map(([field, value]) => ({
  label: `${field} = ${JSON.stringify(value)}`,
  apply: (bytes: Uint8Array) => {
    try {
      const config = JSON.parse(new TextDecoder().decode(bytes));
      config[field] = value;
      return new TextEncoder().encode(jsonText(config));
    } catch {
      return bytes; // an edit before this one left no such config
    }
  },
}));

const onFile = (name: string, { label, apply }: Edit): Edit<Record<string, Uint8Array>> => ({
  label: `${name}: ${label}`,
  apply: (files) => files[name] ? { ...files, [name]: apply(files[name]) } : files,
});

/** A change to the names of tensors. */
const nameEdit: fc.Arbitrary<Edit> = fc.tuple(
  fc.constantFrom("lora_A", "lora_B", ".weight", "base_model.model.", "qkv", "attn", "blocks.0"),
  fc.constantFrom(
    ...["lora_A", "lora_B", "", ".", "__proto__", "lora_magnitude_vector", "blocks.1", "\n"],
  ),
).map(([from, to]) => renameEdit(from, to));

const adapterEdit: fc.Arbitrary<Edit<Record<string, Uint8Array>>> = fc.oneof(
  { weight: 5, arbitrary: fieldEdit.map((edit) => onFile(CONFIG, edit)) },
  { weight: 3, arbitrary: jsonEdit.map((edit) => onFile(CONFIG, edit)) },
  { weight: 2, arbitrary: safetensorsEdit.map((edit) => onFile(TENSORS, edit)) },
  { weight: 2, arbitrary: nameEdit.map((edit) => onFile(TENSORS, edit)) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(CONFIG, TENSORS).map((name) => ({
      label: `no ${name}`,
      apply: (files: Record<string, Uint8Array>) =>
        Object.fromEntries(Object.entries(files).filter(([other]) => other !== name)),
    })),
  },
);

/** Runs what works on an adapter without a model; each may refuse it, in a sentence. */
async function use(adapter: Adapter, folder: string): Promise<void> {
  const { config } = adapter;
  const { layers } = adapterParts(adapter);
  for (const [name, { shape, data }] of adapterWeights(adapter)) {
    assertEquals(data.length, shape.reduce((product, length) => product * length, 1), name);
  }
  const allowed = async <T>(work: () => T | Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
    }
  };
  if (config) {
    for (const path of [...PATHS, ...layers.keys()]) {
      isTarget(path, config);
      isSavedModule(path, config);
      for (const field of ["rank_pattern", "alpha_pattern"] as const) {
        const value = patternValue(path, config[field], { field });
        assert(value === undefined || Number.isFinite(value), `${field} gives ${value}`);
      }
    }
  }
  for (const library of ["segment_anything", "transformers"] as const) {
    await allowed(() => renameAdapter(adapter, library));
  }
  for (const combination_type of ["cat", "linear"] as const) {
    await allowed(() =>
      addWeightedAdapter([adapter, adapter], { weights: [1, -1], combination_type })
    );
  }
  await saveAdapter(join(folder, "again"), adapter);
  const again = await loadAdapter(join(folder, "again"));
  assertEquals(again.tensors, adapter.tensors);
  if (adapter.configText) assertEquals(again.configText, adapter.configText);
}

/** PEFT folders. */
export const peft: Kind = {
  name: "peft",
  cases: fc.tuple(fc.constantFrom(...seeds), some(adapterEdit)).map(
    ([{ tensors, config }, edits]): FuzzCase => ({
      edits: labels(edits),
      files: applyAll(
        { [TENSORS]: tensors, [CONFIG]: config } as Record<string, Uint8Array>,
        edits,
      ),
    }),
  ),
  read: async (folder) => await use(await openAdapter(folder), folder),
};

/** Two blocks of a flat file. */
const flat = encodeSafetensors(
  new Map([
    ...["a", "b"].flatMap((matrix) =>
      [0, 1, 2, 3].map((i) => {
        const shape = matrix === "a" ? [2, 4] : [4, 2];
        const values = Float32Array.from({ length: 8 }, (_, k) => k - i);
        return [`w_${matrix}_00${i}`, float32Tensor(shape, values)] as const;
      })
    ),
    ["mask_decoder.iou_token.weight", float32Tensor([1, 2], Float32Array.of(1, 2))] as const,
  ]),
);

/** A change of a name in a flat file. */
const flatNameEdit: fc.Arbitrary<Edit> = fc.tuple(
  fc.constantFrom("w_a_000", "w_b_003", "w_a_001", "mask_decoder", "iou_token"),
  fc.constantFrom("w_a_999", "w_b_000", "w_a_04", "__proto__", "prompt_encoder", "x".repeat(400)),
).map(([from, to]) => renameEdit(from, to));

/** Flat files of Sam_LoRA and SAMed. */
export const legacyLora: Kind = {
  name: "legacy_lora",
  cases: some(fc.oneof(safetensorsEdit, flatNameEdit)).map((edits) => ({
    edits: labels(edits),
    files: { "lora.safetensors": applyAll(flat, edits) },
  })),
  read: async (folder) => await use(await openAdapter(join(folder, "lora.safetensors")), folder),
};
