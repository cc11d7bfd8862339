import { type HostResult, withinWebGpu } from "./host.ts";
import type { KernelResult } from "./kernels.ts";
import type { MemoryResult } from "./memory.ts";
import type { Measurement } from "./model_process.ts";
import type { ModelResult } from "./models.ts";
import { OURS, type PeerProducts } from "./peer_products.ts";
import type { PeerStep } from "./peer_steps.ts";
import type { ProfileResult } from "./step_profile.ts";
import { type Model, MODEL_NAMES } from "./training.ts";

/** The parts that benchmarks write down. */
export interface Results {
  /** Kernels beside a library's products. */
  readonly kernels?: {
    readonly library: string | null;
    readonly kernels: readonly KernelResult[];
  };
  /** Models, one entry a side. */
  readonly models?: readonly ModelResult[];
  /** Products of other libraries. */
  readonly peerProducts?: PeerProducts;
  /** PyTorch's steps. */
  readonly peerSteps?: readonly PeerStep[];
  /** Host time of a dispatch. */
  readonly host?: readonly HostResult[];
  /** Time by kernel of steps. */
  readonly profiles?: readonly ProfileResult[];
  /** A long run. */
  readonly memory?: readonly MemoryResult[];
}

/** A figure to reach, and what was seen. */
export interface Figure {
  /** Name of the figure. */
  readonly name: string;
  /** Target of the figure. */
  readonly target: string;
  /** Measured value, null if it was not measured. */
  readonly seen: string | null;
  /** True if that reaches the target. */
  readonly met: boolean | null;
  /** The command that measures it. */
  readonly command: string;
}

/** The kind of adapter: the figures to reach differ. */
export type AdapterType = "CPU" | "GPU";

/** The figures to reach on a kind of adapter, as far as they were measured. */
export function figures(results: Results, type: AdapterType): Figure[] {
  const cpu = type === "CPU";
  return [
    matmulShare(results.peerProducts, cpu ? 0.15 : 0.5, cpu ? "OpenBLAS" : "cuBLAS"),
    matmulOver(results.peerProducts, {
      name: "the best WebGPU peer",
      least: 8,
      isPeer: ({ target }) => target === "WebGPU",
    }),
    matmulOver(results.peerProducts, {
      name: "jax-js's WASM",
      least: 1,
      isPeer: ({ name, target }) => target !== "WebGPU" && name.startsWith("jax-js"),
    }),
    ...peerStepFigures(results.peerSteps, cpu),
    ...vitFigures(results, cpu),
    ...overheadFigures(results.models),
    ...hostTimes(results.host),
    memoryGrowth(results.memory),
    ...starts(results.models, cpu),
  ];
}

/** A figure that is yet to be measured. */
type About = Pick<Figure, "name" | "target" | "command">;

const bench = (options: string) => `deno task bench ${options} --python PATH`;
const benchPeers = (options: string) => `deno task bench:peers ${options} --python PATH`;
const benchVit = (side: number) => bench(`--only models --model vit_b --side ${side}`);

/** A figure from a number, if it was measured. */
function figure(
  about: About,
  value: number | null | undefined,
  { met, text }: { met: (value: number) => boolean; text: (value: number) => string },
): Figure {
  return value == null || Number.isNaN(value)
    ? { ...about, seen: null, met: null }
    : { ...about, seen: text(value), met: met(value) };
}

const rounded = (value: number) => String(Number(value.toPrecision(3)));

/** The lowest of some ratios with where it was found. */
function lowest(ratios: readonly { where: string; ratio: number }[]) {
  return ratios.reduce<{ where: string; ratio: number } | null>(
    (low, one) => low === null || one.ratio < low.ratio ? one : low,
    null,
  );
}

/** Ours over another library's speed, at every product that both computed. */
function ratios({ products }: PeerProducts, theirs: (gflops: Record<string, number>) => number) {
  return products.map(({ product, gflops }) => ({
    where: product,
    ratio: gflops[OURS] / theirs(gflops),
  })).filter(({ ratio }) => Number.isFinite(ratio));
}

/** "0.2 at 1024³, 0.17 at worst (m x n x k)". */
function ratioText(all: readonly { where: string; ratio: number }[]): string {
  const cube = all.find(({ where }) => where.startsWith("1024 x 1024 x 1024"));
  const { where, ratio } = lowest(all)!;
  return (cube ? `${rounded(cube.ratio)} at 1024³, ` : "") +
    `${rounded(ratio)} at worst (${where})`;
}

function matmulShare(peers: PeerProducts | undefined, target: number, library: string): Figure {
  const pattern = library === "OpenBLAS" ? /openblas/i : /cuda/i;
  const name = peers?.libraries.find(({ name }) => pattern.test(name))?.name;
  const all = peers && name ? ratios(peers, (gflops) => gflops[name]) : [];
  return figure(
    {
      name: `matmul f32 over ${library}`,
      target: `at least ${target}`,
      command: benchPeers("--only matmul"),
    },
    lowest(all)?.ratio,
    { met: (ratio) => ratio >= target, text: () => ratioText(all) },
  );
}

/** Products beside the fastest of some other libraries. */
function matmulOver(
  peers: PeerProducts | undefined,
  { name, least, isPeer }: {
    name: string;
    least: number;
    isPeer: (library: PeerProducts["libraries"][number]) => boolean;
  },
): Figure {
  const names = peers?.libraries.filter((one) => one.name !== OURS && isPeer(one))
    .map(({ name }) => name) ?? [];
  const all = peers
    ? ratios(peers, (gflops) => Math.max(...names.map((name) => gflops[name] ?? -Infinity)))
      .filter(({ ratio }) => ratio > 0)
    : [];
  return figure(
    {
      name: `matmul f32 over ${name}`,
      target: `at least ${least}`,
      command: benchPeers("--only matmul"),
    },
    lowest(all)?.ratio,
    { met: (ratio) => ratio >= least, text: () => ratioText(all) },
  );
}

/** "1.4 (900 ms to 640 ms)". */
function peerRatio(
  about: Omit<About, "command">,
  { steps, model, side, kind = "lora", ours = "step", most }: {
    steps: readonly PeerStep[] | undefined;
    model: Model;
    side: number;
    kind?: PeerStep["kind"];
    ours?: "step" | "cachedStep";
    most: number;
  },
): Figure {
  const step = steps?.find((one) => one.model === model && one.side === side && one.kind === kind);
  const milliseconds = step?.milliseconds[ours];
  const ratio = milliseconds && milliseconds / step!.milliseconds.torch;
  const command = benchPeers(`--only step --model ${model} --side ${side}`);
  return figure({ ...about, command }, ratio, {
    met: (ratio) => ratio <= most,
    text: (ratio) =>
      `${rounded(ratio)} (${milliseconds!.toFixed(0)} ms to ${
        step!.milliseconds.torch.toFixed(0)
      } ms)`,
  });
}

function peerStepFigures(steps: readonly PeerStep[] | undefined, cpu: boolean): Figure[] {
  const [most, cached, late] = cpu ? [3, 1.8, 1.2] : [1.5, 1.5, 1.5];
  const at = "side 256, batch 4, over PyTorch's";
  const mobileSam = { steps, model: "mobile_sam", side: 256 } as const;
  return [
    peerRatio(
      { name: `MobileSAM LoRA step, ${at}`, target: `at most ${most}` },
      { ...mobileSam, most },
    ),
    peerRatio(
      { name: `the same, frozen prefix cached, ${at}`, target: `at most ${cached}` },
      { ...mobileSam, ours: "cachedStep", most: cached },
    ),
    peerRatio(
      { name: `LoRA on the last stage, frozen prefix cached, ${at}`, target: `at most ${late}` },
      { ...mobileSam, kind: "lora_late", ours: "cachedStep", most: late },
    ),
  ];
}

function findModel(models: readonly ModelResult[] | undefined, model: Model, side: number) {
  return models?.find((one) => one.model === model && one.side === side);
}

/** ViT-B: on a CPU driver in seconds and bytes, on a GPU beside PyTorch. */
function vitFigures({ models, peerSteps }: Results, cpu: boolean): Figure[] {
  const large = findModel(models, "vit_b", 1024)?.step;
  const large1024 = `ViT-B LoRA step at 1024, batch 1${
    large?.checkpointed ? ", activations checkpointed" : ""
  }`;
  const memory = `${large1024}: memory`;
  const gibibytes = (bytes: number) => `${rounded(bytes / 2 ** 30)} GiB`;
  if (cpu) {
    const seconds = (step: Measurement | null | undefined) => step && step.milliseconds / 1000;
    const text = (value: number) => `${rounded(value)} s`;
    return [
      figure(
        { name: memory, target: "at most 3 GiB in all", command: benchVit(1024) },
        large?.peakHostBytes,
        { met: (bytes) => bytes <= 3 * 2 ** 30, text: gibibytes },
      ),
      figure(
        {
          name: `${large1024}: time`,
          target: "at most 60 s",
          command: benchVit(1024),
        },
        seconds(large),
        { met: (value) => value <= 60, text },
      ),
    ];
  }
  const theirs = peerSteps?.find(({ model, side }) => model === "vit_b" && side === 1024)
    ?.torchPeakGpuBytes;
  return [
    figure(
      {
        name: `${memory} of the GPU`,
        target: theirs ? `below PyTorch's ${gibibytes(theirs)}` : "below PyTorch's",
        command: benchVit(1024),
      },
      theirs && large?.peakGpuBytes,
      { met: (bytes) => bytes < theirs!, text: gibibytes },
    ),
    peerRatio(
      { name: "ViT-B LoRA step at 512, batch 1, over PyTorch's", target: "at most 1.5" },
      { steps: peerSteps, model: "vit_b", side: 512, most: 1.5 },
    ),
  ];
}

/** Cost of adapters in a forward pass, at worst over the models. */
function overheadFigures(models: readonly ModelResult[] | undefined): Figure[] {
  const forwards = (models ?? []).flatMap(({ forward }) => forward ?? []);
  const worst = (values: number[]) => values.length > 0 ? Math.max(...values) : null;
  const unmerged = forwards.flatMap(({ unmerged, milliseconds }) =>
    unmerged === null ? [] : [100 * (unmerged / milliseconds - 1)]
  );
  const merged = forwards.flatMap(({ merged, work }) =>
    merged === null ? [] : [
      merged.work.flops - work.flops + merged.work.dispatches -
      work.dispatches,
    ]
  );
  const noise = forwards.flatMap(({ merged, milliseconds }) =>
    merged === null ? [] : [100 * (merged.milliseconds / milliseconds - 1)]
  );
  const percent = (value: number) => `${value.toFixed(1)} %`;
  const command = bench("--only models --long");
  return [
    figure(
      { name: "LoRA unmerged over frozen forward", target: "at most 5 %", command },
      worst(unmerged),
      { met: (value) => value <= 5, text: (value) => `${percent(value)} at worst` },
    ),
    figure(
      { name: "LoRA merged over frozen forward", target: "0", command },
      worst(merged),
      {
        met: (value) => value === 0,
        text: (value) =>
          (value === 0 ? "the same dispatches" : "other dispatches") +
          `; timed ${noise.map(percent).join(", ")}`,
      },
    ),
  ];
}

/** Microseconds of the host a dispatch, by the place of its operands. */
const HOST_TARGETS = { buffers: 8, textures: 25 } as const;

function hostTimes(host: readonly HostResult[] | undefined): Figure[] {
  return Object.entries(HOST_TARGETS).map(([operands, most]) => {
    const found = host?.find((one) => one.operands === operands);
    return figure(
      {
        name: `host time a dispatch outside submit, operands in ${operands}`,
        target: `at most ${most} µs`,
        command: "deno task bench --only host",
      },
      found?.whole,
      {
        met: (value) => value <= most,
        text: (value) =>
          `${rounded(value)} µs, of which Deno's WebGPU ${rounded(withinWebGpu(found!))}`,
      },
    );
  });
}

function memoryGrowth(memory: readonly MemoryResult[] | undefined): Figure {
  const [first, last] = [memory?.[0], memory?.at(-1)];
  const growth = (bytes: "residentBytes" | "gpuBytes") => 100 * (last![bytes] / first![bytes] - 1);
  const percent = (bytes: "residentBytes" | "gpuBytes") => `${growth(bytes).toFixed(2)} %`;
  return figure(
    {
      name: "1,000 steps: growth of memory after step 10",
      target: "at most 2 %",
      command: "deno task bench --only memory",
    },
    last && Math.max(growth("residentBytes"), growth("gpuBytes")),
    {
      met: (value) => value <= 2 && last!.step >= 1000,
      text: () =>
        `resident ${percent("residentBytes")}, GPU ${percent("gpuBytes")}, ${last!.step} steps`,
    },
  );
}

/** From the start of a process to its first loss: half of what it took before kernels were specialized. */
function starts(models: readonly ModelResult[] | undefined, cpu: boolean): Figure[] {
  const start = (
    which: "cold" | "warm",
    { model, side, most }: { model: Model; side: number; most: number },
  ) =>
    figure(
      {
        name: `${which} start to first loss, ${MODEL_NAMES[model]} ${side}`,
        target: `at most ${most} s`,
        command: bench(`--only models --model ${model} --side ${side}`),
      },
      findModel(models, model, side)?.[`${which}Seconds`],
      { met: (seconds) => seconds <= most, text: (seconds) => `${rounded(seconds)} s` },
    );
  if (!cpu) return [start("warm", { model: "mobile_sam", side: 256, most: 3 })];
  return [
    start("cold", { model: "mobile_sam", side: 256, most: 9.5 }),
    start("warm", { model: "mobile_sam", side: 256, most: 2.2 }),
    start("cold", { model: "vit_b", side: 512, most: 19.5 }),
  ];
}
