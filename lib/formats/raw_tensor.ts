/** Element types by their names in safetensors. */
export type Dtype =
  | "F64"
  | "F32"
  | "F16"
  | "BF16"
  | "I64"
  | "I32"
  | "I16"
  | "I8"
  | "U64"
  | "U32"
  | "U16"
  | "U8"
  | "BOOL";

/** A tensor as it stands in a file: little-endian bytes in C order, not yet converted. */
export interface RawTensor {
  /** The element type. */
  readonly dtype: Dtype;
  /** The length of each axis. */
  readonly shape: readonly number[];
  /** A view on the file's bytes. */
  readonly bytes: Uint8Array;
}

/** Bytes an element. */
export const ITEM_SIZE: Readonly<Record<Dtype, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

/** The number of elements of a shape; not a safe integer where the shape is absurd. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, length) => product * length, 1);
}

/** A buffer that starts at the bytes, which are copied only if their place in it is not aligned. */
function aligned({ dtype, bytes }: RawTensor): [ArrayBufferLike, number, number] {
  const size = ITEM_SIZE[dtype];
  const source = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return [source.buffer, source.byteOffset, bytes.byteLength / size];
}

/** bfloat16 is the upper half of a float32. */
function widenBfloat16(halves: Uint16Array): Float32Array {
  const words = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) words[i] = halves[i] << 16;
  return new Float32Array(words.buffer);
}

/**
 * The elements as float32: for F32 a view on the file's bytes where they are aligned (they then share
 * memory), a copy or a conversion otherwise. F64, I32, I64, U32 and U64 round to the nearest float32.
 */
export function toFloat32(tensor: RawTensor): Float32Array {
  const place = aligned(tensor);
  switch (tensor.dtype) {
    case "F32":
      return new Float32Array(...place);
    case "F64":
      return Float32Array.from(new Float64Array(...place));
    case "F16":
      return Float32Array.from(new Float16Array(...place));
    case "BF16":
      return widenBfloat16(new Uint16Array(...place));
    case "I64":
      return Float32Array.from(new BigInt64Array(...place), Number);
    case "U64":
      return Float32Array.from(new BigUint64Array(...place), Number);
    case "I32":
      return Float32Array.from(new Int32Array(...place));
    case "U32":
      return Float32Array.from(new Uint32Array(...place));
    case "I16":
      return Float32Array.from(new Int16Array(...place));
    case "U16":
      return Float32Array.from(new Uint16Array(...place));
    case "I8":
      return Float32Array.from(new Int8Array(...place));
    case "U8":
    case "BOOL":
      return Float32Array.from(new Uint8Array(...place));
  }
}

/** Bytes converted at a time. */
const CHUNK_BYTES = 2 ** 22;

/** Turns each element's bytes round, in place. */
function reverseBytes(bytes: Uint8Array, size: number): void {
  for (let at = 0; at < bytes.length; at += size) bytes.subarray(at, at + size).reverse();
}

/**
 * Reads elements as float32, a few megabytes at a time, so that next to the result hardly any memory
 * is needed whatever the element type.
 *
 * @param read Fills `target` with the bytes from `at` on.
 */
export function readElements(
  read: (at: number, target: Uint8Array) => void,
  options: { dtype: Dtype; length: number; bigEndian?: boolean },
): Float32Array {
  const { dtype, length, bigEndian = false } = options;
  const result = new Float32Array(length);
  if (dtype === "F32" && !bigEndian) {
    read(0, new Uint8Array(result.buffer));
    return result;
  }
  const size = ITEM_SIZE[dtype];
  const chunk = new Uint8Array(Math.min(CHUNK_BYTES, length * size));
  for (let done = 0; done < length;) {
    const count = Math.min(length - done, chunk.length / size);
    const bytes = chunk.subarray(0, count * size);
    read(done * size, bytes);
    if (bigEndian) reverseBytes(bytes, size);
    result.set(toFloat32({ dtype, shape: [count], bytes }), done);
    done += count;
  }
  return result;
}
