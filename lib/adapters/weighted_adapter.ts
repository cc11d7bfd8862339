import { excerpt, InputError } from "../errors.ts";
import { isPissa } from "./lora_init.ts";
import { patternValue } from "./lora_targets.ts";
import { type Adapter, adapterParts, createAdapter } from "./adapter.ts";
import { newAdapterConfig } from "./adapter_config.ts";
import { toFloat32 } from "../formats/raw_tensor.ts";
import type { StateDict } from "../formats/state_dict.ts";

/** Elements of a matrix of the sum: those of rank 1024 on the widest Linear of SAM are 2^23. */
const MAXIMUM_ELEMENTS = 2 ** 26;

/** How {@linkcode addWeightedAdapter} combines, by PEFT's names. */
export interface WeightedAdapterOptions {
  /** One for each adapter; negative ones take away. */
  readonly weights: readonly number[];
  /**
   * `"cat"` stacks the adapters: the update is the weighted sum of their updates, the rank the sum of
   * their ranks. `"linear"` sums A and B themselves with the roots of the weights, for adapters of one
   * rank: small, but a rough approximation.
   */
  readonly combination_type: "cat" | "linear";
}

/**
 * The weighted sum of adapters as one adapter with a scaling of 1, as PEFT's `add_weighted_adapter`. A
 * layer that only some adapt takes what these have. Whole modules that one of them trained come along.
 *
 * PEFT keeps `use_rslora` and so scales the sum again; here it is off.
 *
 * @throws {InputError} if the adapters cannot be summed.
 */
export function addWeightedAdapter(
  adapters: readonly Adapter[],
  { weights, combination_type }: WeightedAdapterOptions,
): Adapter {
  if (adapters.length === 0 || adapters.length !== weights.length) {
    throw new InputError(
      `${weights.length} weights came for ${adapters.length} adapters: give each one weight`,
    );
  }
  const parts = adapters.map((adapter, i) => {
    const { config, source } = adapter;
    if (!config) throw new InputError(`${source} has no adapter_config.json: give a LoRA adapter`);
    if (config.use_dora) {
      throw new InputError(
        `${source} is a DoRA adapter, whose update is no sum: give LoRA adapters`,
      );
    }
    if (isPissa(config.init_lora_weights ?? true)) {
      throw new InputError(
        `${source} is a PiSSA adapter, whose base is not the model: convert it to LoRA with PEFT`,
      );
    }
    return { config, weight: weights[i], source, ...adapterParts(adapter) };
  });
  // Of the tensors, not of the config: a config may name any rank.
  const ranks = parts.map(({ layers }) =>
    [...layers.values()].reduce((most, { loraA }) => Math.max(most, loraA.shape[0]), 1)
  );
  if (combination_type === "linear" && new Set(ranks).size > 1) {
    throw new InputError(
      `adapters of the ranks ${ranks.join(", ")} have no linear sum: combine them with "cat"`,
    );
  }
  const rank = combination_type === "cat" ? ranks.reduce((a, b) => a + b) : ranks[0];
  for (const { layers, source } of parts) {
    for (const [path, { loraA, loraB }] of layers) {
      if (rank * Math.max(loraA.shape[1], loraB.shape[0]) <= MAXIMUM_ELEMENTS) continue;
      throw new InputError(
        `${source} has a ${excerpt(path)} of ${loraA.shape[1]} to ${
          loraB.shape[0]
        } features, too ` +
          `many for the sum's rank of ${rank}: sum adapters of one model`,
      );
    }
  }

  const result: StateDict = new Map();
  const targets = new Set(
    parts.flatMap(({ layers, official }) => [...layers.keys()].map(official)),
  );
  for (const target of targets) {
    let sizes: { inFeatures: number; outFeatures: number } | null = null;
    let a = new Float32Array(0);
    let b = new Float32Array(0);
    let start = 0;
    for (const { layers, official, config, weight, source } of parts) {
      const [path, tensors] = [...layers].find(([path]) => official(path) === target) ?? [];
      if (!path || !tensors) continue;
      const [own, inFeatures] = tensors.loraA.shape;
      const outFeatures = tensors.loraB.shape[0];
      if (!sizes) {
        sizes = { inFeatures, outFeatures };
        a = new Float32Array(rank * inFeatures);
        b = new Float32Array(outFeatures * rank);
      } else if (sizes.inFeatures !== inFeatures || sizes.outFeatures !== outFeatures) {
        throw new InputError(
          `${source} has a ${path} of ${inFeatures} to ${outFeatures} features, the others ` +
            `${sizes.inFeatures} to ${sizes.outFeatures}: sum adapters of one model`,
        );
      }
      const special = patternValue(path, config.alpha_pattern, { field: "alpha_pattern" });
      const alpha = special ?? config.lora_alpha;
      const factor = weight * alpha / (config.use_rslora ? Math.sqrt(own) : own);
      const root = Math.sqrt(Math.abs(factor));
      const [toA, toB] = combination_type === "cat"
        ? [factor, 1]
        : [Math.sign(factor) * root, root];
      toFloat32(tensors.loraA).forEach((value, i) => a[start * inFeatures + i] += toA * value);
      toFloat32(tensors.loraB).forEach((value, i) => {
        b[Math.floor(i / own) * rank + start + i % own] += toB * value;
      });
      if (combination_type === "cat") start += own;
    }
    const { inFeatures, outFeatures } = sizes!;
    result.set(`${target}.lora_A.weight`, { shape: [rank, inFeatures], data: a });
    result.set(`${target}.lora_B.weight`, { shape: [outFeatures, rank], data: b });
  }
  for (const { saved, official, source } of parts) {
    for (const [path, raw] of saved) {
      const name = official(path);
      if (result.has(name)) {
        throw new InputError(
          `${source} and another adapter both trained ${name}: whole weights do not add`,
        );
      }
      result.set(name, { shape: raw.shape, data: toFloat32(raw) });
    }
  }
  const config = newAdapterConfig({
    r: rank,
    lora_alpha: rank,
    target_modules: [...targets].sort(),
    modules_to_save: savedModules(parts.map(({ config }) => config.modules_to_save)),
  });
  const source = `the sum of ${parts.map(({ source }) => source).join(" and ")}`;
  return createAdapter(config, result, { source });
}

function savedModules(lists: readonly (readonly string[] | null | undefined)[]): string[] | null {
  const names = new Set(lists.flatMap((list) => list ?? []));
  return names.size > 0 ? [...names].sort() : null;
}
