import type { Gpu } from "../gpu/gpu.ts";
import type { HostState, HostTensor } from "../nn/host_state.ts";
import { resizeBilinear } from "../tensor/ops/resize.ts";
import { Scope } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import { getRelPos, type ImageEncoderViT } from "./image_encoder_vit.ts";

/** The tables of relative positions in a block, and the block's number. */
const REL_POS = /^image_encoder\.blocks\.(\d+)\.attn\.rel_pos_[hw]$/;

/**
 * Weights of SAM's ViT for the side that an encoder was built for, from weights for another side: the
 * position embedding is resized bilinearly, the relative positions of the blocks that attend to the
 * whole image linearly, both with half-pixel centres. Windows have the same size at every side, and all
 * else depends on none. What has its size already is left alone.
 *
 * Source: SAMed (Zhang and Liu 2023, "Customized Segment Anything Model for Medical Image
 * Segmentation"), whose `load_from` does the same.
 */
export async function resizeSamState(
  state: HostState,
  encoder: ImageEncoderViT,
): Promise<HostState> {
  const { gpu, posEmbed, blocks, globalAttnIndexes } = encoder;
  const grid = posEmbed.shape[1];
  const resized = new Map(state);
  for (const [name, tensor] of state) {
    const block = REL_POS.exec(name)?.[1];
    if (name === "image_encoder.pos_embed" && tensor.shape.length === 4) {
      resized.set(name, await onDevice(gpu, tensor, (x) => resizeBilinear(x, [grid, grid])));
    } else if (block !== undefined && tensor.shape.length === 2) {
      // A block that the encoder has not is named by whoever loads the state.
      if (!blocks[Number(block)] || !globalAttnIndexes.includes(Number(block))) continue;
      resized.set(name, await onDevice(gpu, tensor, (x) => getRelPos(x, grid)));
    }
  }
  return resized;
}

/** Applies an op to a tensor of the host; one that keeps its shape is handed back as it is. */
async function onDevice(
  gpu: Gpu,
  tensor: HostTensor,
  op: (x: Tensor) => Tensor,
): Promise<HostTensor> {
  using _ = new Scope(gpu);
  const result = op(Tensor.from(gpu, tensor.data, tensor.shape));
  if (result.shape.every((size, axis) => size === tensor.shape[axis])) return tensor;
  return { shape: result.shape, data: await result.data() };
}
