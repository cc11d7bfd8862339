import { elementCount, ITEM_SIZE, type RawTensor, toFloat32 } from "./raw_tensor.ts";

/**
 * The bytes of a safetensors file with tensors as they are stored: in the order of the map, each in
 * its own element type, so that a file that was parsed is written back bit for bit.
 *
 * @throws {RangeError} if a tensor's bytes do not fit its shape.
 */
export function encodeRawSafetensors(
  tensors: ReadonlyMap<string, RawTensor>,
  options: { metadata?: Readonly<Record<string, string>> } = {},
): Uint8Array {
  const { metadata = {} } = options;
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let dataBytes = 0;
  for (const [name, { dtype, shape, bytes }] of tensors) {
    if (elementCount(shape) * ITEM_SIZE[dtype] !== bytes.byteLength) {
      throw new RangeError(`tensor "${name}" of shape [${shape}] has ${bytes.byteLength} bytes`);
    }
    header[name] = { dtype, shape, data_offsets: [dataBytes, dataBytes += bytes.byteLength] };
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  const headerBytes = Math.ceil(text.length / 8) * 8;
  const file = new Uint8Array(8 + headerBytes + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.fill(0x20, 8, 8 + headerBytes); // JSON may end in spaces
  file.set(text, 8);
  let at = 8 + headerBytes;
  for (const { bytes } of tensors.values()) {
    file.set(bytes, at);
    at += bytes.byteLength;
  }
  return file;
}

/** Elements as they are stored in a file. */
export function float32Tensor(shape: readonly number[], data: Float32Array): RawTensor {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return { dtype: "F32", shape: [...shape], bytes };
}

/** A tensor rounded to half precision; null if a value is beyond its range of 65504. */
export function float16Tensor(raw: RawTensor): RawTensor | null {
  const data = Float16Array.from(toFloat32(raw));
  if (!data.every(Number.isFinite)) return null;
  return { dtype: "F16", shape: raw.shape, bytes: new Uint8Array(data.buffer) };
}
