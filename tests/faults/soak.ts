// deno task soak [STEPS]: trains a tiny SAM with adapters for 10,000 steps, with validation and a
// checkpoint every epoch, and watches what it holds. The summary is written to results/soak.json; it
// fails if anything grows.
import { join } from "node:path";
import { codeVersion } from "../../lib/study/environment.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { Random } from "../../lib/random.ts";
import { writeCheckpoint } from "../../lib/train/checkpoint_file.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { fit } from "../../lib/train/fit.ts";
import { gpu } from "../gpu.ts";
import { discs } from "../train/discs.ts";
import { tinySam } from "../train/tiny_sam.ts";

/** Bytes by which the resident set may end above its median of the first half: a page-cache's worth. */
const TOLERANCE = 32 * 2 ** 20;

/** Memory that the process holds at a moment. */
interface Sample {
  readonly step: number;
  /** Resident set, with the CPU driver's buffers where the driver is a CPU's. */
  readonly rss: number;
  readonly heapUsed: number;
  readonly external: number;
  /** Bytes of all buffers on the device. */
  readonly gpuBytes: number;
  /** Bytes of those that are lent out. */
  readonly gpuLive: number;
  /** Open files. */
  readonly files: number;
}

const steps = Number(Deno.args[0] ?? 10_000);
const trainSlices = 64;
const batchSize = 2;
const epochs = Math.ceil(steps / (trainSlices / batchSize));

function sample(step: number): Sample {
  const { rss, heapUsed, external } = Deno.memoryUsage();
  const { bytes, liveBytes } = gpu.memory;
  const files = Deno.build.os === "linux" ? [...Deno.readDirSync("/proc/self/fd")].length : 0;
  return { step, rss, heapUsed, external, gpuBytes: bytes, gpuLive: liveBytes, files };
}

/** Bytes a step by which a figure grows: the slope of the line of least squares. */
function slope(samples: readonly Sample[], figure: keyof Sample): number {
  const mean = (of: (s: Sample) => number) =>
    samples.reduce((sum, s) => sum + of(s), 0) / samples.length;
  const [x, y] = [mean((s) => s.step), mean((s) => s[figure])];
  const covariance = mean((s) => (s.step - x) * (s[figure] - y));
  return covariance / mean((s) => (s.step - x) ** 2);
}

function describe(samples: readonly Sample[], figure: keyof Sample) {
  const sorted = samples.map((s) => s[figure]).sort((a, b) => a - b);
  return {
    lowest: sorted[0],
    median: sorted[sorted.length >> 1],
    highest: sorted.at(-1)!,
    last: samples.at(-1)![figure],
    growthPerStep: Math.round(1000 * slope(samples, figure)) / 1000,
  };
}

/** Median of the resident set over each tenth of the run. */
function tenths(samples: readonly Sample[]): number[] {
  return Array.from({ length: 10 }, (_, i) => {
    const part = samples.filter((_, at) => Math.floor(10 * at / samples.length) === i);
    return part.length > 0 ? describe(part, "rss").median : 0;
  });
}

const sam = tinySam();
await injectLora(sam.imageEncoder, {
  r: 4,
  lora_alpha: 4,
  lora_dropout: 0.1,
  random: new Random(0),
});
using model = new SliceModel(sam, { side: 64 });
const reader = discs("soak", { count: trainSlices + 4 });
const data = {
  reader,
  train: reader.refs.slice(0, trainSlices),
  validation: reader.refs.slice(trainSlices),
};
const folder = await Deno.makeTempDir();
const samples: Sample[] = [];
const start = performance.now();
let step = 0;
let checkpoints = 0;
await fit(model, data, {
  epochs,
  batchSize,
  patience: epochs,
  prompt: "mixed",
  schedule: "constant",
  onCheckpoint: async (state) => {
    await writeCheckpoint(folder, state);
    checkpoints++;
  },
  onEpoch: (metrics) => {
    step += metrics.steps;
    samples.push(sample(step));
    if (metrics.epoch % 20 === 0) {
      const { rss, gpuBytes } = samples.at(-1)!;
      console.log(`step ${step}: ${rss >> 20} MiB resident, ${gpuBytes >> 10} kiB on the device`);
    }
  },
});
await Deno.remove(folder, { recursive: true });

// Until each slice was seen both ways round, the cache of frozen activations fills.
const warm = samples.filter((s) => s.step > steps / 10);
const [half, secondHalf] = [warm.slice(0, warm.length >> 1), warm.slice(warm.length >> 1)];
const rss = describe(warm, "rss");
const failures = [
  ...(new Set(warm.map((s) => s.gpuBytes)).size > 1 ? ["bytes on the device changed"] : []),
  ...(new Set(warm.map((s) => s.gpuLive)).size > 1 ? ["bytes lent out changed"] : []),
  ...(new Set(warm.map((s) => s.files)).size > 1 ? ["the number of open files changed"] : []),
  ...(rss.last - describe(half, "rss").median > TOLERANCE ? ["the resident set grew"] : []),
];
const summary = {
  command: ["deno task soak", ...Deno.args].join(" "),
  date: new Date().toISOString(),
  code: await codeVersion(),
  adapter: gpu.info.name,
  steps: step,
  epochs,
  checkpoints,
  seconds: Math.round((performance.now() - start) / 1000),
  samples: warm.length,
  rss,
  // Slope of a line through all of it: a leak would raise every tenth by as much.
  rssByTenth: tenths(samples),
  rssGrowthPerStepOfSecondHalf: Math.round(slope(secondHalf, "rss")),
  heapUsed: describe(warm, "heapUsed"),
  external: describe(warm, "external"),
  gpuBytes: describe(warm, "gpuBytes"),
  gpuLive: describe(warm, "gpuLive"),
  openFiles: describe(warm, "files"),
  failures,
};
const path = join(import.meta.dirname!, "..", "..", "results", "soak.json");
await writeFileAtomic(path, JSON.stringify(summary, null, 2) + "\n");
console.log(JSON.stringify(summary, null, 2));
if (failures.length > 0) Deno.exitCode = 1;
