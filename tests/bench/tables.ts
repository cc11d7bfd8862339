import type { Tally } from "./count.ts";
import { type HostResult, hostRows } from "./host.ts";
import type { KernelResult } from "./kernels.ts";
import { table } from "./measure.ts";
import { type MemoryResult, memoryRows } from "./memory.ts";
import type { Measurement } from "./model_process.ts";
import type { ModelResult } from "./models.ts";
import type { PeerProducts } from "./peer_products.ts";
import type { PeerStep } from "./peer_steps.ts";
import type { ProfileResult } from "./step_profile.ts";
import { MODEL_NAMES } from "./training.ts";

/** GFLOP/s or GB/s. */
export function perSecond(count: number, milliseconds: number): number {
  return count / milliseconds / 1e6;
}

const percent = (part: number, whole: number) => 100 * part / whole;

/** The kernels' table: products against the library's, what moves against the copy. */
export function kernelTable(kernels: readonly KernelResult[], library: string | null): string {
  const copy = kernels.find(({ name }) => name.startsWith("copy"))!;
  const rows = kernels.map(({ name, sort, milliseconds, flops, bytes, ceilingMilliseconds }) => [
    name,
    milliseconds,
    sort === "memory" ? NaN : perSecond(flops, milliseconds),
    perSecond(bytes, milliseconds),
    ceilingMilliseconds === null ? NaN : perSecond(flops, ceilingMilliseconds),
    ceilingMilliseconds === null ? NaN : percent(ceilingMilliseconds, milliseconds),
    sort === "memory"
      ? percent(perSecond(bytes, milliseconds), perSecond(copy.bytes, copy.milliseconds))
      : NaN,
  ]);
  const ceiling = library ?? "no library";
  const head = ["Kernel", "ms", "GFLOP/s", "GB/s", `${ceiling}, GFLOP/s`, "% of it", "% of copy"];
  return table(head, rows);
}

/** The models' table: one column a model and side. */
export function modelTable(models: readonly ModelResult[]): string {
  const row = (name: string, value: (model: ModelResult) => number | null | undefined) => [
    name,
    ...models.map((model) => value(model) ?? NaN),
  ];
  const measured = (
    get: (model: ModelResult) => Measurement | null,
    value: (measurement: Measurement) => number | null,
  ) =>
  (model: ModelResult) => {
    const measurement = get(model);
    return measurement && value(measurement);
  };
  const speed = ({ work, milliseconds }: Measurement) => perSecond(work.flops, milliseconds);
  const share = (one: Measurement) => one.ceiling && percent(speed(one), one.ceiling.gflops);
  const forward = ({ forward }: ModelResult) => forward;
  const step = ({ step }: ModelResult) => step;
  const cached = ({ cachedStep }: ModelResult) => cachedStep;
  const late = ({ lateStep }: ModelResult) => lateStep;
  const over = (value: number | null, base: number) =>
    value === null ? null : percent(value, base) - 100;
  const time = ({ milliseconds }: Measurement) => milliseconds;
  const mebibytes = (bytes: number) => bytes / 2 ** 20;
  const rows = [
    row("forward (ms)", measured(forward, time)),
    row("forward, GFLOP/s", measured(forward, speed)),
    row("forward, % of the ceiling", measured(forward, share)),
    row("LoRA-16 unmerged over it (%)", measured(forward, (f) => over(f.unmerged, f.milliseconds))),
    row(
      "LoRA-16 merged over it (%)",
      measured(
        forward,
        (f) => over(f.merged && f.merged.milliseconds, f.milliseconds),
      ),
    ),
    row("LoRA-16 step (ms)", measured(step, time)),
    row("step, GFLOP/s", measured(step, speed)),
    row("step, % of the ceiling", measured(step, share)),
    row("step, prefix cached (ms)", measured(cached, time)),
    row("step of the last blocks, prefix cached (ms)", measured(late, time)),
    row("dispatches a step", measured(step, ({ work }) => work.dispatches)),
    row("step, peak GPU memory (MiB)", measured(step, (s) => mebibytes(s.peakGpuBytes))),
    row("step, peak host memory (MiB)", measured(step, (s) => mebibytes(s.peakHostBytes))),
    row("forward, peak GPU memory (MiB)", measured(forward, (f) => mebibytes(f.peakGpuBytes))),
    row("cold start to first loss (s)", ({ coldSeconds }) => coldSeconds),
    row("warm start to first loss (s)", ({ warmSeconds }) => warmSeconds),
    row("ceiling, GFLOP/s", measured(step, ({ ceiling }) => ceiling?.gflops ?? null)),
  ];
  const heads = models.map(({ model, side, batch }) => `${MODEL_NAMES[model]} ${side}, b${batch}`);
  return table(["LoRA-16 on every qkv", ...heads], rows);
}

/** GFLOP/s of every library at every product. */
export function peerProductTable({ libraries, products }: PeerProducts): string {
  const rows = libraries.map(({ name }) => [
    name,
    ...products.map(({ gflops }) => gflops[name] ?? NaN),
  ]);
  return table(["matmul, GFLOP/s", ...products.map(({ product }) => product)], rows);
}

/** Steps beside PyTorch's. */
export function peerStepTable(steps: readonly PeerStep[]): string {
  const rows = steps.map((one) => {
    const { step, cachedStep, torch } = one.milliseconds;
    return [
      `${MODEL_NAMES[one.model]} ${one.side}, b${one.batch}`,
      one.kind === "lora" ? "every qkv" : "qkv of the last blocks",
      step ?? NaN,
      cachedStep ?? NaN,
      torch,
      step ? step / torch : NaN,
      cachedStep ? cachedStep / torch : NaN,
      one.lossDifference.toExponential(1),
      one.torchPeakHostBytes / 2 ** 20,
    ];
  });
  return table([
    "LoRA-16 step",
    "trained",
    "ours (ms)",
    "prefix cached (ms)",
    `${steps[0]?.torch ?? "PyTorch"} (ms)`,
    "ratio",
    "ratio, cached",
    "loss differs by",
    "PyTorch's peak (MiB)",
  ], rows);
}

/** Matrix products by how many operations they make up. */
export function productTable({ products, total }: Tally): string {
  const rows = [...products].map(([name, { m, n, k, batch, times }]) => {
    const flops = 2 * m * n * k * batch * times;
    return [name, times, flops / 1e9, percent(flops, total.flops)];
  });
  rows.sort((a, b) => Number(b[2]) - Number(a[2]));
  return table(["Product", "times", "GFLOP", "%"], rows);
}

/** Time by kernel. */
export function profileTable({ kernels }: ProfileResult): string {
  const total = kernels.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rows = kernels.map(({ kernel, dispatches, milliseconds, flops, bytes }) => [
    kernel,
    dispatches,
    milliseconds,
    percent(milliseconds, total),
    flops > 0 ? perSecond(flops, milliseconds) : NaN,
    perSecond(bytes, milliseconds),
  ]);
  return table(["Kernel", "dispatches", "ms", "%", "GFLOP/s", "GB/s"], rows);
}

/** Host time of a dispatch. */
export function hostTable(host: readonly HostResult[]): string {
  const heads = host.map(({ operands }) => `operands in ${operands}`);
  return table(["MobileSAM, LoRA-16, side 64, b1", ...heads], hostRows(host));
}

/** Memory that a long run held. */
export function memoryTable(memory: readonly MemoryResult[]): string {
  const steps = Math.max(...memory.map(({ step }) => step));
  const head = [`${steps} training steps`, "resident MiB", "growth %", "GPU MiB", "growth %"];
  return table(head, memoryRows(memory));
}
