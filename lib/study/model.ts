import { InputError } from "../errors.ts";
import { loadSam } from "../files/pretrained.ts";
import { ActivationCache } from "../evaluate/activation_cache.ts";
import type { StoredActivations } from "../evaluate/stored_activations.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { checkHostState } from "../nn/host_state.ts";
import { firstTarget, injectAdapter } from "../adapters/inject.ts";
import type { AdapterOptions } from "../adapters/method.ts";
import { methodOf } from "../adapters/methods.ts";
import { Random } from "../random.ts";
import type { Sam } from "../sam/sam.ts";
import { SliceModel } from "../evaluate/slice_model.ts";
import type { StateDict } from "../formats/state_dict.ts";
import type { ActivationStorage } from "../tensor/half.ts";
import { MODELS } from "../sam/models.ts";
import { ALL_LINEAR, type Config } from "./schema.ts";
import { type Experiment, FULL_MODULES } from "./experiment.ts";

/**
 * The pretrained model with what the experiment trains unfrozen: nothing, whole modules or adapters.
 *
 * @throws {InputError} if a module or target is none of the model's.
 */
export async function buildModel(
  gpu: Gpu,
  { experiment, config }: { experiment: Experiment; config: Config },
): Promise<Sam> {
  const sam = await loadSam(gpu, config);
  sam.imageEncoder.checkpointActivations = config.checkpointActivations;
  if (experiment.kind === "peft") sam.maskDecoder.setTrainable(true);
  if (experiment.kind === "full") unfreeze(sam, experiment.modules ?? FULL_MODULES);
  if (experiment.kind === "lora") {
    const random = new Random(config.seed).fork("adapters");
    const options = adapterOptions(experiment, config);
    await injectAdapter(sam, methodOf(config.peftType), { ...options, random });
  }
  return sam;
}

/** Unfreezes modules, or lists of them such as a `neck`, by their paths. */
function unfreeze(sam: Sam, paths: readonly string[]): void {
  const modules = [...sam.namedModules()];
  for (const path of paths) {
    const chosen = modules.filter(([name]) => name === path || name.startsWith(`${path}.`));
    if (chosen.length === 0) throw new InputError(`the model has no module ${path}: name another`);
    for (const [, module] of chosen) module.setTrainable(true);
  }
}

/**
 * An empty cache of frozen activations, of the config's size.
 *
 * @param stored Activations that another process has computed.
 */
export function activationCache(
  { cacheMemory, cacheDisk }: Config,
  stored: StoredActivations | null = null,
): ActivationCache {
  const [budget, diskBudget] = [cacheMemory * 2 ** 20, cacheDisk * 2 ** 20];
  return new ActivationCache({ budget, diskBudget, stored });
}

/**
 * The model applied to slices, with the config's side and memory.
 *
 * @param cache A cache that the rows of a study share, in place of one of its own. What it holds is
 * dropped unless the pretrained weights, the slices and what of the model is frozen are the same.
 */
export function sliceModel(sam: Sam, config: Config, cache?: ActivationCache): SliceModel {
  const { model, weights, modality, target, axis, crop, rescale, seed } = config;
  const { augment, augmentVariants, precision } = config;
  const slices = { model, weights, modality, target, axis, crop, rescale, precision };
  const variants = { augment, augmentVariants, seed: augmentVariants > 0 ? seed : null };
  return new SliceModel(sam, {
    sharedActivations: cache && {
      cache,
      content: JSON.stringify({ ...slices, ...variants }),
      earlier: firstTarget(sam, targetsOf(config)), // where the rows with adapters cut
    },
    side: config.side,
    cacheBytes: config.cacheMemory * 2 ** 20,
    cacheDiskBytes: config.cacheDisk * 2 ** 20,
    precision,
    storage: storageOf(config),
  });
}

/** Format of a study's saved activations: in half precision they would be rounded as operands anyway. */
export function storageOf({ precision, storage }: Config): ActivationStorage {
  return precision === "f16" ? "f16" : storage;
}

/** An experiment's values by PEFT's names. */
export function adapterOptions(experiment: Experiment, config: Config): AdapterOptions {
  return {
    ...methodOf(config.peftType).options({ ...config, rank: experiment.rank! }),
    ...targetsOf(config),
    modules_to_save: config.modulesToSave,
  };
}

/** Linears that take adapters. */
function targetsOf(
  { model, blocks, targets }: Config,
): Required<Pick<AdapterOptions, "target_modules">> & Pick<AdapterOptions, "blocks"> {
  const { targets: { attention, mlp }, lateBlocks } = MODELS[model];
  return {
    target_modules: targets.flatMap((name) => name === ALL_LINEAR ? [...attention, ...mlp] : name),
    blocks: blocks === "late" ? lateBlocks : blocks ?? undefined,
  };
}

/**
 * Puts trained weights into a model built for the same experiment.
 *
 * @throws {InputError} naming a weight that one of the two lacks or has in another shape.
 */
export function restoreWeights(sam: Sam, weights: StateDict, source: string): void {
  const parameters = new Map(sam.trainableParameters());
  const shapes = new Map([...parameters].map(([path, { shape }]) => [path, shape]));
  checkHostState(weights, shapes, { source });
  for (const [path, tensor] of parameters) tensor.write(weights.get(path)!.data);
}
