import type { SliceReader } from "../../data/loader.ts";
import type { Slice, SliceRef } from "../../data/slices.ts";

/**
 * Slices on which a model that tells scanners apart, and not tumour from none, is found out: made of real
 * ones, read like any others.
 */
export interface ControlSlices extends SliceReader {
  /** The slices, with tumour or without. */
  readonly refs: readonly SliceRef[];
  /** Slices of which none could be made. */
  readonly leftOut: number;
}

/** Slices that are made once and kept in memory. */
export function controlSlices(
  slices: readonly Slice[],
  { leftOut }: { leftOut: number },
): ControlSlices {
  const byId = new Map(slices.map((slice) => [slice.ref.id, slice]));
  return {
    refs: slices.map(({ ref }) => ref),
    leftOut,
    read: (ref) => Promise.resolve(byId.get(ref.id)!),
  };
}
