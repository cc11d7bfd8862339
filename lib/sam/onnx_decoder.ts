import { OnnxGraphBuilder, type Value } from "../formats/onnx_writer.ts";
import type { HostState } from "../nn/host_state.ts";
import { ONNX_FRAME } from "./onnx_encoder.ts";
import { OnnxLayers } from "./onnx_layers.ts";

/** Heads of the attention of SAM's decoder. */
const HEADS = 8;

/** Sizes that the decoder's graph is fixed for. */
export interface DecoderSizes {
  /** Side of the model's input, in pixels. */
  readonly side: number;
  /** Side of the embedding. */
  readonly grid: number;
}

/**
 * Prompt encoder and mask decoder as a graph in the layout of SAM's annotation tools: `image_embeddings`,
 * `point_coords` [1, points, 2] in the frame of 1024 pixels, `point_labels` [1, points] (1 on the object, 0
 * beside it, 2 and 3 a box's corners, -1 for none), `mask_input` [1, 1, 256, 256], `has_mask_input` [1] and
 * `orig_im_size` [2] to `masks` [1, 1, height, width], `iou_predictions` [1, 1] and `low_res_masks`. The mask
 * is the single one, for which adapters are trained.
 *
 * @param state The weights by their official names, adapters folded in.
 */
export function decoderGraph(state: HostState, sizes: DecoderSizes): OnnxGraphBuilder {
  const graph = new OnnxGraphBuilder("mask_decoder");
  const layers = new OnnxLayers(graph, state);
  const { side, grid } = sizes;
  const { shape: [, dim] } = layers.tensor("mask_decoder.iou_token.weight");
  const embeddings = graph.input("image_embeddings", [1, dim, grid, grid]);
  const points = graph.input("point_coords", [1, "num_points", 2]);
  const labels = graph.input("point_labels", [1, "num_points"]);
  const mask = graph.input("mask_input", [1, 1, ONNX_FRAME / 4, ONNX_FRAME / 4]);
  const hasMask = graph.input("has_mask_input", [1]);
  const size = graph.input("orig_im_size", [2]);

  const sparse = embedPoints(layers, { points, labels }, side);
  const dense = embedMask(layers, { mask, hasMask }, grid);
  const image = layers.toTokens(layers.add(embeddings, dense));
  const keys = layers.reshape(image, 1, grid * grid, dim);
  const { tokens, pixels } = twoWay(layers, { keys, sparse, grid, dim });

  const upscaled = upscale(layers, layers.reshape(pixels, 1, grid, grid, dim));
  const token = (index: number) =>
    layers.node("Gather", [tokens, graph.integers(index)], { axis: 1 }); // [1, 1, dim]
  const weights = layers.mlp(token(1), "mask_decoder.output_hypernetworks_mlps.0");
  const flat = layers.reshape(upscaled, 1, -1, 16 * grid * grid);
  const logits = layers.reshape(
    layers.node("MatMul", [weights, flat]),
    1,
    1,
    4 * grid,
    4 * grid,
  );
  const iou = layers.mlp(token(0), "mask_decoder.iou_prediction_head");
  const first = layers.node("Slice", [iou, ...[0, 1, 2].map((n) => graph.integers(n))]);
  graph.output(enlarge(layers, { logits, size, side }), "masks", [1, 1, "height", "width"]);
  graph.output(layers.reshape(first, 1, 1), "iou_predictions", [1, 1]);
  graph.output(logits, "low_res_masks", [1, 1, 4 * grid, 4 * grid]);
  return graph;
}

/** Points with their labels to tokens [1, points, dim]. */
function embedPoints(
  layers: OnnxLayers,
  { points, labels }: { points: Value; labels: Value },
  side: number,
): Value {
  const { graph } = layers;
  const encoder = "prompt_encoder";
  // The middle of the model's pixel, in the unit square.
  const middle = layers.add(points, graph.real(0.5 * ONNX_FRAME / side));
  const unit = layers.node("Mul", [middle, graph.real(2 / ONNX_FRAME)]);
  const turns = layers.node("MatMul", [
    layers.node("Sub", [unit, graph.real(1)]),
    layers.weight(`${encoder}.pe_layer.positional_encoding_gaussian_matrix`),
  ]);
  const angle = layers.node("Mul", [turns, graph.real(2 * Math.PI)]);
  const waves = layers.node("Concat", [
    layers.node("Sin", [angle]),
    layers.node("Cos", [angle]),
  ], { axis: 2 });
  const isLabel = (label: number) => {
    const equal = layers.node("Equal", [labels, graph.real(label)]);
    return layers.node("Unsqueeze", [
      layers.node("Cast", [equal], { to: 1 }),
      graph.integers(2),
    ]);
  };
  const none = isLabel(-1);
  let tokens = layers.node("Mul", [waves, layers.node("Sub", [graph.real(1), none])]);
  const rows: [Value, string][] = [
    [none, `${encoder}.not_a_point_embed.weight`],
    ...[0, 1, 2, 3].map((label): [Value, string] => [
      isLabel(label),
      `${encoder}.point_embeddings.${label}.weight`,
    ]),
  ];
  for (const [is, name] of rows) {
    tokens = layers.add(tokens, layers.node("Mul", [is, layers.weight(name)]));
  }
  return tokens;
}

/** Logits of an earlier mask, or none, to [1, dim, g, g]. */
function embedMask(
  layers: OnnxLayers,
  { mask, hasMask }: { mask: Value; hasMask: Value },
  grid: number,
): Value {
  const { graph } = layers;
  const path = "prompt_encoder.mask_downscaling";
  const given = 4 * grid === ONNX_FRAME / 4 ? mask : layers.node("Resize", [
    mask,
    "",
    "",
    graph.integers(1, 1, 4 * grid, 4 * grid),
  ], { mode: "linear", coordinate_transformation_mode: "half_pixel", antialias: 1 });
  const step = (x: Value, i: number) =>
    layers.gelu(
      layers.layerNorm2d(layers.conv(x, `${path}.${i}`, { stride: 2 }), `${path}.${i + 1}`),
    );
  const embedded = layers.conv(step(step(given, 0), 3), `${path}.6`);
  const { shape, data } = layers.tensor("prompt_encoder.no_mask_embed.weight");
  const none = graph.weight("prompt_encoder.no_mask_embed.weight", {
    shape: [1, shape[1], 1, 1],
    data,
  });
  const has = layers.reshape(hasMask, 1, 1, 1, 1);
  return layers.add(
    layers.node("Mul", [has, embedded]),
    layers.node("Mul", [layers.node("Sub", [graph.real(1), has]), none]),
  );
}

/** The position embedding of the image's grid [g², dim], computed in float64. */
function densePe(layers: OnnxLayers, grid: number): Value {
  const { shape: [, half], data } = layers.tensor(
    "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
  );
  const pe = new Float32Array(grid * grid * 2 * half);
  for (let i = 0; i < grid * grid; i++) {
    const [x, y] = [i % grid, Math.floor(i / grid)].map((at) => 2 * (at + 0.5) / grid - 1);
    for (let k = 0; k < half; k++) {
      const angle = 2 * Math.PI * (x * data[k] + y * data[half + k]);
      pe[2 * half * i + k] = Math.sin(angle);
      pe[2 * half * i + half + k] = Math.cos(angle);
    }
  }
  return layers.graph.weight("dense_pe", { shape: [grid * grid, 2 * half], data: pe });
}

/** Multi-head attention at a path: q [1, Nq, dim], k and v [1, Nk, dim] -> [1, Nq, dim]. */
function attend(
  layers: OnnxLayers,
  path: string,
  [q, k, v]: readonly [Value, Value, Value],
): Value {
  const { shape: [inner] } = layers.tensor(`${path}.q_proj.weight`);
  const depth = inner / HEADS;
  const split = (x: Value, name: string) =>
    layers.transpose(
      layers.reshape(layers.linear(x, `${path}.${name}`), 1, -1, HEADS, depth),
      0,
      2,
      1,
      3,
    );
  const mixed = layers.attention(split(q, "q_proj"), split(k, "k_proj"), split(v, "v_proj"), {
    depth,
  });
  return layers.linear(mixed, `${path}.out_proj`);
}

/** The two-way transformer of the decoder's tokens and the image. */
function twoWay(
  layers: OnnxLayers,
  { keys: image, sparse, grid, dim }: { keys: Value; sparse: Value; grid: number; dim: number },
): { tokens: Value; pixels: Value } {
  const own = layers.node("Concat", [
    layers.weight("mask_decoder.iou_token.weight"),
    layers.weight("mask_decoder.mask_tokens.weight"),
  ], { axis: 0 });
  const tokens = layers.node("Concat", [layers.reshape(own, 1, -1, dim), sparse], { axis: 1 });
  const pe = densePe(layers, grid);
  const path = "mask_decoder.transformer";
  const withPe = (x: Value, pe: Value) => layers.add(x, pe);
  let [queries, keys] = [tokens, image];
  for (let i = 0; layers.has(`${path}.layers.${i}.norm1.weight`); i++) {
    const block = `${path}.layers.${i}`;
    const norm = (x: Value, n: number) => layers.layerNorm(x, `${block}.norm${n}`);
    const q = withPe(queries, tokens);
    queries = i === 0
      ? attend(layers, `${block}.self_attn`, [queries, queries, queries])
      : layers.add(queries, attend(layers, `${block}.self_attn`, [q, q, queries]));
    queries = norm(queries, 1);
    const read = attend(layers, `${block}.cross_attn_token_to_image`, [
      withPe(queries, tokens),
      withPe(keys, pe),
      keys,
    ]);
    queries = norm(layers.add(queries, read), 2);
    const hidden = layers.node("Relu", [layers.linear(queries, `${block}.mlp.lin1`)]);
    queries = norm(layers.add(queries, layers.linear(hidden, `${block}.mlp.lin2`)), 3);
    const told = attend(layers, `${block}.cross_attn_image_to_token`, [
      withPe(keys, pe),
      withPe(queries, tokens),
      queries,
    ]);
    keys = norm(layers.add(keys, told), 4);
  }
  const last = attend(layers, `${path}.final_attn_token_to_image`, [
    withPe(queries, tokens),
    withPe(keys, pe),
    keys,
  ]);
  queries = layers.layerNorm(layers.add(queries, last), `${path}.norm_final_attn`);
  return { tokens: queries, pixels: keys };
}

/** The image [1, g, g, dim] to four times its side: [1, dim / 8, 4g, 4g]. */
function upscale(layers: OnnxLayers, pixels: Value): Value {
  const path = "mask_decoder.output_upscaling";
  const options = { stride: 2, transposed: true };
  const twice = layers.conv(layers.toImage(pixels), `${path}.0`, options);
  const normed = layers.gelu(layers.layerNorm2d(twice, `${path}.1`));
  return layers.gelu(layers.conv(normed, `${path}.3`, options));
}

/** Low-resolution logits on the grid of the original image. */
function enlarge(
  layers: OnnxLayers,
  { logits, size, side }: { logits: Value; size: Value; side: number },
): Value {
  const { graph } = layers;
  const resize = (x: Value, sizes: Value) =>
    layers.node("Resize", [x, "", "", sizes], {
      mode: "linear",
      coordinate_transformation_mode: "half_pixel",
      antialias: 0,
    });
  const padded = resize(logits, graph.integers(1, 1, side, side));
  const longest = layers.node("ReduceMax", [size], { keepdims: 1 });
  const scaled = layers.node("Div", [layers.node("Mul", [size, graph.real(side)]), longest]);
  const rounded = layers.node("Floor", [layers.add(scaled, graph.real(0.5))]);
  const inside = layers.node("Slice", [
    padded,
    graph.integers(0, 0),
    layers.node("Cast", [rounded], { to: 7 }),
    graph.integers(2, 3),
  ]);
  const original = layers.node("Cast", [size], { to: 7 });
  return resize(inside, layers.node("Concat", [graph.integers(1, 1), original], { axis: 0 }));
}
