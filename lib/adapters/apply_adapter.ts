import { excerpt, InputError } from "../errors.ts";
import { toFloat32 } from "../formats/raw_tensor.ts";
import { Linear } from "../nn/linear.ts";
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
  missingConfig,
} from "./adapter.ts";
import { type AdapterLayer, adapterLayers, mergeAdapters } from "./adapter_layer.ts";
import { newAdapterConfig } from "./config.ts";
import { DEFAULT_TARGETS, injectAdapter } from "./inject.ts";
import type { AdapterConfig, AdapterMethod, AdapterOptions, LayerTensors } from "./method.ts";
import { methodOf, parseTensorName } from "./methods.ts";
import { isSavedModule, isTarget, sizesOf } from "./targets.ts";

/** Remedy for an adapter that does not fit. */
const OTHER_MODEL = "choose the model that it was trained on (--model), or another adapter";

/** A few names and how many more there are. */
function list(names: readonly string[]): string {
  const shown = names.slice(0, 4).join(", ");
  return names.length > 4 ? `${shown} and ${names.length - 4} more` : shown || "none";
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
): Promise<Map<string, AdapterLayer>> {
  const { config, source } = adapter;
  const parts = adapterParts(adapter);
  const { layers, official, inFile, covers } = parts;
  const linears = new Map<string, Linear>();
  for (const [path, module] of model.namedModules()) {
    if (module instanceof Linear) linears.set(path, module);
  }
  const method = config && methodOf(config.peft_type);
  const ranks: Record<string, number> = {};
  const alphas: Record<string, number> = {};
  for (const [path, tensors] of layers) {
    const layer = linears.get(official(path));
    if (!layer) {
      throw new InputError(
        `${source} adapts ${path}, which the model does not have (it has ${
          list([...linears.keys()].map(inFile))
        }): ${OTHER_MODEL}`,
      );
    }
    if (!config || !method) throw missingConfig(source);
    const { rank, alpha } = checkLayer(path, { layer, tensors, config, method, source });
    ranks[exactly(official(path))] = rank;
    alphas[exactly(official(path))] = alpha;
  }
  if (config) {
    const wrapped = [...linears.keys()].filter(covers).map(inFile);
    checkTargets([...layers.keys()], wrapped, { config, source });
  }
  const whole = checkSaved(model, adapter, parts);

  if (layers.size > 0 && config && method) {
    const adapted = await injectAdapter(model, method, {
      ...method.trainedOptions(config),
      target_modules: [...layers.keys()].map(official),
      rank_pattern: ranks,
      alpha_pattern: alphas,
      random: new Random(0),
    });
    for (const [path, { tensors }] of layers) {
      for (const [name, tensor] of adapted.get(official(path))!.trainableParameters()) {
        tensor.write(toFloat32(tensors.get(name)!));
      }
    }
  } else model.setTrainable(false);
  for (const [tensor, data] of whole) tensor.setParameter(true).write(data);
  return adapterLayers(model);
}

/** Checks that the adapted layers are those that the config targets, as PEFT does. */
function checkTargets(
  adapted: readonly string[],
  linears: readonly string[],
  { config, source }: { config: AdapterConfig; source: string },
): void {
  const chosen = linears.filter((path) => isTarget(path, config));
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
  const missing = chosen.find((path) => !adapted.includes(path));
  if (missing === undefined) return;
  throw new InputError(
    `${source} lacks ${missing}, a Linear of the model that its config adapts: ` +
      `use the model that it was trained on`,
  );
}

/** A path as a regular expression that matches nothing else. */
function exactly(path: string): string {
  return path.replaceAll(".", "\\.");
}

/** Compares a layer's tensors with the model's layer and the config. */
function checkLayer(
  path: string,
  { layer, tensors, config, method, source }: {
    layer: Linear;
    tensors: LayerTensors;
    config: AdapterConfig;
    method: AdapterMethod;
    source: string;
  },
): { rank: number; alpha: number } {
  const { rank, inFeatures, outFeatures } = tensors;
  if (inFeatures !== layer.inFeatures || outFeatures !== layer.outFeatures) {
    throw new InputError(
      `${source} adapts a ${path} of ${inFeatures} to ${outFeatures} features, but the model's has ` +
        `${layer.inFeatures} to ${layer.outFeatures}: it is an adapter of another model`,
    );
  }
  const expected = sizesOf(path, config, method.alphaField);
  if (rank !== expected.rank) {
    throw new InputError(
      `${source}: ${path} is of rank ${rank}, but the config says ${expected.rank}: ` +
        `use config and weights of one adapter`,
    );
  }
  for (const { name, when } of method.tensors) {
    const exists = tensors.tensors.has(name);
    if (!when || exists === (config[when] ?? false)) continue;
    throw new InputError(
      `${source}: ${path} ${exists ? "has" : "lacks"} a ${name}, but the config says ${when} is ` +
        `${config[when] ?? false}: use config and weights of one adapter`,
    );
  }
  return expected;
}

/** Compares the tensors of whole modules with the model's; returns what goes where. */
function checkSaved(
  model: Module,
  { config, source }: Adapter,
  { saved, official, inFile, covers }: AdapterParts,
): Map<Tensor, Float32Array> {
  const parameters = new Map(model.namedParameters());
  const whole = new Map<Tensor, Float32Array>();
  for (const [name, raw] of saved) {
    const tensor = parameters.get(official(name));
    if (!tensor) {
      const parts = [...model.namedChildren()].map(([child]) => inFile(child));
      throw new InputError(
        `${source} holds ${name}, which the model does not have (it has ${
          list(parts)
        }): ${OTHER_MODEL}`,
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
    if (!config || path === "" || !covers(path) || !isSavedModule(inFile(path), config)) continue;
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

/**
 * Everything trainable in a model as an adapter, to be saved as a PEFT folder. Ranks and alphas are
 * those of the layers. Targets are named as they were asked for, or, where PEFT has no words for the
 * choice (`blocks`), by their whole paths.
 *
 * @param options The options the adapters were injected with.
 */
export async function collectAdapter(model: Module, options: AdapterOptions): Promise<Adapter> {
  const weights = await model.trainableState();
  const layers = adapterLayers(model);
  const config = layers.size === 0 ? null : trainedConfig(layers, nameable(model, options));
  return createAdapter(config, weights, { source: "the model" });
}

/** The options without names by which PEFT would find more than Linears: it adapts convolutions too. */
function nameable(model: Module, options: AdapterOptions): AdapterOptions {
  const { target_modules = DEFAULT_TARGETS } = options;
  const others = [...model.namedModules()].some(([path, module]) =>
    !(module instanceof Linear) && isTarget(path, { ...options, target_modules })
  );
  return others && target_modules !== "all-linear" ? { ...options, blocks: [] } : options;
}

function trainedConfig(
  layers: ReadonlyMap<string, AdapterLayer>,
  options: AdapterOptions,
): AdapterConfig {
  const { target_modules = DEFAULT_TARGETS, blocks, exclude_modules } = options;
  const [{ peftType }] = layers.values();
  const { alphaField, defaults } = methodOf(peftType);
  const ranks = new Map([...layers].map(([path, { rank }]) => [path, rank]));
  const alphas = new Map([...layers].map(([path, { alpha }]) => [path, alpha]));
  const r = mostCommon([...ranks.values()]);
  const alpha = mostCommon([...alphas.values()]);
  const own = Object.entries(options).filter(([field, value]) =>
    Object.hasOwn(defaults, field) && value !== undefined
  );
  return newAdapterConfig({
    ...Object.fromEntries(own),
    peft_type: peftType,
    r,
    [alphaField]: alpha,
    rank_pattern: deviations(ranks, r),
    alpha_pattern: deviations(alphas, alpha),
    target_modules: blocks ? [...layers.keys()] : target_modules,
    ...(exclude_modules?.length ? { exclude_modules } : {}),
    layers_to_transform: blocks ? null : options.layers_to_transform ?? null,
    layers_pattern: blocks ? null : options.layers_pattern ?? null,
    modules_to_save: options.modules_to_save ?? null,
  });
}

/** Weights that are read from the GPU together: a read takes 10 ms whatever its size. */
const READ_TOGETHER = 16;

/**
 * Folds a model's adapters into its weights, and gives all of them under their official names, read
 * from the GPU a few at a time if they are asked for in their order: a state dict without adapters that
 * segment_anything loads unchanged. The model must not change before they are read.
 */
export function mergedWeights(model: Module): Map<string, LazyTensor> {
  const layers = adapterLayers(model);
  mergeAdapters(model);
  const own = [...model.namedParameters()].filter(([path]) =>
    !layers.has(parseTensorName(path)?.layer ?? "")
  );
  let held: { first: number; data: Promise<Float32Array[]> } | null = null;
  const read = async (i: number) => {
    const first = i - i % READ_TOGETHER;
    if (held?.first !== first) {
      const group = own.slice(first, first + READ_TOGETHER);
      held = { first, data: Promise.all(group.map(([, tensor]) => tensor.data())) };
    }
    return (await held.data)[i - first];
  };
  return new Map(
    own.map(([path, { shape }], i) => [path, { shape, dtype: "F32", read: () => read(i) }]),
  );
}
