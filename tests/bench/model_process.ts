// Measures one thing of one model in a process of its own, so that its peak of memory is its own: what
// models.ts starts. The argument is a Task as JSON; the answers are lines of JSON, first the loss of
// the first step or pass, then, unless the first was all, the Measurement.
import { Gpu } from "../../lib/gpu/gpu.ts";
import { Ceiling } from "./ceiling.ts";
import { countWork, recordDispatches, type RecordedDispatch, Tally, type Work } from "./count.ts";
import { peakHostBytes } from "./host_memory.ts";
import { hostTime, interleaved, median, onDevice, type Timed } from "./measure.ts";
import { type Kind, type Model, Training } from "./training.ts";

/** Request to a process: the model and what to measure. */
export interface Task {
  readonly model: Model;
  readonly side: number;
  readonly batch: number;
  /** Training steps, or forward passes up to the loss. */
  readonly pass: "step" | "forward";
  /** Part that is trained in a step. */
  readonly kind: Kind;
  /** Steps take the frozen prefix from the cache. */
  readonly cached: boolean;
  /** Forward passes with adapters beside the weights, and merged, are timed too. */
  readonly compare: boolean;
  /** Timed runs; 0 ends the process after the first step or pass. */
  readonly rounds: number;
  /** The file of ViT-B's weights. */
  readonly weights: string | null;
  /** A Python for the ceiling. */
  readonly python: string | null;
}

/** Measurements; times in milliseconds, medians. */
export interface Measurement {
  /** Of a step or a forward pass. */
  readonly milliseconds: number;
  /** Of a forward pass with LoRA-16 beside the weights. */
  readonly unmerged: number | null;
  /** Of a forward pass with LoRA-16 folded into the weights, and what it dispatches. */
  readonly merged: { readonly milliseconds: number; readonly work: Work } | null;
  /** Steps compute activations again, as `--checkpoint-activations` does. */
  readonly checkpointed?: boolean;
  /** Dispatches of one step or pass. */
  readonly work: Work;
  /** Microseconds a dispatch that the host spent outside of queue.submit, from step 2 on. */
  readonly encodeMicroseconds: number;
  /** Microseconds a dispatch inside queue.submit: a CPU driver may compute there. */
  readonly submitMicroseconds: number;
  /** Most bytes of GPU buffers. */
  readonly peakGpuBytes: number;
  /** Most bytes resident in the process; on a CPU driver the GPU's buffers are among them. */
  readonly peakHostBytes: number;
  /** A library's matrix product at 1024³ in turns with the runs, in GFLOP/s, and its name. */
  readonly ceiling: { readonly name: string; readonly gflops: number } | null;
}

/** A contestant of a benchmark that also says what the host did, and counts what is dispatched. */
class Counted {
  readonly #gpu: Gpu;
  readonly #run: () => void;
  readonly #host: { milliseconds: number; submit: number }[] = [];
  #dispatches: RecordedDispatch[] = [];

  constructor(gpu: Gpu, run: () => void) {
    this.#gpu = gpu;
    this.#run = run;
  }

  /** Times runs. */
  readonly timed: Timed = async (repeats) => {
    const start = performance.now();
    for (let i = 0; i < repeats; i++) {
      this.#host.push(hostTime(this.#gpu, () => {
        if (this.#dispatches.length > 0) return this.#run();
        this.#dispatches = recordDispatches(this.#gpu, this.#run);
      }));
    }
    await this.#gpu.finish();
    return performance.now() - start;
  };

  /** Dispatches of one run, and medians of the microseconds that each dispatch kept the host. */
  get result(): Pick<Measurement, "work" | "encodeMicroseconds" | "submitMicroseconds"> {
    const work = new Tally(this.#dispatches).total;
    const each = (milliseconds: number[]) => 1000 * median(milliseconds) / work.dispatches;
    return {
      work,
      encodeMicroseconds: each(this.#host.map(({ milliseconds, submit }) => milliseconds - submit)),
      submitMicroseconds: each(this.#host.map(({ submit }) => submit)),
    };
  }
}

/** The product by which shares of the ceiling are told. */
const CEILING_PRODUCT = { m: 1024, n: 1024, k: 1024, transposeB: false };

/** Measures training steps. */
async function measureStep(task: Task, say: (line: unknown) => void): Promise<void> {
  const { cached, rounds } = task;
  using gpu = await Gpu.open({ compileAhead: true }); // as commands do
  using training = await Training.open(gpu, { ...task, weights: task.weights ?? undefined });
  const { imageEncoder } = training.sam;
  imageEncoder.checkpointActivations = gpu.info.type === "CPU" && isLarge(task);
  {
    using loss = training.step({ cached });
    say({ firstLoss: await loss.item() });
  }
  if (rounds === 0) return;
  const step = new Counted(gpu, () => training.step({ cached }).dispose());
  const times = await beside(gpu, task, { own: step.timed });
  say({ ...measurement(gpu, step, times), checkpointed: imageEncoder.checkpointActivations });
}

/** True for a step whose activations would not fit into 3 GiB of host memory. */
function isLarge({ model, side }: Task): boolean {
  return model === "vit_b" && side > 512;
}

/** Measures forward passes. */
async function measureForward(task: Task, say: (line: unknown) => void): Promise<void> {
  using gpu = await Gpu.open();
  const open = (gpu: Gpu, kind: Kind) =>
    Training.open(gpu, { ...task, kind, weights: task.weights ?? undefined });
  using frozen = await open(gpu, "frozen");
  const forward = new Counted(gpu, () => frozen.forward());
  frozen.forward();
  await gpu.finish();
  if (!task.compare) {
    say(measurement(gpu, forward, await beside(gpu, task, { own: forward.timed })));
    return;
  }
  // On devices of their own: on one, three models would vie for its staging textures.
  using unmergedGpu = await Gpu.open();
  using mergedGpu = await Gpu.open();
  using unmerged = await open(unmergedGpu, "lora");
  using merged = await open(mergedGpu, "lora");
  for (const [, adapter] of merged.adapters) adapter.merge();
  unmerged.forward();
  await unmergedGpu.finish();
  const work = countWork(mergedGpu, () => merged.forward()).total;
  await mergedGpu.finish();
  const times = await beside(gpu, task, {
    own: forward.timed,
    unmerged: onDevice(unmergedGpu, () => unmerged.forward()),
    merged: onDevice(mergedGpu, () => merged.forward()),
  });
  say({
    ...measurement(gpu, forward, times),
    unmerged: times.unmerged!,
    merged: { milliseconds: times.merged!, work },
  });
}

/** Milliseconds of contestants that have run before, in turns with the ceiling's product. */
interface Times {
  readonly own: number;
  readonly unmerged?: number;
  readonly merged?: number;
  readonly ceiling: Measurement["ceiling"];
}

async function beside(
  gpu: Gpu,
  { rounds, python }: Task,
  contestants: { own: Timed; unmerged?: Timed; merged?: Timed },
): Promise<Times> {
  using library = await Ceiling.open(gpu.info, python ?? undefined);
  const all: Record<string, Timed> = { ...contestants };
  if (library) all.library = library.timed(CEILING_PRODUCT);
  const times = await interleaved(all, { rounds, warm: true });
  const { m, n, k } = CEILING_PRODUCT;
  const ceiling = library &&
    { name: library.name, gflops: 2 * m * n * k / times.library / 1e6 };
  return { own: times.own, unmerged: times.unmerged, merged: times.merged, ceiling };
}

function measurement(gpu: Gpu, counted: Counted, { own, ceiling }: Times): Measurement {
  return {
    milliseconds: own,
    unmerged: null,
    merged: null,
    ...counted.result,
    peakGpuBytes: gpu.memory.peakBytes,
    peakHostBytes: peakHostBytes(),
    ceiling,
  };
}

if (import.meta.main) {
  const task = JSON.parse(Deno.args[0]) as Task;
  const measure = task.pass === "step" ? measureStep : measureForward;
  await measure(task, (line) => console.log(JSON.stringify(line)));
}
