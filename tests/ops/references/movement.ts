import { sizeOf } from "../../../lib/tensor/shape.ts";
import type { Reference } from "../check.ts";

/** The index of a flat position in a shape. */
export function indexOf(shape: readonly number[], flat: number): number[] {
  const index = Array<number>(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = flat % shape[axis];
    flat = Math.floor(flat / shape[axis]);
  }
  return index;
}

/** A tensor whose element at an index is x's element at `source(index)`. */
export function moved(shape: readonly number[], source: (index: number[]) => number[]) {
  return (x: Reference): Reference => ({
    shape,
    data: Float64Array.from({ length: sizeOf(shape) }, (_, flat) => {
      const index = source(indexOf(shape, flat));
      return x.data[index.reduce((at, i, axis) => at * x.shape[axis] + i, 0)];
    }),
  });
}

/** Tensors joined along an axis: each element is looked for in the part that its index falls into. */
export function concat64(parts: readonly Reference[], axis: number): Reference {
  const total = parts.reduce((sum, { shape }) => sum + shape[axis], 0);
  const shape = parts[0].shape.with(axis, total);
  const data = Float64Array.from({ length: sizeOf(shape) }, (_, flat) => {
    const index = indexOf(shape, flat);
    let part = 0;
    while (index[axis] >= parts[part].shape[axis]) index[axis] -= parts[part++].shape[axis];
    const own = parts[part];
    return own.data[index.reduce((at, i, a) => at * own.shape[a] + i, 0)];
  });
  return { shape, data };
}
