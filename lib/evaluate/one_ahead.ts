import type { Gpu } from "../gpu/gpu.ts";

/**
 * Hands out batches with their results, while the device is at work: the next batch is encoded before the results of
 * one are waited for, and submitted before they are handed out. The order matters, since with wgpu the host stands
 * still from the beginning of a read until the device has done all that was submitted.
 *
 * @param begin Encodes the work on a batch; returns a function that waits for its result.
 */
export async function* oneAhead<Batch, Result>(
  gpu: Gpu,
  batches: AsyncIterable<Batch>,
  begin: (batch: Batch) => () => Promise<Result>,
): AsyncGenerator<[Batch, Result], void, void> {
  let begun: { batch: Batch; result: () => Promise<Result> } | null = null;
  let waited: Promise<Result> | undefined;
  try {
    for await (const batch of batches) {
      const before = begun;
      begun = { batch, result: begin(batch) };
      waited = before?.result();
      gpu.flush();
      if (before) yield [before.batch, await waited!];
    }
    const last = begun;
    begun = null;
    waited = last?.result();
    if (last) yield [last.batch, await waited!];
  } finally {
    await Promise.allSettled([waited, begun?.result()]); // frees what they hold
  }
}
