import { Gpu } from "../../lib/gpu/gpu.ts";
import { interleaved, median, onDevice } from "./measure.ts";
import { Training } from "./mobile_sam.ts";

/** Images of a step. */
const BATCH = 4;

/** What steps of MobileSAM cost at one side; times in milliseconds, medians. */
export interface StepResult {
  /** Side of the input. */
  readonly side: number;
  /** Images of a step. */
  readonly batch: number;
  /** Forward pass up to the loss without adapters. */
  readonly frozenForward: number;
  /** The same with LoRA-16 beside the weights. */
  readonly unmergedForward: number;
  /** The same with LoRA-16 folded into the weights. */
  readonly mergedForward: number;
  /** A training step of LoRA-16. */
  readonly step: number;
  /** The same with the frozen prefix from the cache. */
  readonly cachedStep: number;
  /** Dispatches of a training step. */
  readonly dispatches: number;
  /** Microseconds a dispatch that the host spent outside of queue.submit, from step 2 on. */
  readonly encodeMicroseconds: number;
  /** Microseconds a dispatch inside queue.submit: a CPU driver may compute there. */
  readonly submitMicroseconds: number;
  /** Most bytes that the pool held, training without the cache. */
  readonly peakGpuBytes: number;
  /** Resident memory of the process after training. */
  readonly residentBytes: number;
}

/** Milliseconds that `work` kept the host, in queue.submit and elsewhere. */
function hostTime(gpu: Gpu, work: () => void): { encode: number; submit: number } {
  const { queue } = gpu.device;
  let submit = 0;
  const original = queue.submit;
  queue.submit = (buffers) => {
    const start = performance.now();
    original.call(queue, buffers);
    submit += performance.now() - start;
  };
  try {
    const start = performance.now();
    work();
    gpu.flush();
    return { encode: performance.now() - start - submit, submit };
  } finally {
    queue.submit = original;
  }
}

/** Measures forward passes and training steps at one side. */
export async function benchSteps(
  side: number,
  { rounds }: { rounds: number },
): Promise<StepResult> {
  const step = (training: Training, cached = false) => training.step({ cached }).dispose();
  let trained: Omit<
    StepResult,
    "side" | "batch" | "frozenForward" | "unmergedForward" | "mergedForward"
  >;
  {
    using gpu = await Gpu.open();
    using training = await Training.open(gpu, { kind: "lora", side, batch: BATCH });
    step(training);
    await gpu.finish();
    const before = gpu.dispatches;
    step(training);
    await gpu.finish();
    const dispatches = gpu.dispatches - before;
    const host = [];
    for (let i = 0; i < rounds; i++) {
      host.push(hostTime(gpu, () => step(training)));
      await gpu.finish();
    }
    const each = (milliseconds: number[]) => 1000 * median(milliseconds) / dispatches;
    const peakGpuBytes = gpu.memory.peakBytes;
    const times = await interleaved({
      step: onDevice(gpu, () => step(training)),
      cachedStep: onDevice(gpu, () => step(training, true)),
    }, { rounds });
    trained = {
      ...times,
      dispatches,
      encodeMicroseconds: each(host.map(({ encode }) => encode)),
      submitMicroseconds: each(host.map(({ submit }) => submit)),
      peakGpuBytes,
      residentBytes: Deno.memoryUsage().rss,
    };
  }
  using gpu = await Gpu.open();
  using frozen = await Training.open(gpu, { kind: "frozen", side, batch: BATCH });
  using unmerged = await Training.open(gpu, { kind: "lora", side, batch: BATCH });
  using merged = await Training.open(gpu, { kind: "lora", side, batch: BATCH });
  for (const [, adapter] of merged.adapters) adapter.merge();
  const forward = await interleaved({
    frozenForward: onDevice(gpu, () => frozen.forward()),
    unmergedForward: onDevice(gpu, () => unmerged.forward()),
    mergedForward: onDevice(gpu, () => merged.forward()),
  }, { rounds: Math.max(5, rounds) });
  return { side, batch: BATCH, ...forward, ...trained };
}
