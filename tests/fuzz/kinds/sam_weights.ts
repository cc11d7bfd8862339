import { assertEquals } from "@std/assert";
import { weightsFile } from "../../../lib/files/pretrained.ts";
import { encodeSafetensors } from "../../../lib/formats/safetensors.ts";
import fc from "fast-check";
import { join } from "node:path";
import { ITEM_SIZE, type RawTensor } from "../../../lib/formats/raw_tensor.ts";
import type { Kind } from "../kind.ts";
import { applyAll, byteEdit, labels, some } from "../mutations.ts";
import { rawTensor, safetensorsEdit } from "./safetensors.ts";
import { checkSource } from "./torch.ts";
import { openSamWeights } from "../../sam/pretrained.ts";

/** Path at which `weights` leaves what it fetched. */
const CACHED = "weights/sam_vit_b_01ec64.pth";

/** Names of every layout, whose tensors are joined, fused, gathered or renamed when they are read. */
const NAMES = [
  ...["q", "k", "v", "q_proj", "k_proj", "v_proj", "qkv"].flatMap((part) => [
    `image_encoder.blocks.0.attn.${part}.weight`,
    `vision_encoder.layers.0.attn.${part}.bias`,
  ]),
  ...["c.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"].map((part) =>
    `image_encoder.patch_embed.seq.0.${part}`
  ),
  ...["bn.num_batches_tracked", "bn.running_var"].map((part) => `image_encoder.neck.${part}`),
  "image_encoder.layers.1.blocks.0.attn.attention_biases",
  "image_encoder.layers.1.blocks.0.attn.attention_bias_idxs",
  "mask_decoder.iou_prediction_head.proj_in.weight",
  "mask_decoder.iou_prediction_head.layers.0.weight",
  "mask_decoder.iou_prediction_head.layers.99999999.weight",
  "mask_decoder.iou_prediction_head.proj_out.weight",
  "shared_image_embedding.positional_embedding",
  "prompt_encoder.shared_embedding.positional_embedding",
  "prompt_encoder.point_embed.0.weight",
  "pixel_mean",
  "head.weight",
  "__proto__",
];

const long: fc.Arbitrary<RawTensor> = fc.constantFrom([1, 4096], [1, 196], [4, 49], [65536], [
  3,
  10000,
])
  .map((shape) => ({
    dtype: "U8",
    shape,
    bytes: new Uint8Array(shape.reduce((product, length) => product * length, ITEM_SIZE.U8)),
  }));

const tensors: fc.Arbitrary<Map<string, RawTensor>> = fc.tuple(
  fc.uniqueArray(
    fc.tuple(fc.constantFrom(...NAMES), fc.oneof(rawTensor, { weight: 1, arbitrary: long })),
    { maxLength: 12, selector: ([name]) => name },
  ),
  fc.constantFrom("", "", "module.", "model.sam.", "sam_model."),
).map(([list, prefix]) => new Map(list.map(([name, tensor]) => [prefix + name, tensor])));

/** Weights of SAM in the cache, in any layout. */
export const weightsCache: Kind = {
  name: "weights_cache",
  cases: fc.tuple(tensors, some(fc.oneof(safetensorsEdit, byteEdit), 1)).map(
    ([tensors, edits]) => ({
      // Sound as a file, and yet hostile: tensors that do not belong together.
      edits: ["tensors that do not fit together", ...labels(edits)],
      files: { [CACHED]: applyAll(encodeSafetensors(tensors), edits) },
    }),
  ),
  read: async (folder) => {
    const path = await weightsFile({ model: "vit_b", weights: null });
    assertEquals(path, join(folder, CACHED));
    using source = await openSamWeights(path!);
    await checkSource(source, folder);
  },
};
