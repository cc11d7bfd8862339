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

/** Elements of a {@linkcode RawTensor} as the type that they are stored in. */
export type Elements =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | BigUint64Array
  | BigInt64Array
  | Float16Array
  | Float32Array
  | Float64Array;

const ARRAYS: Readonly<
  Record<Dtype, new (buffer: ArrayBufferLike, at: number, length: number) => Elements>
> = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Float16Array,
  BF16: Uint16Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U64: BigUint64Array,
  U32: Uint32Array,
  U16: Uint16Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
};

/**
 * The elements in their own type; those of BF16 as 16 bits each. A view on the bytes, which are copied
 * only where they are not aligned.
 */
export function elementsOf({ dtype, bytes }: Pick<RawTensor, "dtype" | "bytes">): Elements {
  const size = ITEM_SIZE[dtype];
  const source = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return new ARRAYS[dtype](source.buffer, source.byteOffset, bytes.byteLength / size);
}

/**
 * The elements as float32: for F32 a view on the file's bytes where they are aligned (they then share
 * memory), a copy or a conversion otherwise. F64, I32, I64, U32 and U64 round to the nearest float32.
 */
export function toFloat32(tensor: Pick<RawTensor, "dtype" | "bytes">): Float32Array {
  const elements = elementsOf(tensor);
  if (elements instanceof Float32Array) return elements;
  if (tensor.dtype === "BF16") {
    // bfloat16 is the upper half of a float32
    return new Float32Array(Uint32Array.from(elements as Uint16Array, (half) => half << 16).buffer);
  }
  if (elements instanceof BigInt64Array || elements instanceof BigUint64Array) {
    return Float32Array.from(elements as Iterable<bigint>, Number);
  }
  return Float32Array.from(elements);
}

/** Elements in memory as they are stored in a file. */
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

/** Bytes converted at a time. */
const CHUNK_BYTES = 2 ** 22;

/** Turns the bytes of each element round, in place: big-endian to little-endian. */
export function reverseBytes(bytes: Uint8Array, size: number): void {
  for (let at = 0; at < bytes.length; at += size) {
    for (let i = at, j = at + size - 1; i < j; i++, j--) {
      const byte = bytes[i];
      bytes[i] = bytes[j];
      bytes[j] = byte;
    }
  }
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
    result.set(toFloat32({ dtype, bytes }), done);
    done += count;
  }
  return result;
}
