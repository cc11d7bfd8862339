import type { InputRule } from "../data/preprocess.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Module } from "../nn/module.ts";
import { reshape } from "../tensor/ops/movement.ts";
import { resizeBilinear } from "../tensor/ops/resize.ts";
import { crop2d } from "../tensor/ops/window.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { ImageEncoder } from "./image_encoder.ts";
import type { MaskDecoder } from "./mask_decoder.ts";
import { SAM_INPUT } from "./models.ts";
import type { PromptEncoder, SamPrompt } from "./prompt_encoder.ts";

/** Height and width in pixels. */
export type Size = readonly [height: number, width: number];

/** Segment Anything (Kirillov et al. 2023): an image encoder, a prompt encoder and a mask decoder. */
export class Sam extends Module {
  /** Logits above it are mask. */
  static readonly maskThreshold = 0;
  /** [B, S, S, 3] -> [B, S/16, S/16, 256] */
  readonly imageEncoder: ImageEncoder;
  /** Points, boxes and masks to embeddings. */
  readonly promptEncoder: PromptEncoder;
  /** Embeddings of image and prompts to masks. */
  readonly maskDecoder: MaskDecoder;
  /** Pixels in 0..255 to the image encoder's input. */
  readonly inputRule: InputRule;

  /** Puts a model together; its input rule is SAM's by default. */
  constructor(
    gpu: Gpu,
    parts: {
      imageEncoder: ImageEncoder;
      promptEncoder: PromptEncoder;
      maskDecoder: MaskDecoder;
      inputRule?: InputRule;
    },
  ) {
    super(gpu);
    this.inputRule = parts.inputRule ?? SAM_INPUT;
    this.imageEncoder = parts.imageEncoder;
    this.promptEncoder = parts.promptEncoder;
    this.maskDecoder = parts.maskDecoder;
  }

  /**
   * Masks from image embeddings.
   *
   * @param imageEmbeddings [images, g, g, 256]: B images, or fewer with B / images rounds of prompts, each
   * for all images.
   * @param prompts B prompts, in pixels of the padded input of side 16 g (the encoder's stride times g).
   * @param options.mask [B, 4g, 4g, 1]: logits of an earlier mask.
   * @returns low-resolution logits [B, masks, 4g, 4g] and estimated IoU [B, masks].
   */
  decode(
    imageEmbeddings: Tensor,
    prompts: readonly SamPrompt[],
    options: { multimaskOutput?: boolean; mask?: Tensor | null } = {},
  ): { masks: Tensor; iouPredictions: Tensor } {
    const grid = imageEmbeddings.shape[1];
    const embeddings = this.promptEncoder.forward(prompts, {
      imageSize: this.imageEncoder.stride * grid,
      mask: options.mask,
    });
    return this.maskDecoder.forward({
      imageEmbeddings,
      imagePe: this.promptEncoder.getDensePe(grid),
      ...embeddings,
      multimaskOutput: options.multimaskOutput ?? false,
    });
  }

  /**
   * Brings low-resolution logits to the grid of the original image: up to the padded input, without
   * the padding, to the original size.
   *
   * @param masks [B, masks, 4g, 4g]
   * @param sizes.input Size of the resized image within the padded input.
   * @returns logits [B, masks, H, W]
   */
  postprocessMasks(masks: Tensor, sizes: { input: Size; original: Size }): Tensor {
    const [batch, count, side] = masks.shape;
    const [inputHeight, inputWidth] = sizes.input;
    let x = reshape(masks, [batch * count, side, side, 1]);
    const padded = side * this.imageEncoder.stride / 4; // a mask has four times the embedding's side
    if (padded !== side) x = resizeBilinear(x, [padded, padded]);
    if (inputHeight !== padded || inputWidth !== padded) {
      x = crop2d(x, { height: inputHeight, width: inputWidth });
    }
    const [height, width] = sizes.original;
    if (height !== inputHeight || width !== inputWidth) x = resizeBilinear(x, [height, width]);
    return reshape(x, [batch, count, height, width]);
  }
}
