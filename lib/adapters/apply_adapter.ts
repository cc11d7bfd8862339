import { InputError } from "../errors.ts";
import { Linear } from "../nn/linear.ts";
import {
  injectLora,
  LORA_WEIGHT,
  loraLayers,
  type LoraLinear,
  type LoraOptions,
  mergeLora,
} from "./lora.ts";
import { isLoraTarget, isSavedModule, patternValue } from "./lora_targets.ts";
import type { Module } from "../nn/module.ts";
import type { LazyTensor } from "../nn/weight_source.ts";
import { Random } from "../random.ts";
import { sameShape, shapeText } from "../tensor/shape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import {
  type Adapter,
  type AdapterParts,
  adapterParts,
  createAdapter,
  type LayerTensors,
} from "./adapter.ts";
import { type AdapterConfig, newAdapterConfig } from "./adapter_config.ts";
import { toFloat32 } from "../formats/raw_tensor.ts";
import type { StateDict } from "../formats/state_dict.ts";

/** A few names and how many more there are. */
function list(names: readonly string[]): string {
  const shown = names.slice(0, 4).join(", ");
  return names.length > 4 ? `${shown} and ${names.length - 4} more` : shown || "none";
}

/** The beginning of a text that may be long. */
function excerpt(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

/**
 * Puts a trained adapter into a model: its layers get adapters with the trained A and B, the modules
 * that were trained as a whole their trained weights. Everything else is frozen. Paths of
 * segment_anything's Sam and of transformers' SamModel are both understood.
 *
 * @returns the adapted layers by their paths in the model.
 * @throws {InputError} naming what does not fit: an adapter of another model, depth or rank, or layers
 *   that its config does not target. The model is then unchanged.
 */
export async function applyAdapter(
  model: Module,
  adapter: Adapter,
): Promise<Map<string, LoraLinear>> {
  const { config, source } = adapter;
  const parts = adapterParts(adapter);
  const { layers, official, inFile } = parts;
  const linears = new Map<string, Linear>();
  for (const [path, module] of model.namedModules()) {
    if (module instanceof Linear) linears.set(path, module);
  }
  const parameters = new Map(model.namedParameters());

  const ranks: Record<string, number> = {};
  const alphas: Record<string, number> = {};
  for (const [path, tensors] of layers) {
    const layer = linears.get(official(path));
    if (!layer) {
      throw new InputError(
        `${source} adapts ${path}, which the model does not have: it has ${
          list([...linears.keys()].map(inFile))
        }`,
      );
    }
    const { rank, alpha } = checkLayer(path, { layer, tensors, config, source });
    ranks[exactly(official(path))] = rank;
    alphas[exactly(official(path))] = alpha;
  }
  if (config) checkTargets([...layers.keys()], [...linears.keys()].map(inFile), { config, source });
  for (const path of linears.keys()) {
    const named = inFile(path);
    if (config && isLoraTarget(named, config) && !layers.has(named)) {
      throw new InputError(
        `${source} lacks ${named}, a Linear of the model that its config adapts: ` +
          `use the model that it was trained on`,
      );
    }
  }
  const whole = checkSaved(model, adapter, { ...parts, parameters });

  if (layers.size > 0 && config) {
    const adapted = await injectLora(model, {
      target_modules: [...layers.keys()].map(official),
      rank_pattern: ranks,
      alpha_pattern: alphas,
      lora_dropout: config.lora_dropout,
      use_rslora: config.use_rslora,
      use_dora: config.use_dora,
      // Loading overwrites A and B, but PiSSA's base is what its start leaves of the weight.
      init_lora_weights: startOf(config),
      random: new Random(0),
    });
    for (const [path, { loraA, loraB, magnitude }] of layers) {
      const layer = adapted.get(official(path))!;
      layer.lora_A.weight.write(toFloat32(loraA));
      layer.lora_B.weight.write(toFloat32(loraB));
      if (magnitude) layer.lora_magnitude_vector!.write(toFloat32(magnitude));
    }
  } else model.setTrainable(false);
  for (const [tensor, data] of whole) tensor.setParameter(true).write(data);
  return loraLayers(model);
}

/** Refuses adapted layers that the config does not target, and a config without targets, as PEFT does. */
function checkTargets(
  adapted: readonly string[],
  linears: readonly string[],
  { config, source }: { config: AdapterConfig; source: string },
): void {
  const chosen = linears.filter((path) => isLoraTarget(path, config));
  if (chosen.length === 0 && (adapted.length > 0 || config.target_modules.length > 0)) {
    throw new InputError(
      `${source}: its config targets no Linear of the model (target_modules is ${
        excerpt(JSON.stringify(config.target_modules))
      }): the model has ${list(linears)}`,
    );
  }
  const stray = adapted.find((path) => !chosen.includes(path));
  if (stray !== undefined) {
    throw new InputError(
      `${source} adapts ${stray}, which its config does not target (it targets ${list(chosen)}): ` +
        `use config and weights of one adapter`,
    );
  }
}

/** A path as a regular expression that matches nothing else. */
function exactly(path: string): string {
  return path.replaceAll(".", "\\.");
}

function startOf({ init_lora_weights: start }: AdapterConfig): LoraOptions["init_lora_weights"] {
  return typeof start === "string" && start.startsWith("pissa") ? start : true;
}

/** Compares a layer's tensors with the model's layer and the config. */
function checkLayer(
  path: string,
  { layer, tensors, config, source }: {
    layer: Linear;
    tensors: LayerTensors;
    config: AdapterConfig | null;
    source: string;
  },
): { rank: number; alpha: number } {
  const { loraA, loraB, magnitude } = tensors;
  const [rank, inFeatures] = loraA.shape;
  const outFeatures = loraB.shape[0];
  if (inFeatures !== layer.inFeatures || outFeatures !== layer.outFeatures) {
    throw new InputError(
      `${source} adapts a ${path} of ${inFeatures} to ${outFeatures} features, but the model's has ` +
        `${layer.inFeatures} to ${layer.outFeatures}: it is an adapter of another model`,
    );
  }
  if (!config) throw new InputError(`${source} has no adapter_config.json: get the folder again`);
  const expected = patternValue(path, config.rank_pattern, { field: "rank_pattern" }) ?? config.r;
  if (rank !== expected) {
    throw new InputError(
      `${source}: ${path} is of rank ${rank}, but the config says ${expected}: ` +
        `use config and weights of one adapter`,
    );
  }
  if ((magnitude !== null) !== (config.use_dora ?? false)) {
    throw new InputError(
      `${source}: ${path} ${magnitude ? "has" : "lacks"} a DoRA magnitude, but the config says ` +
        `use_dora is ${config.use_dora ?? false}: use config and weights of one adapter`,
    );
  }
  if (magnitude && !sameShape(magnitude.shape, [outFeatures])) {
    throw new InputError(
      `${source}: the magnitude of ${path} has shape [${magnitude.shape}] instead of ` +
        `[${outFeatures}]: get the adapter again`,
    );
  }
  const own = patternValue(path, config.alpha_pattern, { field: "alpha_pattern" });
  return { rank, alpha: own ?? config.lora_alpha };
}

/** Compares the tensors of whole modules with the model's; returns what goes where. */
function checkSaved(
  model: Module,
  { config, source }: Adapter,
  { saved, official, inFile, parameters }: AdapterParts & {
    readonly parameters: ReadonlyMap<string, Tensor>;
  },
): Map<Tensor, Float32Array> {
  const whole = new Map<Tensor, Float32Array>();
  for (const [name, raw] of saved) {
    const tensor = parameters.get(official(name));
    if (!tensor) {
      const parts = [...model.namedChildren()].map(([child]) => inFile(child));
      throw new InputError(
        `${source} holds ${name}, which the model does not have: it has ${list(parts)}`,
      );
    }
    if (!sameShape(tensor.shape, raw.shape)) {
      throw new InputError(
        `${source} holds ${name} of shape ${shapeText(raw.shape)}, but the model's is ${
          shapeText(tensor.shape)
        }: it is an adapter of another model`,
      );
    }
    whole.set(tensor, toFloat32(raw));
  }
  for (const [path, module] of model.namedModules()) {
    if (!config || path === "" || !isSavedModule(inFile(path), config)) continue;
    for (const [name, tensor] of module.namedParameters(path)) {
      if (whole.has(tensor)) continue;
      throw new InputError(
        `${source} lacks ${inFile(name)}, which its config says was trained: get it again`,
      );
    }
  }
  return whole;
}

/** The value that most of a list have. */
function mostCommon(values: readonly number[]): number {
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return [...counts].reduce((a, b) => b[1] > a[1] ? b : a)[0];
}

/** Values other than the most common one, by expressions that match one path each. */
function deviations(values: ReadonlyMap<string, number>, common: number): Record<string, number> {
  return Object.fromEntries(
    [...values].filter(([, value]) => value !== common).map(([path, value]) => [
      exactly(path),
      value,
    ]),
  );
}

/** What was asked of {@linkcode injectLora}, for the config of the adapter. */
export type TrainedOptions = Omit<LoraOptions, "r" | "lora_alpha" | "rank_pattern">;

/**
 * Everything trainable in a model as an adapter for {@linkcode saveAdapter}. Ranks and alphas are those
 * of the layers. Targets are named as they were asked for, or, where PEFT has no words for the
 * choice (`blocks`), by their whole paths.
 *
 * @param options The options the adapters were injected with.
 */
export async function collectAdapter(model: Module, options: TrainedOptions): Promise<Adapter> {
  const weights: StateDict = new Map(
    await Promise.all(
      model.trainableParameters().map(async ([path, tensor]) =>
        [path, { shape: tensor.shape, data: await tensor.data() }] as const
      ),
    ),
  );
  const layers = loraLayers(model);
  const config = layers.size === 0 ? null : trainedConfig(layers, nameable(model, options));
  return createAdapter(config, weights, { source: "the model" });
}

/** The options without names by which PEFT would find more than Linears: it adapts convolutions too. */
function nameable(model: Module, options: TrainedOptions): TrainedOptions {
  const { target_modules = ["attn.qkv"] } = options;
  const others = [...model.namedModules()].some(([path, module]) =>
    !(module instanceof Linear) && isLoraTarget(path, { ...options, target_modules })
  );
  return others && target_modules !== "all-linear" ? { ...options, blocks: [] } : options;
}

function trainedConfig(
  layers: ReadonlyMap<string, LoraLinear>,
  options: TrainedOptions,
): AdapterConfig {
  const { target_modules = ["attn.qkv"], blocks } = options;
  const ranks = new Map([...layers].map(([path, { rank }]) => [path, rank]));
  const alphas = new Map([...layers].map(([path, { alpha }]) => [path, alpha]));
  const r = mostCommon([...ranks.values()]);
  const lora_alpha = mostCommon([...alphas.values()]);
  const exclude = options.exclude_modules?.length
    ? { exclude_modules: options.exclude_modules }
    : {};
  return newAdapterConfig({
    r,
    lora_alpha,
    rank_pattern: deviations(ranks, r),
    alpha_pattern: deviations(alphas, lora_alpha),
    lora_dropout: options.lora_dropout ?? 0,
    target_modules: blocks ? [...layers.keys()] : target_modules,
    ...exclude,
    layers_to_transform: blocks ? null : options.layers_to_transform ?? null,
    layers_pattern: blocks ? null : options.layers_pattern ?? null,
    modules_to_save: options.modules_to_save ?? null,
    use_rslora: options.use_rslora ?? false,
    use_dora: options.use_dora ?? false,
    init_lora_weights: options.init_lora_weights ?? true,
  });
}

/**
 * Folds a model's adapters into its weights, and gives all of them under their official names, read
 * from the GPU one at a time: a state dict without adapters that segment_anything loads unchanged.
 */
export function mergedWeights(model: Module): Map<string, LazyTensor> {
  const layers = loraLayers(model);
  mergeLora(model);
  const weights = new Map<string, LazyTensor>();
  for (const [path, tensor] of model.namedParameters()) {
    const owner = path.replace(LORA_WEIGHT, "");
    if (owner !== path && layers.has(owner)) continue;
    weights.set(path, { shape: tensor.shape, dtype: "F32", read: () => tensor.data() });
  }
  return weights;
}
