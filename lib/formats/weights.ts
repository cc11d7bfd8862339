import { allBytes, type ByteSource } from "../byte_source.ts";
import { InputError } from "../errors.ts";
import { checkValues, LARGEST } from "../nn/host_state.ts";
import type { LazyTensor, WeightSource } from "../nn/weight_source.ts";
import { parseOnnx } from "./onnx.ts";
import { toFloat32 } from "./raw_tensor.ts";
import { openSafetensors } from "./safetensors.ts";
import { openTorch } from "./torch.ts";

/** The longest message that protobuf, and with it ONNX, allows; larger models keep data elsewhere. */
const MAXIMUM_ONNX_BYTES = 2 ** 31 - 1;

/** The initialisers of an ONNX model, held in memory as they stand in the file. */
function openOnnx(file: ByteSource): WeightSource {
  if (file.size > MAXIMUM_ONNX_BYTES) {
    throw new InputError(
      `${file.name} has ${file.size} bytes, more than an ONNX file may: give one of less than 2 GiB`,
    );
  }
  const tensors = new Map<string, LazyTensor>();
  for (const [name, raw] of parseOnnx(allBytes(file), { source: file.name }).initialisers) {
    const read = () => Promise.resolve().then(() => toFloat32(raw));
    tensors.set(name, { shape: raw.shape, dtype: raw.dtype, read });
  }
  return { source: file.name, tensors, [Symbol.dispose]: () => file[Symbol.dispose]() };
}

/** Weights that refuse, when they are read, a tensor of which no mask can come. */
function sound(weights: WeightSource, limit: number): WeightSource {
  const { source } = weights;
  const tensors = [...weights.tensors].map(([name, tensor]): [string, LazyTensor] => [name, {
    ...tensor,
    read: async () => {
      const data = await tensor.read();
      const isReal = tensor.dtype.includes("F"); // counters of BatchNorms may be of any size
      if (isReal) checkValues(data, { name, source, limit });
      return data;
    },
  }]);
  return { source, tensors: new Map(tensors), [Symbol.dispose]: () => weights[Symbol.dispose]() };
}

/**
 * Opens weights of any known format, which it tells by their content: PyTorch (`.pth`, `.pt`, `.bin`;
 * see {@linkcode openTorch}), safetensors, or the initialisers of an ONNX model. Names are the file's
 * own. Each tensor is checked when it is read: NaN, infinity and absurd values are refused by name.
 *
 * @param file The file; it is disposed of with the result, and at once if it is refused.
 * @param options.key The part of a PyTorch checkpoint to take, such as "ema".
 * @param options.limit Largest magnitude that is believed; default that of pretrained weights.
 * @throws {InputError} if it is of another format or damaged.
 */
export async function openWeights(
  file: ByteSource,
  options: { key?: string; limit?: number } = {},
): Promise<WeightSource> {
  const { limit = LARGEST.weights } = options;
  try {
    const head = new Uint8Array(Math.min(9, file.size));
    file.read(0, head);
    const isZip = head[0] === 0x50 && head[1] === 0x4b; // "PK"
    const isPickle = head[0] === 0x80 && head[1] >= 2 && head[1] <= 5;
    if (head[8] === 0x7b && !isZip) return sound(openSafetensors(file), limit); // "{" after the header's length
    if (isZip || isPickle) return sound(await openTorch(file, options), limit);
    if (head[0] === 0x08) return sound(openOnnx(file), limit); // the first field: ir_version
    throw new InputError(
      `${file.name} holds no weights of a known format: give a .pth, .safetensors or .onnx file`,
    );
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}
