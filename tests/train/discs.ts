import type { SliceReader } from "../../lib/data/loader.ts";
import type { SliceRef } from "../../lib/data/slices.ts";
import { Random } from "../../lib/random.ts";

/** A reader of made-up slices: a bright disc, the tumour, on noise. */
export interface Discs extends SliceReader {
  /** The slices, each of another patient. */
  readonly refs: readonly SliceRef[];
  /** Number of slices read so far. */
  reads: number;
}

/** `count` slices of a size; name and number decide the pixels. */
export function discs(
  name: string,
  options: { count: number; width?: number; height?: number },
): Discs {
  const { count, width = 64, height = 64 } = options;
  const slices = Array.from({ length: count }, (_, index) => {
    const random = new Random(`${name} ${index}`);
    const radius = random.uniformIn(8, 16);
    const cx = random.uniformIn(radius + 2, width - radius - 2);
    const cy = random.uniformIn(radius + 2, height - radius - 2);
    const image = new Float32Array(width * height);
    const mask = new Uint8Array(width * height);
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const inside = Math.hypot(x - cx, y - cy) < radius;
        mask[y * width + x] = Number(inside);
        image[y * width + x] = random.uniformIn(30, 90) + (inside ? 100 : 0);
      }
    }
    const ref: SliceRef = {
      id: `${name}-${index}:2:0`,
      caseId: `${name}-${index}`,
      patient: `${name}-${index}`,
      axis: 2,
      index: 0,
      width,
      height,
      spacing: [1, 1],
      sliceSpacing: 1,
      orientation: null,
      depth: 1,
      tumourVoxels: mask.reduce((sum, pixel) => sum + pixel, 0),
    };
    return { ref, image, mask };
  });
  const byId = new Map(slices.map((slice) => [slice.ref.id, slice]));
  return {
    refs: slices.map(({ ref }) => ref),
    reads: 0,
    read(ref) {
      this.reads++;
      return Promise.resolve(byId.get(ref.id)!);
    },
  };
}
