import type { Reference } from "../check.ts";

/** The rows of a table [n, C] that indices of some shape name. */
export function gather64(
  { shape: [, columns], data }: Reference,
  { indices, shape }: { readonly indices: Uint32Array; readonly shape: readonly number[] },
): Reference {
  return {
    shape: [...shape, columns],
    data: Float64Array.from(
      { length: indices.length * columns },
      (_, i) => data[indices[Math.floor(i / columns)] * columns + i % columns],
    ),
  };
}
