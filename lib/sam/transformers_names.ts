/**
 * The names of SAM's parts where segment_anything and transformers' SamModel differ, most specific
 * first; `#` stands for a number.
 */
const NAMES: readonly (readonly [official: string, transformers: string])[] = [
  ["image_encoder.patch_embed.proj", "vision_encoder.patch_embed.projection"],
  ["image_encoder.neck.0", "vision_encoder.neck.conv1"],
  ["image_encoder.neck.1", "vision_encoder.neck.layer_norm1"],
  ["image_encoder.neck.2", "vision_encoder.neck.conv2"],
  ["image_encoder.neck.3", "vision_encoder.neck.layer_norm2"],
  ["image_encoder.blocks.#.norm1", "vision_encoder.layers.#.layer_norm1"],
  ["image_encoder.blocks.#.norm2", "vision_encoder.layers.#.layer_norm2"],
  ["image_encoder.blocks.#", "vision_encoder.layers.#"],
  ["image_encoder.pos_embed", "vision_encoder.pos_embed"],
  ...[1, 2, 3, 4].map((i) =>
    [
      `mask_decoder.transformer.layers.#.norm${i}`,
      `mask_decoder.transformer.layers.#.layer_norm${i}`,
    ] as const
  ),
  ["mask_decoder.transformer.norm_final_attn", "mask_decoder.transformer.layer_norm_final_attn"],
  ["mask_decoder.output_upscaling.0", "mask_decoder.upscale_conv1"],
  ["mask_decoder.output_upscaling.1", "mask_decoder.upscale_layer_norm"],
  ["mask_decoder.output_upscaling.3", "mask_decoder.upscale_conv2"],
  ...["output_hypernetworks_mlps.#", "iou_prediction_head"].flatMap((head) =>
    [["layers.0", "proj_in"], ["layers.1", "layers.0"], ["layers.2", "proj_out"]].map((
      [official, transformers],
    ) => [`mask_decoder.${head}.${official}`, `mask_decoder.${head}.${transformers}`] as const)
  ),
  ["prompt_encoder.point_embeddings.#", "prompt_encoder.point_embed.#"],
  ["prompt_encoder.mask_downscaling.0", "prompt_encoder.mask_embed.conv1"],
  ["prompt_encoder.mask_downscaling.1", "prompt_encoder.mask_embed.layer_norm1"],
  ["prompt_encoder.mask_downscaling.3", "prompt_encoder.mask_embed.conv2"],
  ["prompt_encoder.mask_downscaling.4", "prompt_encoder.mask_embed.layer_norm2"],
  ["prompt_encoder.mask_downscaling.6", "prompt_encoder.mask_embed.conv3"],
  [
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    "prompt_encoder.shared_embedding.positional_embedding",
  ],
];

type Rule = readonly [pattern: RegExp, replacement: string];

function rule(from: string, to: string): Rule {
  const pattern = from.replaceAll(".", "\\.").replace("#", "(\\d+)");
  return [new RegExp(`^${pattern}(?=\\.|$)`), to.replace("#", "$1")];
}

const toTransformers: Rule[] = NAMES.map(([official, other]) => rule(official, other));
const toOfficial: Rule[] = NAMES.map(([official, other]) => rule(other, official));

function translate(path: string, rules: readonly Rule[]): string {
  const match = rules.find(([pattern]) => pattern.test(path));
  return match ? path.replace(...match) : path;
}

/** The path of a module or parameter of segment_anything's Sam in transformers' SamModel. */
export function transformersName(official: string): string {
  return translate(official, toTransformers);
}

/** The path of a module or parameter of transformers' SamModel in segment_anything's Sam. */
export function officialName(transformers: string): string {
  return translate(transformers, toOfficial);
}

/** Whether names are those of transformers' SamModel; names that both have count as official. */
export function areTransformersNames(names: Iterable<string>): boolean {
  return [...names].some((name) => officialName(name) !== name && transformersName(name) === name);
}
