/**
 * The names of SAM's parameters and modules in every layout that weights and adapters come in. Official
 * names are segment_anything's, for MobileSAM's encoder MobileSAM's: `image_encoder.…`,
 * `prompt_encoder.…`, `mask_decoder.…`.
 *
 * @module
 */

/** Parts of paths that DistributedDataParallel and compile put before the names of what they wrap. */
const WRAPPERS = /(^|\.)(?:module|_orig_mod)\.(?=.)/g;

/** The first part of the names of SAM's tensors, in each library. */
const ROOT =
  /(?:^|\.)(?:image_encoder|prompt_encoder|mask_decoder|vision_encoder|shared_image_embedding)\./;

/** Entries of a state dict beside the weights that SAM computes with. */
const NOT_WEIGHTS = [
  /^pixel_(mean|std)$/,
  /\.num_batches_tracked$/,
  // TinyViT's classifier, and the positions that its attention biases are gathered by.
  /^image_encoder\.(norm_head|head)\./,
  /\.attention_bias_idxs$/,
];

/**
 * Parts whose names differ between segment_anything and transformers' SamModel, most specific first;
 * `#` stands for a number.
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

/** A second name that transformers gives a tensor: the position embedding of the image. */
const TRANSFORMERS_ALIAS = [
  "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
  "shared_image_embedding.positional_embedding",
] as const;

type Rule = readonly [pattern: RegExp, replacement: string];

function rule(from: string, to: string): Rule {
  const pattern = from.replaceAll(".", "\\.").replace("#", "(\\d+)");
  return [new RegExp(`^${pattern}(?=\\.|$)`), to.replace("#", "$1")];
}

const toTransformers: Rule[] = NAMES.map(([official, other]) => rule(official, other));
const toOfficial: Rule[] = [...NAMES, TRANSFORMERS_ALIAS].map(([official, other]) =>
  rule(other, official)
);

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

/** True if names are those of transformers' SamModel; names that both have count as official. */
export function areTransformersNames(names: Iterable<string>): boolean {
  return [...names].some((name) => officialName(name) !== name && transformersName(name) === name);
}

/** A path without the parts that wrappers of a module put into it, wherever they stand. */
export function unwrapped(path: string): string {
  return path.replaceAll(WRAPPERS, "$1").replaceAll(WRAPPERS, "$1");
}

/** True of a name that begins with a part of SAM, in either library. */
export function isSamName(name: string): boolean {
  return ROOT.exec(name)?.index === 0 && !name.startsWith(".");
}

/**
 * The path of the module that holds SAM, such as `model.sam.`, by the names of its tensors without
 * wrappers; "" if SAM is the whole, or none of the names is SAM's.
 */
export function holderOf(names: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const name of names) {
    const match = ROOT.exec(name);
    if (!match) continue;
    const holder = name.slice(0, match.index + (match[0].startsWith(".") ? 1 : 0));
    counts.set(holder, (counts.get(holder) ?? 0) + 1);
  }
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0] ?? "";
}

/** True if an official name is a weight's, and not an entry that SAM does not compute with. */
export function isWeight(official: string): boolean {
  return !NOT_WEIGHTS.some((pattern) => pattern.test(official));
}

/** Official names of the parts of MobileSAM's decoder graph that belong to a Sequential. */
const ONNX_SEQUENTIALS: readonly (readonly [pattern: RegExp, official: string])[] = [
  [/^.*(mask_downscaling\.\d)$/, "prompt_encoder.$1"],
  [/^.*(output_upscaling\.\d)$/, "mask_decoder.$1"],
];

/** Graphs that MobileSAM is exported to. */
export type OnnxPart = "encoder" | "decoder";

/** The official name of a tensor that bears its own name in MobileSAM's ONNX graphs. */
export function onnxName(part: OnnxPart, name: string): string {
  return part === "encoder" ? `image_encoder.${name}` : name.replace(/^model\./, "");
}

/** The official path of the module that a node of MobileSAM's ONNX graphs belongs to. */
export function onnxModule(part: OnnxPart, path: string): string {
  if (part === "encoder") {
    // Sequential modules are named twice; a Conv2d_BN, fused to one convolution, calls it `c`.
    return `image_encoder.${path}`
      .replace("seq.seq.", "seq.").replace("neck.neck.", "neck.").replace(/\.c$/, "");
  }
  const sequential = ONNX_SEQUENTIALS.find(([pattern]) => pattern.test(path));
  return sequential ? path.replace(...sequential) : `mask_decoder.${path}`;
}
