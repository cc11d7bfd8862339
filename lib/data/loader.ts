import { InputError } from "../errors.ts";
import type { Random } from "../random.ts";
import type { Slice, SliceRef } from "./slices.ts";

/** Options of {@linkcode planBatches}. */
export interface PlanBatchesOptions {
  /** Slices a batch; the last batch of each size may have fewer. */
  batchSize: number;
  /** Shuffles the slices; without it they stay in their order. */
  random?: Random;
}

/**
 * Orders slices into batches of equal size in pixels, with tumour or without, which are prompted otherwise:
 * each slice exactly once, in shuffled order, a batch as soon as it is full, unfilled batches at the end.
 *
 * @throws {InputError} if the batch size is not a whole number from 1.
 */
export function planBatches(
  refs: readonly SliceRef[],
  { batchSize, random }: PlanBatchesOptions,
): SliceRef[][] {
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw new InputError(`the batch size cannot be ${batchSize}: give a whole number from 1`);
  }
  const batches: SliceRef[][] = [];
  const filling = new Map<string, SliceRef[]>();
  for (const ref of random ? random.shuffle(refs) : refs) {
    const kind = `${ref.width}x${ref.height}${ref.tumourVoxels > 0 ? "" : ", tumour-free"}`;
    const batch = filling.get(kind) ?? [];
    batch.push(ref);
    filling.set(kind, batch);
    if (batch.length === batchSize) {
      batches.push(batch);
      filling.delete(kind);
    }
  }
  return [...batches, ...filling.values()];
}

/** Anything that reads slices; `SliceSet` is one. */
export interface SliceReader {
  /** Reads one slice. */
  read(ref: SliceRef): Promise<Slice>;
}

/** Options of {@linkcode loadBatches}. */
export interface LoadBatchesOptions {
  /** Batches read ahead of the consumer; default 2, 0 reads on demand. */
  depth?: number;
}

/**
 * Yields the slices of each planned batch, reading the next batches while the consumer works with
 * this one. A read that fails is thrown at the batch it belongs to; leaving the loop early waits for
 * the reads under way and drops them.
 *
 * @example
 * ```ts
 * const plan = planBatches(parts.train, { batchSize: 4, random: random.fork("epoch 1") });
 * for await (const slices of loadBatches(set, plan)) step(slices);
 * ```
 */
export async function* loadBatches(
  reader: SliceReader,
  plan: readonly (readonly SliceRef[])[],
  { depth = 2 }: LoadBatchesOptions = {},
): AsyncGenerator<Slice[], void, void> {
  const pending: Promise<Slice[]>[] = [];
  let next = 0;
  const readAhead = (batches: number) => {
    while (pending.length < batches && next < plan.length) {
      const batch = all(plan[next++].map((ref) => reader.read(ref)));
      batch.catch(() => {}); // it is thrown below, when its turn comes
      pending.push(batch);
    }
  };
  try {
    for (let i = 0; i < plan.length; i++) {
      readAhead(1);
      const slices = await pending[0];
      pending.shift();
      readAhead(depth);
      yield slices;
    }
  } finally {
    await Promise.allSettled(pending);
  }
}

/** `Promise.all` that rejects only once nothing is under way any more. */
async function all<T>(promises: Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return await Promise.all(promises);
}
