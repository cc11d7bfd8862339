import { assertEquals, assertRejects } from "@std/assert";
import { oneAhead } from "../../lib/evaluate/one_ahead.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { RecordingGpu } from "../gpu/recording_gpu.ts";

/** Twice a number, computed on the device. */
function begin(gpu: Gpu, batch: number): () => Promise<number> {
  using _ = new Scope(gpu);
  const x = Tensor.scalar(gpu, batch);
  const read = add(x, x).dataLater();
  return async () => (await read())[0];
}

async function* batches(count: number): AsyncGenerator<number> {
  for (let batch = 1; batch <= count; batch++) yield await batch;
}

Deno.test("the next batch is encoded before a result is waited for, and submitted before it is handed out", async () => {
  const recorder = new RecordingGpu();
  using gpu = await Gpu.open({ gpu: recorder.gpu });
  await begin(gpu, 0)(); // kernels are compiled
  const steps: string[] = [];
  const names: Record<string, string> = {
    "GPUQueue.submit": "submit",
    "GPUBuffer.mapAsync": "wait",
    "GPUComputePassEncoder.dispatchWorkgroups": "encode",
  };
  const note = () => {
    for (const { method } of recorder.calls) if (names[method]) steps.push(names[method]);
    recorder.calls = [];
  };
  note();
  steps.length = 0;
  for await (const [batch, result] of oneAhead(gpu, batches(3), (batch) => begin(gpu, batch))) {
    note();
    steps.push(`${batch}: ${result}`);
  }
  assertEquals(steps, [
    ...["encode", "submit"],
    ...["encode", "wait", "submit", "1: 2"],
    ...["encode", "wait", "submit", "2: 4"],
    ...["wait", "3: 6"],
  ]);
});

Deno.test("an error ends the batches, and so does leaving them: nothing stays on the device", async () => {
  const recorder = new RecordingGpu();
  using gpu = await Gpu.open({ gpu: recorder.gpu });
  const failing = (at: number, error: Error) => (batch: number) => {
    if (batch === at) throw error;
    return begin(gpu, batch);
  };
  const rejecting = (at: number, error: Error) => (batch: number) => {
    const result = begin(gpu, batch);
    return async () => {
      const value = await result();
      if (batch === at) throw error;
      return value;
    };
  };
  const seen: number[] = [];
  const run = async (begin: (batch: number) => () => Promise<number>, last = Infinity) => {
    for await (const [batch] of oneAhead(gpu, batches(4), begin)) {
      seen.push(batch);
      if (batch === last) break;
    }
  };
  for (const how of [failing, rejecting]) {
    await assertRejects(() => run(how(3, new Error("no third"))), Error, "no third");
  }
  await run((batch) => begin(gpu, batch), 2);
  // The second one's result was not waited for when the third could not be begun.
  assertEquals(seen, [1, 1, 2, 1, 2]);
  const count = (method: string) =>
    recorder.calls.filter((call) =>
      call.method === method && (method !== "GPUDevice.createBuffer" || isStaging(call.args[0]))
    ).length;
  assertEquals(count("GPUBuffer.mapAsync"), count("GPUDevice.createBuffer"));
  assertEquals(gpu.memory.live, 0);
});

Deno.test("a device that fails at a submit is not left while a result is waited for", async () => {
  let submits = 0;
  const failing = {
    flush: () => {
      if (++submits === 3) throw new Error("no submit");
    },
  } as Gpu;
  const underWay = new Set<number>();
  const begin = (batch: number) => async () => {
    underWay.add(batch);
    await new Promise((done) => setTimeout(done, batch === 2 ? 20 : 0));
    underWay.delete(batch);
  };
  await assertRejects(
    () => Array.fromAsync(oneAhead(failing, batches(4), begin)),
    Error,
    "no submit",
  );
  assertEquals([...underWay], []);
});

function isStaging(descriptor: unknown): boolean {
  return ((descriptor as GPUBufferDescriptor).usage & GPUBufferUsage.MAP_READ) !== 0;
}
