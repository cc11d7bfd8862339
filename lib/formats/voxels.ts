import { excerpt, InputError, isOutOfMemory } from "../errors.ts";
import { inflate } from "./inflate.ts";
import { type Dtype, elementsOf, ITEM_SIZE, reverseBytes } from "./raw_tensor.ts";
import { MAX_VOXELS, NO_ROOM, requireFinite } from "./volume.ts";

/** Voxels as a file with a text header stores them. */
export interface StoredVoxels {
  /** Bytes after the header. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Voxels along x, y and z. */
  readonly shape: readonly [number, number, number];
  /** Their type. */
  readonly dtype: Dtype;
  /** True if the highest byte comes first. */
  readonly isBigEndian: boolean;
  /** Packing of the bytes; null for none. */
  readonly packing: "gzip" | "deflate" | null;
}

/**
 * The voxels of a file as float32.
 *
 * @param name Name of the file, for messages.
 * @throws {InputError} if they are not all there, are damaged, too many, or not finite.
 */
export async function decodeVoxels(
  { bytes, shape, dtype, isBigEndian, packing }: StoredVoxels,
  name: string,
): Promise<Float32Array> {
  const voxels = shape[0] * shape[1] * shape[2];
  if (!(voxels >= 1 && voxels <= MAX_VOXELS)) {
    throw new InputError(
      `${name} has ${
        shape.join(" x ")
      } voxels, and 1 to ${MAX_VOXELS} are read: crop or resample it`,
    );
  }
  const size = voxels * ITEM_SIZE[dtype];
  let raw: Uint8Array<ArrayBuffer>;
  try {
    if (packing === null && bytes.length < size) {
      throw new Error(`it holds ${bytes.length} of the ${size} bytes its header promises`);
    }
    raw = packing === null ? bytes.slice(0, size) : await inflate(bytes, { format: packing, size });
  } catch (error) {
    if (isOutOfMemory(error)) throw new InputError(`${name} ${NO_ROOM}`);
    const reason = excerpt(error instanceof Error ? error.message : String(error));
    throw new InputError(`${name} is truncated or damaged (${reason}): copy or download it again`);
  }
  if (isBigEndian) reverseBytes(raw, ITEM_SIZE[dtype]);
  const values = elementsOf({ dtype, bytes: raw });
  const data = new Float32Array(voxels);
  for (let i = 0; i < voxels; i++) data[i] = Number(values[i]);
  requireFinite(data, { shape, name });
  return data;
}
