/**
 * A binary mask as COCO writes it uncompressed, and SAM's automatic mask generator too: how many pixels
 * are 0, then how many are 1, and so on, columns one after another.
 */
export interface RunLengths {
  /** Rows and columns. */
  readonly size: readonly [height: number, width: number];
  /** Lengths of the runs, the first of zeros (0 if the first pixel is set). */
  readonly counts: readonly number[];
}

/**
 * Encodes a mask.
 *
 * @param mask height * width bytes, rows one after another; any value but 0 is set.
 */
export function encodeRunLengths(
  mask: Uint8Array,
  { width, height }: { width: number; height: number },
): RunLengths {
  const counts: number[] = [];
  let [value, length] = [0, 0];
  for (let x = 0; x < width; x++) {
    for (let y = 0; y < height; y++) {
      const next = Number(mask[y * width + x] !== 0);
      if (next !== value) {
        counts.push(length);
        [value, length] = [next, 0];
      }
      length++;
    }
  }
  return { size: [height, width], counts: [...counts, length] };
}

/**
 * Decodes a mask.
 *
 * @returns height * width bytes of 0 and 1, rows one after another.
 * @throws {RangeError} if the runs are not as long as the mask.
 */
export function decodeRunLengths({ size: [height, width], counts }: RunLengths): Uint8Array {
  const total = counts.reduce((sum, length) => sum + length, 0);
  if (total !== width * height) {
    throw new RangeError(`runs of ${total} pixels are no mask of ${width} x ${height}`);
  }
  const mask = new Uint8Array(total);
  let at = 0;
  counts.forEach((length, i) => {
    for (const end = at + length; at < end; at++) {
      mask[(at % height) * width + Math.floor(at / height)] = i % 2;
    }
  });
  return mask;
}
