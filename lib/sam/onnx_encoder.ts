import { OnnxGraphBuilder, type Value } from "../formats/onnx_writer.ts";
import type { HostState } from "../nn/host_state.ts";
import { type SamModel, strideOf } from "./models.ts";
import { OnnxLayers } from "./onnx_layers.ts";
import type { TinyViTOptions } from "./tiny_vit.ts";

/** Longest side of the images that annotation tools give a SAM in ONNX, in pixels. */
export const ONNX_FRAME = 1024;

/**
 * The image encoder as a graph in the layout of SAM's annotation tools: `input_image`
 * [height, width, 3], RGB 0..255 with a longest side of 1024, to `image_embeddings` [1, 256, g, g]. It is
 * resized to the model's own side, normalised and padded in the graph.
 *
 * @param state The weights by their official names, adapters folded in.
 * @param options.side Side of the model's input, in pixels.
 */
export function encoderGraph(
  state: HostState,
  { model, side }: { model: Pick<SamModel, "encoder" | "input">; side: number },
): OnnxGraphBuilder {
  const graph = new OnnxGraphBuilder("image_encoder");
  const layers = new OnnxLayers(graph, state);
  const image = graph.input("input_image", ["image_height", "image_width", 3]);
  const x = prepare(layers, image, { side, input: model.input });
  const { kind, options } = model.encoder;
  const embedding = kind === "vit"
    ? vit(layers, x, { side, ...options })
    : tinyVit(layers, x, { side, options });
  const grid = side / strideOf(model.encoder);
  const { shape: [channels] } = layers.tensor("image_encoder.neck.3.weight");
  graph.output(embedding, "image_embeddings", [1, channels, grid, grid]);
  return graph;
}

/** [h, w, 3] in 0..255 -> [1, 3, side, side] as the model is fed. */
function prepare(
  layers: OnnxLayers,
  image: Value,
  { side, input: { mean, std } }: { side: number; input: SamModel["input"] },
): Value {
  const { graph } = layers;
  let x = layers.node("Unsqueeze", [layers.transpose(image, 2, 0, 1), graph.integers(0)]);
  const size = (x: Value) =>
    layers.node("Slice", [layers.node("Shape", [x]), graph.integers(2), graph.integers(4)]);
  if (side !== ONNX_FRAME) {
    const [height, width] = [0, 1].map((axis) => {
      const length = layers.node("Gather", [size(x), graph.integers(axis)]);
      return shrinking(layers, layers.node("Cast", [length], { to: 1 }), side / ONNX_FRAME);
    });
    x = layers.node("MatMul", [height, x]);
    x = layers.node("MatMul", [x, layers.transpose(width, 1, 0)]);
  }
  const channel = (values: readonly number[]) => layers.reshape(graph.real(values), 1, 3, 1, 1);
  x = layers.node("Div", [layers.node("Sub", [x, channel(mean)]), channel(std)]);
  const missing = layers.node("Sub", [graph.integers(side, side), size(x)]);
  const pads = layers.node("Concat", [graph.integers(0, 0, 0, 0, 0, 0), missing], { axis: 0 });
  return layers.node("Pad", [x, pads]);
}

/**
 * The matrix [shrunk, length] that resizes an axis as `resizeBilinear` does, by a triangle as wide as the
 * scale. Runtimes' own Resize differs by some hundredths of a grey value.
 *
 * @param length The axis' length, [1].
 */
function shrinking(layers: OnnxLayers, length: Value, factor: number): Value {
  const { graph } = layers;
  const times = (x: Value, y: Value) => layers.node("Mul", [x, y]);
  const scaled = layers.add(times(length, graph.real(factor)), graph.real(0.5));
  const shrunk = layers.node("Floor", [scaled]); // as ResizeLongestSide rounds
  const odd = (count: Value) => {
    const scalar = layers.node("Squeeze", [count]);
    const range = layers.node("Range", [graph.real(0), scalar, graph.real(1)]);
    return layers.add(times(range, graph.real(2)), graph.real(1));
  };
  // Middles of pixels in units of half a pixel over both lengths: whole numbers, exact in float32.
  const from = layers.node("Unsqueeze", [times(odd(length), shrunk), graph.integers(0)]);
  const to = layers.node("Unsqueeze", [times(odd(shrunk), length), graph.integers(1)]);
  const apart = layers.node("Abs", [layers.node("Sub", [from, to])]);
  const distance = layers.node("Div", [apart, times(shrunk, graph.real(2))]);
  const support = layers.node("Max", [layers.node("Div", [length, shrunk]), graph.real(1)]);
  const share = layers.node("Div", [distance, support]);
  const weights = layers.node("Relu", [layers.node("Sub", [graph.real(1), share])]);
  const sum = layers.node("ReduceSum", [weights, graph.integers(1)], { keepdims: 1 });
  return layers.node("Div", [weights, sum]);
}

/** MobileSAM's TinyViT: [1, 3, S, S] -> [1, 256, g, g]. */
function tinyVit(
  layers: OnnxLayers,
  x: Value,
  { side, options }: { side: number; options: TinyViTOptions },
): Value {
  const { numHeads = [2, 4, 5, 10], windowSizes = [7, 7, 14, 7], patchStride = 2 } = options;
  const patch = { stride: patchStride, padding: patchStride - 1 };
  x = layers.gelu(layers.conv(x, "image_encoder.patch_embed.seq.0", patch));
  x = layers.conv(x, "image_encoder.patch_embed.seq.2", patch);
  let grid = side / patchStride ** 2;
  for (
    let stage = 0;
    layers.has(`image_encoder.layers.${stage}.blocks.0.${firstWeight(stage)}`);
    stage++
  ) {
    const path = `image_encoder.layers.${stage}`;
    for (let i = 0; layers.has(`${path}.blocks.${i}.${firstWeight(stage)}`); i++) {
      x = stage === 0 ? mbConv(layers, x, `${path}.blocks.${i}`) : tinyBlock(layers, x, {
        path: `${path}.blocks.${i}`,
        grid,
        heads: numHeads[stage],
        window: windowSizes[stage],
      });
    }
    if (!layers.has(`${path}.downsample.conv1.weight`)) continue;
    const stride = stage < 2 ? 2 : 1;
    x = merging(layers, x, { path: `${path}.downsample`, stride });
    grid /= stride;
  }
  return layers.neck(x, "image_encoder.neck");
}

/** A weight that every block of a stage has. */
const firstWeight = (stage: number) => stage === 0 ? "conv1.weight" : "attn.qkv.weight";

/** Number of channels that a depthwise convolution at a path has. */
const depthOf = (layers: OnnxLayers, path: string) => layers.tensor(`${path}.weight`).shape[0];

/** An inverted bottleneck of the first stage. */
function mbConv(layers: OnnxLayers, x: Value, path: string): Value {
  let y = layers.gelu(layers.conv(x, `${path}.conv1`));
  const groups = depthOf(layers, `${path}.conv2`);
  y = layers.gelu(layers.conv(y, `${path}.conv2`, { padding: 1, groups }));
  return layers.gelu(layers.add(layers.conv(y, `${path}.conv3`), x));
}

/** A downsampling between stages. */
function merging(
  layers: OnnxLayers,
  x: Value,
  { path, stride }: { path: string; stride: number },
): Value {
  let y = layers.gelu(layers.conv(x, `${path}.conv1`));
  const groups = depthOf(layers, `${path}.conv2`);
  y = layers.gelu(layers.conv(y, `${path}.conv2`, { stride, padding: 1, groups }));
  return layers.conv(y, `${path}.conv3`);
}

/** A transformer block of TinyViT: window attention, a depthwise convolution, a perceptron. */
function tinyBlock(
  layers: OnnxLayers,
  image: Value,
  { path, grid, heads, window }: { path: string; grid: number; heads: number; window: number },
): Value {
  const { shape: [, channels] } = layers.tensor(`${path}.attn.qkv.weight`);
  const depth = channels / heads;
  let x = layers.toTokens(image);
  const attended = layers.inWindows(x, { grid, size: window, channels }, {
    before: (tokens) => layers.layerNorm(tokens, `${path}.attn.norm`),
    attend: (tokens) => {
      // Rows per head: its queries, its keys, its values.
      const qkv = layers.reshape(
        layers.linear(tokens, `${path}.attn.qkv`),
        0,
        0,
        heads,
        3 * depth,
      );
      const [q, k, v] = layers.graph.nodes("Split", [
        layers.transpose(qkv, 0, 2, 1, 3),
        layers.graph.integers(depth, depth, depth),
      ], { attributes: { axis: 3 }, outputs: 3 });
      const biases = layers.weight(`${path}.attn.attention_bias_full`);
      const bias = (_: Value, logits: Value) => layers.add(logits, biases);
      return layers.linear(layers.attention(q, k, v, { depth, bias }), `${path}.attn.proj`);
    },
  });
  x = layers.add(x, attended);
  const local = layers.conv(layers.toImage(x), `${path}.local_conv`, {
    padding: 1,
    groups: channels,
  });
  x = layers.toTokens(local);
  const hidden = layers.linear(layers.layerNorm(x, `${path}.mlp.norm`), `${path}.mlp.fc1`);
  return layers.toImage(layers.add(x, layers.linear(layers.gelu(hidden), `${path}.mlp.fc2`)));
}

/** SAM's ViT: [1, 3, S, S] -> [1, 256, g, g]. */
function vit(
  layers: OnnxLayers,
  x: Value,
  { side, numHeads = 12, windowSize = 14, globalAttnIndexes = [2, 5, 8, 11] }: {
    side: number;
    numHeads?: number;
    windowSize?: number;
    globalAttnIndexes?: readonly number[];
  },
): Value {
  const { shape: [, , , patch] } = layers.tensor("image_encoder.patch_embed.proj.weight");
  const grid = side / patch;
  let tokens = layers.toTokens(layers.conv(x, "image_encoder.patch_embed.proj", { stride: patch }));
  tokens = layers.add(tokens, layers.weight("image_encoder.pos_embed"));
  for (let i = 0; layers.has(`image_encoder.blocks.${i}.attn.qkv.weight`); i++) {
    const isGlobal = globalAttnIndexes.includes(i);
    tokens = vitBlock(layers, tokens, {
      path: `image_encoder.blocks.${i}`,
      grid,
      heads: numHeads,
      size: isGlobal ? grid : windowSize,
    });
  }
  return layers.neck(layers.toImage(tokens), "image_encoder.neck");
}

/** A block of SAM's ViT, whose attention sees windows of `size`, or all of the grid. */
function vitBlock(
  layers: OnnxLayers,
  x: Value,
  { path, grid, heads, size }: { path: string; grid: number; heads: number; size: number },
): Value {
  const { shape: [, channels] } = layers.tensor(`${path}.attn.qkv.weight`);
  const depth = channels / heads;
  const attended = layers.inWindows(
    layers.layerNorm(x, `${path}.norm1`, 1e-6),
    { grid, size, channels },
    {
      attend: (tokens) => {
        const rows = layers.linear(tokens, `${path}.attn.qkv`);
        const qkv = layers.transpose(layers.reshape(rows, 0, 0, 3, heads, depth), 2, 0, 3, 1, 4);
        const [q, k, v] = layers.graph.nodes("Split", [qkv, layers.graph.integers(1, 1, 1)], {
          attributes: { axis: 0 },
          outputs: 3,
        }).map((part) => layers.node("Squeeze", [part, layers.graph.integers(0)]));
        const bias = (q: Value, logits: Value) =>
          relativePositions(layers, { q, logits }, { path: `${path}.attn`, heads, size, depth });
        return layers.linear(layers.attention(q, k, v, { depth, bias }), `${path}.attn.proj`);
      },
    },
  );
  x = layers.add(x, attended);
  const hidden = layers.linear(layers.layerNorm(x, `${path}.norm2`, 1e-6), `${path}.mlp.lin1`);
  return layers.add(x, layers.linear(layers.gelu(hidden), `${path}.mlp.lin2`));
}

/** Adds what unscaled queries [B, heads, N, d] have in common with rows and columns apart to the logits. */
function relativePositions(
  layers: OnnxLayers,
  { q, logits }: { q: Value; logits: Value },
  { path, heads, size, depth }: { path: string; heads: number; size: number; depth: number },
): Value {
  const grid = layers.reshape(q, -1, heads, size, size, depth);
  const term = (axis: "h" | "w") => {
    const { data } = layers.tensor(`${path}.rel_pos_${axis}`);
    const pairs = new Float32Array(size * size * depth);
    for (let from = 0; from < size; from++) {
      for (let to = 0; to < size; to++) {
        const row = (from - to + size - 1) * depth;
        pairs.set(data.subarray(row, row + depth), (from * size + to) * depth);
      }
    }
    const table = layers.graph.weight(`${path}.rel_pos_${axis}.pairs`, {
      shape: [size, size, depth],
      data: pairs,
    });
    return layers.node("Einsum", [grid, table], {
      equation: axis === "h" ? "bnhwc,hkc->bnhwk" : "bnhwc,wkc->bnhwk",
    });
  };
  const square = layers.reshape(logits, -1, heads, size, size, size, size);
  const rows = layers.node("Unsqueeze", [term("h"), layers.graph.integers(5)]);
  const columns = layers.node("Unsqueeze", [term("w"), layers.graph.integers(4)]);
  const sum = layers.add(layers.add(square, rows), columns);
  return layers.reshape(sum, -1, heads, size * size, size * size);
}
