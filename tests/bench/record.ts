import { describeEnvironment } from "../../lib/study/environment.ts";
import type { Environment } from "../../lib/study/results.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
import type { GpuAdapter } from "../../lib/gpu/gpu_adapter.ts";

/** Record of a benchmark: adapter, load and measurements. */
export interface BenchRecord {
  /** Machine and versions. */
  readonly environment: Environment;
  /** Processes that wanted a core over the last 1, 5 and 15 minutes: at the start and at the end. */
  readonly loadAverage: { readonly start: readonly number[]; readonly end: readonly number[] };
  /** Results by the name of the part. */
  readonly results: Readonly<Record<string, unknown>>;
}

/** Completes the record of a benchmark, and writes it if a file is named. */
export async function writeRecord(
  adapter: GpuAdapter,
  options: {
    command: string;
    loadAtStart: readonly number[];
    results: Readonly<Record<string, unknown>>;
    json?: string;
  },
): Promise<void> {
  const { command, loadAtStart, results, json } = options;
  const record: BenchRecord = {
    environment: await describeEnvironment(adapter, { command, weights: null }),
    loadAverage: { start: loadAtStart, end: Deno.loadavg() },
    results,
  };
  if (json) await writeFileAtomic(json, JSON.stringify(record, null, 2) + "\n");
}
