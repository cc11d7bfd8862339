import { Gpu } from "../../lib/gpu/gpu.ts";
import { withoutTextures } from "../gpu/adapters.ts";
import { hostTime, median } from "./measure.ts";
import { Training } from "./training.ts";

/** Parts of the host's time for a dispatch; microseconds a dispatch, medians over steps. */
export interface HostResult {
  /** Place of the operands of matrix products: llvmpipe's in textures, a GPU's in buffers. */
  readonly operands: "textures" | "buffers";
  /** Dispatches, compute passes and copies of a step. */
  readonly counts: {
    readonly dispatches: number;
    readonly passes: number;
    readonly copies: number;
  };
  /** From the first line of a step to its last submit, which is not counted. */
  readonly whole: number;
  /** Within calls of WebGPU, by what they are for: what Deno and wgpu take, the floor. */
  readonly calls: Readonly<Record<Sort, number>>;
}

/** Purposes of calls of WebGPU. */
const SORTS = ["dispatches", "passes", "copies", "finish", "other"] as const;

/** Purpose of a call of WebGPU. */
export type Sort = typeof SORTS[number];

/** Steps before measuring: V8 compiles what runs often. */
const WARM_UP = 60;

/** Steps of which the median counts. */
const STEPS = 40;

/** The calls that a step makes, by class. */
const CALLS: readonly [{ prototype: object }, Readonly<Record<string, Sort>>][] = [
  [GPUComputePassEncoder, {
    setPipeline: "dispatches",
    setBindGroup: "dispatches",
    dispatchWorkgroups: "dispatches",
    end: "passes",
  }],
  [GPUCommandEncoder, {
    beginComputePass: "passes",
    copyBufferToBuffer: "copies",
    copyBufferToTexture: "copies",
    finish: "finish",
  }],
  [GPUDevice, { createCommandEncoder: "other" }],
  [GPUQueue, { writeBuffer: "other" }],
];

/**
 * Times what a LoRA-16 step of MobileSAM costs the host. At side 64 and batch 1: the dispatches are
 * those of any side, and a CPU driver, which computes on the cores that encode, has little to do.
 */
export async function benchHost(): Promise<HostResult[]> {
  const results: HostResult[] = [];
  for (const operands of ["textures", "buffers"] as const) {
    using gpu = await Gpu.open(operands === "buffers" ? { gpu: withoutTextures } : {});
    using training = await Training.open(gpu, { kind: "lora", side: 64, batch: 1 });
    const step = () => training.step().dispose();
    for (let i = 0; i < WARM_UP; i++) await settled(gpu, step);
    const times: number[] = [];
    for (let i = 0; i < STEPS; i++) {
      const { milliseconds, submit } = hostTime(gpu, step);
      times.push(milliseconds - submit);
      await gpu.finish();
    }
    const { names, milliseconds } = await recorded(gpu, step);
    const count = (pattern: RegExp) => names.filter((name) => pattern.test(name)).length;
    const dispatches = count(/^dispatch/);
    const each = (milliseconds: number) => 1000 * milliseconds / dispatches;
    results.push({
      operands,
      counts: { dispatches, passes: count(/^beginComputePass/), copies: count(/^copy/) },
      whole: each(median(times)),
      calls: bySort((sort) => each(milliseconds[sort])),
    });
  }
  return results;
}

async function settled(gpu: Gpu, work: () => void): Promise<void> {
  work();
  await gpu.finish();
}

function bySort(value: (sort: Sort) => number): Record<Sort, number> {
  return Object.fromEntries(SORTS.map((sort) => [sort, value(sort)])) as Record<Sort, number>;
}

/** The names of one step's calls, and the medians over steps of the milliseconds in each sort of them. */
async function recorded(
  gpu: Gpu,
  step: () => void,
): Promise<{ names: string[]; milliseconds: Record<Sort, number> }> {
  let names: string[] = [];
  let totals = bySort(() => 0);
  const restore: (() => void)[] = [];
  for (const [{ prototype }, sorts] of CALLS) {
    for (const [name, sort] of Object.entries(sorts)) {
      const original = Reflect.get(prototype, name);
      restore.push(() => Reflect.set(prototype, name, original));
      Reflect.set(prototype, name, function (this: object, ...args: unknown[]) {
        const start = performance.now();
        const result = original.apply(this, args);
        totals[sort] += performance.now() - start;
        names.push(name);
        return result;
      });
    }
  }
  const steps: Record<Sort, number>[] = [];
  for (let i = 0; i < STEPS; i++) {
    names = [];
    totals = bySort(() => 0);
    await settled(gpu, step);
    steps.push(totals);
  }
  for (const undo of restore) undo();
  return { names, milliseconds: bySort((sort) => median(steps.map((one) => one[sort]))) };
}

/** Microseconds a dispatch in all calls of WebGPU. */
export function withinWebGpu({ calls }: HostResult): number {
  return Object.values(calls).reduce((sum, one) => sum + one, 0);
}

/** The lines of the table. */
export function hostRows(results: readonly HostResult[]): (string | number)[][] {
  const row = (name: string, value: (result: HostResult) => number) => [
    name,
    ...results.map(value),
  ];
  return [
    row("dispatches a step", ({ counts }) => counts.dispatches),
    row("compute passes a step", ({ counts }) => counts.passes),
    row("copies a step", ({ counts }) => counts.copies),
    row("µs a dispatch, outside submit", ({ whole }) => whole),
    row("of it to set and dispatch", ({ calls }) => calls.dispatches),
    row("to begin and end passes", ({ calls }) => calls.passes),
    row("to copy", ({ calls }) => calls.copies),
    row("to finish", ({ calls }) => calls.finish),
    row("for encoders and writes", ({ calls }) => calls.other),
    row("all of WebGPU: the floor", withinWebGpu),
  ];
}
