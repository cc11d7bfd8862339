import { sizeOf } from "../../../lib/tensor/shape.ts";
import type { ReductionOptions } from "../../../lib/tensor/ops/sum.ts";
import type { Reference } from "../check.ts";
import { indexOf } from "./movement.ts";

/** The sum or the mean over some axes, by default over all: every element goes to where it belongs. */
export function reduce64(
  { shape, data }: Reference,
  { axes, keepDims, average }: ReductionOptions & { readonly average: boolean },
): Reference {
  const reduced = shape.map((_, axis) =>
    axes === undefined || axes.includes(axis) || axes.includes(axis - shape.length)
  );
  const kept = shape.map((size, axis) => reduced[axis] ? 1 : size);
  const out = new Float64Array(sizeOf(kept));
  const terms = average ? data.length / out.length : 1;
  data.forEach((value, flat) => {
    const index = indexOf(shape, flat);
    out[kept.reduce((at, size, axis) => at * size + (reduced[axis] ? 0 : index[axis]), 0)] +=
      value / terms;
  });
  return { shape: keepDims ? kept : shape.filter((_, axis) => !reduced[axis]), data: out };
}
