// Times training steps of one model in a process of its own: ours, then PyTorch's in each precision. The argument is
// a StepTask as JSON; each contestant's StepAnswer is a line of JSON.
import { join } from "node:path";
import type { Gpu } from "../../lib/gpu/gpu.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { openGpu, type WebgpuName } from "../../lib/study/device.ts";
import { runMain } from "../../lib/study/main.ts";
import { recordDispatches, type RecordedDispatch, Tally } from "../bench/count.ts";
import { median } from "../bench/measure.ts";
import { Peer } from "../bench/peers/process.ts";
import { writeInputs } from "../bench/peer_steps.ts";
import { threads } from "../bench/ceiling.ts";
import { batchOf, type Model, seededVitB, Training } from "../bench/training.ts";
import { mobileSamState } from "../sam/pretrained.ts";

/** Request to a process. */
export interface StepTask {
  readonly model: Model;
  readonly side: number;
  readonly webgpu: WebgpuName;
  /** A Python with PyTorch. */
  readonly python: string | null;
  /** Seconds for all contestants. */
  readonly seconds: number;
}

/** A contestant's steps. */
export interface StepAnswer {
  /** Our implementation of WebGPU, or PyTorch's precision. */
  readonly contestant: string;
  readonly batch: number;
  /** Median of a step. */
  readonly milliseconds: number;
  /** Seconds of the first step, with all that is compiled in it; null for PyTorch. */
  readonly firstSeconds: number | null;
  readonly dispatches: number;
  /** Operations of a step, 2 x multiply-adds. */
  readonly flops: number;
  readonly gflops: number;
  readonly peakGpuBytes: number;
  readonly losses: readonly number[];
  /** Sentence, where it did not run. */
  readonly error?: string;
}

/** Timed steps at most. */
const STEPS = 20;

/** PyTorch's precisions. */
const PRECISIONS = ["fp32", "tf32", "amp"];

const task = JSON.parse(Deno.args[0]) as StepTask;
const { model, side, python } = task;
const batch = batchOf(model, side);
const end = performance.now() + 1000 * task.seconds;
const say = (answer: StepAnswer) => console.log(JSON.stringify(answer));

/** Our steps: the first, then as many as a share of the time allows. */
async function ours(gpu: Gpu, training: Training): Promise<StepAnswer> {
  const losses: number[] = [];
  let recorded: RecordedDispatch[] = [];
  const step = async () => {
    const start = performance.now();
    let loss: Tensor;
    const encode = () => loss = training.step();
    if (recorded.length > 0) encode();
    else recorded = recordDispatches(gpu, encode);
    losses.push(await loss!.item());
    loss!.dispose();
    return performance.now() - start;
  };
  const first = await step();
  const share = performance.now() + Math.min(10_000, (end - performance.now()) / (python ? 5 : 2));
  const times = [await step()];
  while (times.length < STEPS && performance.now() + times[0] < share) times.push(await step());
  const milliseconds = median(times);
  const { dispatches, flops } = new Tally(recorded).total;
  return {
    contestant: task.webgpu,
    batch,
    milliseconds,
    firstSeconds: first / 1000,
    dispatches,
    flops,
    gflops: flops / milliseconds / 1e6,
    peakGpuBytes: gpu.memory.peakBytes,
    losses,
  };
}

/** PyTorch's steps in each precision. */
async function torch(python: string, inputs: string, own: StepAnswer, device: string) {
  using peer = new Peer(python, [
    join(import.meta.dirname!, "..", "bench", "torch_step.py"),
    model,
    inputs,
    device,
    String(threads()),
  ]);
  await peer.read();
  for (const contestant of PRECISIONS) {
    const ask = (steps: number) =>
      peer.ask<{ milliseconds: number; losses: number[]; peakGpuBytes: number; error?: string }>(
        `${steps} ${contestant}`,
      );
    const first = await ask(2);
    const left = (end - performance.now()) / 2;
    const steps = Math.max(1, Math.min(STEPS, Math.floor(left / (first.milliseconds / 2))));
    const answer = first.error ? first : await ask(steps);
    const milliseconds = answer.milliseconds / steps;
    say({
      ...own,
      contestant,
      milliseconds,
      firstSeconds: null,
      gflops: own.flops / milliseconds / 1e6,
      peakGpuBytes: answer.peakGpuBytes,
      losses: first.losses,
      error: answer.error,
    });
  }
}

await runMain(async () => {
  const gpu = await openGpu({ webgpu: task.webgpu, family: null });
  const weights = model === "vit_b" ? seededVitB(gpu) : await mobileSamState();
  const training = await Training.open(gpu, { model, kind: "lora", side, batch, weights });
  const inputs = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    if (python) await writeInputs(inputs, weights, training);
    const own = await ours(gpu, training);
    say(own);
    training[Symbol.dispose]();
    gpu.trim();
    if (python) await torch(python, inputs, own, gpu.info.type === "GPU" ? "cuda" : "cpu");
  } finally {
    await Deno.remove(inputs);
  }
  await gpu[Symbol.asyncDispose]();
});
Deno.exit(0);
