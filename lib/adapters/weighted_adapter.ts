import { InputError } from "../errors.ts";
import { toFloat32 } from "../formats/raw_tensor.ts";
import type { StateDict } from "../formats/state_dict.ts";
import { type Adapter, adapterParts, createAdapter } from "./adapter.ts";
import { newAdapterConfig } from "./config.ts";
import { methodOf } from "./methods.ts";
import { sizesOf } from "./targets.ts";

/** Options of {@linkcode addWeightedAdapter}, by PEFT's names. */
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
 * The weighted sum of adapters of one method as one adapter with a scaling of 1, as PEFT's
 * `add_weighted_adapter`. A layer that only some adapt takes what these have. Whole modules that one of
 * them trained come along.
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
    if (!config) throw new InputError(`${source} has no adapter_config.json: give an adapter`);
    const method = methodOf(config.peft_type);
    const { layers: inFile, saved, official } = adapterParts(adapter);
    const layers = new Map(
      [...inFile].map(([path, layer]) => {
        const { alpha } = sizesOf(path, config, method.alphaField);
        return [official(path), { ...layer, alpha }];
      }),
    );
    return { config, method, weight: weights[i], source, layers, saved, official };
  });
  const [{ method }] = parts;
  const other = parts.find((part) => part.method !== method || !method.sum);
  if (other) {
    throw new InputError(
      `${other.source} is a ${other.method.label} adapter, which has no sum with the others: ` +
        `give LoRA adapters`,
    );
  }
  const { rank, alpha, tensors } = method.sum!(parts, { combination_type });
  const result: StateDict = new Map(tensors);
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
  const modules = new Set(parts.flatMap(({ config }) => config.modules_to_save ?? []));
  const config = newAdapterConfig({
    peft_type: method.peftType,
    r: rank,
    [method.alphaField]: alpha,
    target_modules: [...new Set(parts.flatMap(({ layers }) => [...layers.keys()]))].sort(),
    modules_to_save: modules.size > 0 ? [...modules].sort() : null,
  });
  const source = `the sum of ${parts.map(({ source }) => source).join(" and ")}`;
  return createAdapter(config, result, { source });
}
