import type { SliceReader } from "../loader.ts";
import type { Slice, SliceRef } from "../slices.ts";

/** Slices that are made of real ones, read like any others. */
export interface MadeSlices extends SliceReader {
  /** The slices, with tumour or without. */
  readonly refs: readonly SliceRef[];
  /** Slices of which none could be made. */
  readonly leftOut: number;
}

/**
 * Makes every slice once, to know which there are, and again whenever it is read: only the
 * {@link SliceRef}s stay in memory.
 *
 * @param makers Each makes one slice, always the same; null where none can be made.
 */
export async function madeSlices(
  makers: readonly (() => Promise<Slice | null>)[],
): Promise<MadeSlices> {
  const byId = new Map<string, () => Promise<Slice | null>>();
  const refs: SliceRef[] = [];
  for (const make of makers) {
    const slice = await make();
    if (slice === null) continue;
    refs.push(slice.ref);
    byId.set(slice.ref.id, make);
  }
  return {
    refs,
    leftOut: makers.length - refs.length,
    read: async ({ id }) => (await byId.get(id)!())!,
  };
}
