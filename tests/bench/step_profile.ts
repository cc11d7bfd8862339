import { Gpu } from "../../lib/gpu/gpu.ts";
import type { KernelTime } from "../../lib/gpu/profiler.ts";
import type { GpuAdapter } from "../../lib/gpu/gpu_adapter.ts";
import { countWork, type Tally } from "./count.ts";
import { type Kind, type Model, MODEL_NAMES, Training } from "./training.ts";

/** Model and step that are profiled. */
export interface ProfileTask {
  readonly model: Model;
  readonly side: number;
  readonly batch: number;
  /** Part that is trained; "frozen" is a forward pass up to the loss. */
  readonly kind: Kind;
  /** The frozen prefix comes from the cache. */
  readonly cached: boolean;
}

/** Time by kernel of one training step or forward pass. */
export interface ProfileResult extends ProfileTask {
  /** Longest first; floating-point operations of products, and bytes that must be moved at least. */
  readonly kernels: readonly (KernelTime & { readonly flops: number; readonly bytes: number })[];
  /** From the first command to the last result, with timestamps around each dispatch. */
  readonly wallMilliseconds: number;
}

/** Runs a step once to compile its kernels and once more with the clock running. */
export async function profileStep(
  task: ProfileTask,
): Promise<{ profile: ProfileResult; tally: Tally; adapter: GpuAdapter }> {
  using gpu = await Gpu.open({ profile: true });
  using training = await Training.open(gpu, task);
  const { kind, cached } = task;
  const work = () => kind === "frozen" ? training.forward() : training.step({ cached }).dispose();
  work(); // compiles
  const first = await gpu.profile();
  const start = performance.now();
  const tally = countWork(gpu, work);
  await gpu.finish();
  const wallMilliseconds = performance.now() - start;
  const kernels = since(first, await gpu.profile()).map((time) => {
    const { flops, bytes } = tally.kernels.get(time.kernel) ?? { flops: NaN, bytes: NaN };
    return { ...time, flops, bytes };
  });
  return { profile: { ...task, kernels, wallMilliseconds }, tally, adapter: gpu.info };
}

/** Time added to each kernel since an earlier profile, longest first. */
function since(earlier: readonly KernelTime[], now: readonly KernelTime[]): KernelTime[] {
  const before = new Map(earlier.map((time) => [time.kernel, time]));
  return now.map(({ kernel, dispatches, milliseconds }) => ({
    kernel,
    dispatches: dispatches - (before.get(kernel)?.dispatches ?? 0),
    milliseconds: milliseconds - (before.get(kernel)?.milliseconds ?? 0),
  })).filter(({ dispatches }) => dispatches > 0)
    .sort((a, b) => b.milliseconds - a.milliseconds);
}

/** "MobileSAM, lora step, prefix cached, side 256, batch 4". */
export function profileTitle({ model, side, batch, kind, cached }: ProfileTask): string {
  const what = kind === "frozen" ? "forward" : `${kind} step${cached ? ", prefix cached" : ""}`;
  return `${MODEL_NAMES[model]}, ${what}, side ${side}, batch ${batch}`;
}
