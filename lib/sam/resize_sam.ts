import type { Gpu } from "../gpu/gpu.ts";
import type { LazyTensor, WeightSource } from "../nn/weight_source.ts";
import { resizeBilinear } from "../tensor/ops/resize.ts";
import { Scope } from "../tensor/scope.ts";
import { sameShape, type Shape } from "../tensor/shape.ts";
import { Tensor } from "../tensor/tensor.ts";
import { getRelPos, type ImageEncoderViT } from "./image_encoder_vit.ts";

/** The tables of relative positions in a block, and the block's number. */
const REL_POS = /^image_encoder\.blocks\.(\d+)\.attn\.rel_pos_[hw]$/;

/**
 * Weights of SAM's ViT for the side that an encoder was built for, from weights for another side: the
 * position embedding is resized bilinearly, the relative positions of the blocks that attend to the
 * whole image linearly, both with half-pixel centres. Windows have the same size at every side, and all
 * else depends on none. What has its size already is left alone. Tensors are resized as they are read.
 *
 * Source: SAMed (Zhang and Liu 2023, "Customized Segment Anything Model for Medical Image
 * Segmentation"), whose `load_from` does the same.
 *
 * @returns the tensors by name; they are read from `weights`, which must stay open.
 */
export function resizeSamWeights(
  { tensors }: WeightSource,
  encoder: ImageEncoderViT,
): ReadonlyMap<string, LazyTensor> {
  const { gpu, posEmbed, blocks, globalAttnIndexes } = encoder;
  const grid = posEmbed.shape[1];
  const resized = new Map(tensors);
  for (const [name, tensor] of tensors) {
    const block = REL_POS.exec(name)?.[1];
    if (name === "image_encoder.pos_embed" && tensor.shape.length === 4) {
      const [images, , , channels] = tensor.shape;
      const shape = [images, grid, grid, channels];
      resized.set(name, resizedTensor(gpu, tensor, shape, (x) => resizeBilinear(x, [grid, grid])));
    } else if (block !== undefined && tensor.shape.length === 2) {
      // A block that the encoder has not is named by whoever loads the weights.
      if (!blocks[Number(block)] || !globalAttnIndexes.includes(Number(block))) continue;
      const shape = [2 * grid - 1, tensor.shape[1]];
      resized.set(name, resizedTensor(gpu, tensor, shape, (x) => getRelPos(x, grid)));
    }
  }
  return resized;
}

/** A tensor to which an op is applied when it is read; one of that shape already stays as it is. */
function resizedTensor(
  gpu: Gpu,
  tensor: LazyTensor,
  shape: Shape,
  op: (x: Tensor) => Tensor,
): LazyTensor {
  if (sameShape(tensor.shape, shape)) return tensor;
  const read = async () => {
    const data = await tensor.read();
    using _ = new Scope(gpu);
    return await op(Tensor.from(gpu, data, tensor.shape)).data();
  };
  return { shape, dtype: tensor.dtype, read };
}
