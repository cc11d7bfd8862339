import { InputError } from "../errors.ts";
import type { LazyTensor, WeightSource } from "../nn/weight_source.ts";
import { type ByteSource, openBytes } from "../formats/byte_source.ts";
import { parseOnnx } from "../formats/onnx.ts";
import { toFloat32 } from "../formats/raw_tensor.ts";
import { officialWeights } from "./names.ts";
import { openSafetensors } from "../formats/safetensors.ts";
import { openTorch } from "../formats/torch.ts";

/** The longest message that protobuf, and with it ONNX, allows; larger models keep data elsewhere. */
const MAXIMUM_ONNX_BYTES = 2 ** 31 - 1;

/**
 * The initialisers of an ONNX model, held in memory as they stand in the file, which is disposed of
 * once it is read.
 */
function openOnnx(file: ByteSource): WeightSource {
  if (file.size > MAXIMUM_ONNX_BYTES) {
    throw new InputError(
      `${file.name} has ${file.size} bytes, more than an ONNX file may: give one of less than 2 GiB`,
    );
  }
  const bytes = new Uint8Array(file.size);
  file.read(0, bytes);
  const tensors = new Map<string, LazyTensor>();
  for (const [name, raw] of parseOnnx(bytes, { source: file.name }).initialisers) {
    const read = (): Promise<Float32Array> => Promise.resolve().then(() => toFloat32(raw));
    tensors.set(name, { shape: raw.shape, dtype: raw.dtype, read });
  }
  file[Symbol.dispose]();
  return { source: file.name, tensors, [Symbol.dispose]() {} };
}

/**
 * Opens weights of any known format, which it tells by their content and not by the name: PyTorch
 * (`.pth`, `.pt`, `.bin`; see {@linkcode openTorch}), safetensors, or the initialisers of an ONNX
 * model. Names are the file's own; {@linkcode openSamWeights} maps them to SAM's.
 *
 * @param options.key The part of a PyTorch checkpoint to take, such as "ema".
 * @throws {InputError} if it cannot be read, is of another format or damaged.
 */
export function openWeights(path: string, options: { key?: string } = {}): WeightSource {
  const file = openBytes(path);
  try {
    const head = new Uint8Array(Math.min(9, file.size));
    file.read(0, head);
    if (head[0] === 0x50 && head[1] === 0x4b) return openTorch(file, options); // "PK": a zip
    if (head[8] === 0x7b) return openSafetensors(file); // "{" after the header's length
    if (head[0] === 0x80 && head[1] >= 2 && head[1] <= 5) return openTorch(file, options); // a pickle
    if (head[0] === 0x08) return openOnnx(file); // the first field: ir_version
    throw new InputError(
      `${path} holds no weights of a known format: give a .pth, .safetensors or .onnx file`,
    );
  } catch (error) {
    file[Symbol.dispose]();
    throw error;
  }
}

/**
 * Opens weights of SAM or MobileSAM, in any format and layout, under the official names (see
 * {@linkcode officialWeights}), for `Module.loadFrom`.
 *
 * @throws {InputError} as {@linkcode openWeights}.
 *
 * @example
 * ```ts ignore
 * using weights = openSamWeights("sam_vit_b_01ec64.pth");
 * await sam.loadFrom(weights);
 * ```
 */
export function openSamWeights(path: string, options: { key?: string } = {}): WeightSource {
  return officialWeights(openWeights(path, options));
}
