import { Gpu } from "../../lib/gpu/gpu.ts";
import { withoutTextures } from "../adapter.ts";
import { median } from "./measure.ts";
import { Training } from "./training.ts";

/** Where the host's time for a dispatch goes; microseconds a dispatch, medians over steps. */
export interface HostResult {
  /** Where matrix products find their operands: llvmpipe's in textures, a GPU's in buffers. */
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

/** What a call of WebGPU is for. */
export type Sort = "copies" | "passes" | "dispatches" | "finish" | "other";

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
  [GPUQueue, { writeBuffer: "other", submit: "other" }],
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
    const step = () => {
      training.step().dispose();
      gpu.flush();
    };
    for (let i = 0; i < WARM_UP; i++) await settled(gpu, step);
    const whole = await perStep(gpu, step);
    const { names, totals } = await recorded(gpu, step);
    const named = (pattern: RegExp) => names.filter((name) => pattern.test(name)).length;
    const dispatches = named(/^dispatch/);
    const each = (milliseconds: number) => 1000 * milliseconds / dispatches;
    results.push({
      operands,
      counts: { dispatches, passes: named(/^beginComputePass/), copies: named(/^copy/) },
      whole: each(whole),
      calls: Object.fromEntries(
        Object.entries(totals).map(([sort, milliseconds]) => [sort, each(milliseconds)]),
      ) as Record<Sort, number>,
    });
  }
  return results;
}

async function settled(gpu: Gpu, work: () => void): Promise<void> {
  work();
  await gpu.finish();
}

/** Median of the milliseconds that one run keeps the host outside of submit. */
async function perStep(gpu: Gpu, work: () => void): Promise<number> {
  const { queue } = gpu.device;
  const { submit } = queue;
  let inside = 0;
  queue.submit = (buffers) => {
    const start = performance.now();
    submit.call(queue, buffers);
    inside += performance.now() - start;
  };
  const times: number[] = [];
  for (let i = 0; i < STEPS; i++) {
    inside = 0;
    const start = performance.now();
    work();
    times.push(performance.now() - start - inside);
    await gpu.finish();
  }
  queue.submit = submit;
  return median(times);
}

/** The names of one step's calls, and the medians over steps of the milliseconds in each sort of them. */
async function recorded(
  gpu: Gpu,
  step: () => void,
): Promise<{ names: string[]; totals: Record<Sort, number> }> {
  const empty = (): Record<Sort, number> => ({
    copies: 0,
    passes: 0,
    dispatches: 0,
    finish: 0,
    other: 0,
  });
  let names: string[] = [];
  let totals = empty();
  const restore: (() => void)[] = [];
  for (const [{ prototype }, sorts] of CALLS) {
    for (const [name, sort] of Object.entries(sorts)) {
      const original = Reflect.get(prototype, name);
      restore.push(() => Reflect.set(prototype, name, original));
      Reflect.set(prototype, name, function (this: object, ...args: unknown[]) {
        const start = performance.now();
        const result = original.apply(this, args);
        if (name !== "submit") totals[sort] += performance.now() - start;
        names.push(name);
        return result;
      });
    }
  }
  const steps: Record<Sort, number>[] = [];
  for (let i = 0; i < STEPS; i++) {
    names = [];
    totals = empty();
    await settled(gpu, step);
    steps.push(totals);
  }
  for (const undo of restore) undo();
  const middle = (sort: Sort) => median(steps.map((one) => one[sort]));
  return {
    names,
    totals: Object.fromEntries(
      (Object.keys(totals) as Sort[]).map((sort) => [sort, middle(sort)]),
    ) as Record<Sort, number>,
  };
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
