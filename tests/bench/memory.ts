import { Gpu } from "../../lib/gpu/gpu.ts";
import { loadSam } from "../../lib/files/pretrained.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { fit } from "../../lib/train/fit.ts";
import { discs } from "../train/discs.ts";

/** Steps of an epoch. */
const EPOCH = 10;

/** Steps after which memory is looked at; growth is counted from the first. */
const LOOKS = [10, 100, 1000] as const;

/** Memory that training holds after so many steps. */
export interface MemoryResult {
  /** Steps done. */
  readonly step: number;
  /** Resident memory of the process. */
  readonly residentBytes: number;
  /** Bytes of all buffers of the pool. */
  readonly gpuBytes: number;
}

/**
 * Trains LoRA-16 on MobileSAM at side 64 for 1,000 steps by the product's own loop, with its loader,
 * flips, prompts, validation and read-backs, and looks at what it holds on the way.
 */
export async function benchMemory(): Promise<MemoryResult[]> {
  const batchSize = 2;
  const reader = discs("memory", { count: EPOCH * batchSize + 2 });
  using gpu = await Gpu.open();
  const sam = await loadSam(gpu);
  await injectLora(sam, { r: 16, lora_alpha: 16, random: new Random(0) });
  using model = new SliceModel(sam, { side: 64 });
  const results: MemoryResult[] = [];
  await fit(model, {
    reader,
    train: reader.refs.slice(0, EPOCH * batchSize),
    validation: reader.refs.slice(EPOCH * batchSize),
  }, {
    batchSize,
    epochs: LOOKS[LOOKS.length - 1] / EPOCH,
    patience: Infinity,
    onEpoch: ({ epoch }) => {
      const step = epoch * EPOCH;
      if (!LOOKS.some((look) => look === step)) return;
      collect();
      const { rss } = Deno.memoryUsage();
      results.push({ step, residentBytes: rss, gpuBytes: gpu.memory.bytes });
    },
  });
  sam.dispose();
  return results;
}

/** Collects garbage, so that what merely waits for that does not count as growth. */
function collect(): void {
  const { gc } = globalThis as { gc?: () => void };
  if (!gc) throw new Error("run with --v8-flags=--expose-gc, as deno task bench does");
  gc();
}

/** The lines of the table: bytes in MiB, and growth since the first look in percent. */
export function memoryRows(results: readonly MemoryResult[]): (string | number)[][] {
  const [first] = results;
  const growth = (now: number, then: number) => 100 * (now / then - 1);
  return results.map(({ step, residentBytes, gpuBytes }) => [
    `after step ${step}`,
    residentBytes / 2 ** 20,
    growth(residentBytes, first.residentBytes),
    gpuBytes / 2 ** 20,
    growth(gpuBytes, first.gpuBytes),
  ]);
}
