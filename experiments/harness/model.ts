import { InputError } from "../../lib/errors.ts";
import type { Gpu } from "../../lib/gpu/gpu.ts";
import { injectLora } from "../../lib/nn/lora.ts";
import { Random } from "../../lib/random.ts";
import {
  buildMobileSam,
  buildSamVitB,
  buildSamVitH,
  buildSamVitL,
} from "../../lib/sam/build_sam.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { checkHostState } from "../../lib/nn/host_state.ts";
import type { AdapterConfig } from "../../lib/weights/adapter.ts";
import { checkpointPath, CHECKPOINTS } from "../../lib/weights/download.ts";
import type { StateDict } from "../../lib/weights/state_dict.ts";
import type { Config, Experiment } from "./config.ts";

/** What the models are called in tables. */
export const MODEL_NAMES: Readonly<Record<Config["model"], string>> = {
  mobile_sam: "MobileSAM",
  vit_b: "SAM ViT-B",
  vit_l: "SAM ViT-L",
  vit_h: "SAM ViT-H",
};

/**
 * The file of a model's pretrained weights: the one that the config names, else the one that
 * `./run weights` fetched; null for MobileSAM's, which come with the package.
 *
 * @throws {InputError} if there is none.
 */
export async function weightsFile({ model, weights }: Config): Promise<string | null> {
  if (weights !== null || model === "mobile_sam") return weights;
  const cached = checkpointPath(CHECKPOINTS[model]);
  try {
    await Deno.stat(cached);
    return cached;
  } catch {
    throw new InputError(
      `--model ${model} needs its weights: ./run weights ${model} fetches them, or name a file with --weights`,
    );
  }
}

/**
 * The pretrained model that a config names, frozen.
 *
 * @throws {InputError} if its weights are not named, cannot be read or are another model's.
 */
async function buildBase(gpu: Gpu, config: Config): Promise<Sam> {
  const { model, side } = config;
  const weights = await weightsFile(config);
  if (model === "mobile_sam") return await buildMobileSam(gpu, { weights: weights ?? undefined });
  const build = { vit_b: buildSamVitB, vit_l: buildSamVitL, vit_h: buildSamVitH }[model];
  return await build(gpu, { weights: weights!, side });
}

/** The pretrained model with what the experiment trains unfrozen: nothing, the decoder or adapters. */
export async function buildModel(
  gpu: Gpu,
  { experiment, config }: { experiment: Experiment; config: Config },
): Promise<Sam> {
  const sam = await buildBase(gpu, config);
  if (experiment.kind === "peft") sam.maskDecoder.setTrainable(true);
  if (experiment.kind === "lora") {
    injectLora(sam.imageEncoder, {
      rank: experiment.rank!,
      alpha: config.alpha,
      dropout: config.dropout,
      targets: config.targets,
      blocks: config.blocks ?? undefined,
      random: new Random(config.seed).fork("adapters"),
    });
  }
  return sam;
}

/** PEFT's description of an experiment's adapters; null if it has none. */
export function adapterConfig(experiment: Experiment, config: Config): AdapterConfig | null {
  if (experiment.kind !== "lora") return null;
  return {
    peft_type: "LORA",
    r: experiment.rank!,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    target_modules: config.targets,
  };
}

/** The trained weights of a model, on the host. */
export async function trainedWeights(sam: Sam): Promise<StateDict> {
  const weights: StateDict = new Map();
  for (const [path, tensor] of sam.trainableParameters()) {
    weights.set(path, { shape: tensor.shape, data: await tensor.data() });
  }
  return weights;
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
