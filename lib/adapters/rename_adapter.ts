import { type Adapter, adapterParts } from "./adapter.ts";
import { transformersName } from "../sam/names.ts";
import { patternValue } from "./targets.ts";

/** PEFT's note of transformers' SamModel; some names mean different modules without it. */
const SAM_MODEL = {
  base_model_class: "SamModel",
  parent_library: "transformers.models.sam.modeling_sam",
};

/**
 * An adapter under the names of the other library: of segment_anything's Sam, or of transformers'
 * SamModel. Targets and patterns are written out as whole paths, which mean the same module in both.
 *
 * @throws {InputError} if the adapter lacks a tensor.
 */
export function renameAdapter(
  adapter: Adapter,
  library: "segment_anything" | "transformers",
): Adapter {
  const { config, metadata, source } = adapter;
  const { layers, saved, official } = adapterParts(adapter);
  const rename = (path: string) =>
    library === "transformers" ? transformersName(official(path)) : official(path);

  const renamed = [...saved].map(([name, tensor]) => [rename(name), tensor] as const);
  for (const [path, layer] of layers) {
    for (const [name, tensor] of layer.tensors) renamed.push([`${rename(path)}.${name}`, tensor]);
  }
  const tensors = new Map(renamed.sort(([a], [b]) => a < b ? -1 : 1));
  if (!config) return { config, tensors, metadata, source };

  const written = (field: "rank_pattern" | "alpha_pattern"): Record<string, number> =>
    Object.fromEntries(
      [...layers.keys()].flatMap((path) => {
        const value = patternValue(path, config[field], { field });
        return value === undefined ? [] : [[rename(path).replaceAll(".", "\\."), value]];
      }),
    );
  return {
    config: {
      ...config,
      auto_mapping: library === "transformers" ? SAM_MODEL : null,
      base_model_name_or_path: null,
      exclude_modules: null,
      layers_to_transform: null,
      layers_pattern: null,
      target_modules: [...layers.keys()].map(rename).sort(),
      rank_pattern: written("rank_pattern"),
      alpha_pattern: written("alpha_pattern"),
      modules_to_save: config.modules_to_save?.map(rename) ?? null,
    },
    tensors,
    metadata,
    source,
  };
}
