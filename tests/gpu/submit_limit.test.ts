import { assert, assertEquals } from "@std/assert";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { SubmitLimit } from "../../lib/gpu/submit_limit.ts";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { withAdapter } from "./adapters.ts";
import { RecordingGpu } from "./recording_gpu.ts";

Deno.test("a GPU's submits fit a tenth of a second, by the time that the last ones took", () => {
  let now = 0;
  const limit = new SubmitLimit(true, () => now);
  assertEquals(limit.dispatches, 32);
  for (const [milliseconds, expected] of [[64, 50], [25, 128], [1, 512], [10_000, 1], [320, 10]]) {
    limit.submit(20);
    limit.submit(12);
    now += milliseconds;
    limit.done();
    assertEquals(limit.dispatches, expected, `32 dispatches in ${milliseconds} ms`);
    limit.done(); // waiting without work says nothing
    assertEquals(limit.dispatches, expected);
  }
});

Deno.test("submits of which it is not known that they are done do not count", () => {
  let now = 0;
  const limit = new SubmitLimit(true, () => now);
  limit.submit(32);
  now = 64;
  limit.submit(500);
  limit.done(1);
  assertEquals(limit.dispatches, 50, "32 dispatches in 64 ms");
  now = 564;
  limit.done();
  assertEquals(limit.dispatches, 100, "500 dispatches in the 500 ms since");
});

Deno.test("the time since a submit of copies alone is none of the dispatches after it", () => {
  let now = 0;
  const limit = new SubmitLimit(true, () => now);
  limit.submit(0);
  now = 1000;
  limit.submit(50);
  now = 1050;
  limit.done();
  assertEquals(limit.dispatches, 100, "50 dispatches in 50 ms");
});

Deno.test("a CPU driver's submits are not bounded by time", () => {
  let now = 0;
  const limit = new SubmitLimit(false, () => now);
  limit.submit(512);
  now = 1e6;
  limit.done();
  assertEquals(limit.dispatches, 512);
});

Deno.test("many small submits compute what few large ones do", async () => {
  const sums: number[] = [];
  const submits: number[] = [];
  for (const isFallbackAdapter of [true, false]) {
    const recorder = new RecordingGpu();
    const gpuOf = withAdapter(({ info }) => ({
      info: { ...info, device: "", description: "", vendor: "", isFallbackAdapter },
    }), recorder.gpu);
    using gpu = await Gpu.open({ gpu: gpuOf });
    using _ = new Scope(gpu);
    let x = Tensor.scalar(gpu, 0);
    const one = Tensor.scalar(gpu, 1);
    for (let i = 0; i < 300; i++) x = add(x, one);
    sums.push(await x.item());
    submits.push(recorder.count("GPUQueue.submit"));
  }
  assertEquals(sums, [300, 300]);
  assert(submits[0] <= 2 && submits[1] >= 9, submits.join());
});
