import type { Gpu } from "../gpu/gpu.ts";
import type { WeightSource } from "../nn/weight_source.ts";
import { ImageEncoderViT } from "./image_encoder_vit.ts";
import { MaskDecoder } from "./mask_decoder.ts";
import type { SamModel } from "./models.ts";
import { officialWeights } from "./official_weights.ts";
import { PromptEncoder } from "./prompt_encoder.ts";
import { resizeSamWeights } from "./resize_sam.ts";
import { Sam } from "./sam.ts";
import { TinyViT } from "./tiny_vit.ts";

/** Fields of a registry's row that a model is built by. */
export type Architecture = Pick<SamModel, "encoder" | "input">;

/** The modules of a model, frozen, their weights not yet set: load them before use. */
export function emptySam(gpu: Gpu, model: Architecture, { side }: { side?: number } = {}): Sam {
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
 * A model with weights, frozen.
 *
 * @param model A row of `MODELS`.
 * @param options.weights Its weights, in any layout that {@linkcode officialWeights} knows.
 * @param options.side Side S of the input, in pixels; default 1024. A ViT's weights made for another side
 * are resized (see {@linkcode resizeSamWeights}); a TinyViT takes any side.
 * @param options.onLeftOut Receives the names of tensors that lie outside of SAM.
 * @throws {InputError} if the weights cannot be read or are another model's, or the side is not a
 * multiple of the patches'.
 */
export async function buildSam(
  gpu: Gpu,
  model: Architecture,
  { weights, side, onLeftOut }: {
    weights: WeightSource;
    side?: number;
    onLeftOut?: (names: readonly string[]) => void;
  },
): Promise<Sam> {
  const sam = emptySam(gpu, model, { side });
  try {
    const source = officialWeights(weights);
    if (source.leftOut.length > 0) onLeftOut?.(source.leftOut);
    const tensors = sam.imageEncoder instanceof ImageEncoderViT
      ? resizeSamWeights(source, sam.imageEncoder)
      : source.tensors;
    return await sam.loadFrom({ ...source, tensors });
  } catch (error) {
    sam.dispose();
    throw error;
  }
}
