import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { fillKernel } from "../../kernels/elementwise/mod.ts";
import { InputError } from "../../lib/errors.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { fill } from "../../lib/tensor/ops/fill.ts";
import { Scope, tidy } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";

Deno.test("the adapter says what it is", () => {
  const { name, type, features } = gpu.info;
  assert(name.length > 0);
  assert(type === "GPU" || type === "CPU");
  assert(Array.isArray(features));
});

Deno.test("without an adapter the message says what to install", async () => {
  const none = { requestAdapter: () => Promise.resolve(null) } as unknown as GPU;
  await assertRejects(() => Gpu.open({ gpu: none }), InputError, "install a Vulkan driver");
});

Deno.test("dispatches see each other's results, over many submits", async () => {
  using _ = new Scope(gpu);
  let x = Tensor.scalar(gpu, 0);
  const one = fill(gpu, [], 1);
  for (let i = 0; i < 1100; i++) x = add(x, one); // a submit holds 512 dispatches
  assertEquals(await x.item(), 1100);
});

Deno.test("a write does not overtake a dispatch that was encoded before it", async () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, [1, 2, 3, 4], [4]);
  const before = add(x, x);
  x.write(Float32Array.of(10, 20, 30, 40));
  const after = add(x, x);
  assertEquals([...await before.data()], [2, 4, 6, 8]);
  assertEquals([...await after.data()], [20, 40, 60, 80]);
});

Deno.test("what is read later is what was there when that was encoded", async () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, [1, 2], [2]);
  const first = x.dataLater();
  x.write(Float32Array.of(3, 4));
  const second = x.dataLater();
  gpu.flush();
  x.write(Float32Array.of(5, 6));
  x.dispose();
  assertEquals([...await second()], [3, 4]);
  assertEquals([...await first()], [1, 2]);
});

Deno.test("a buffer's next owner does not disturb the work of the one before", async () => {
  using _ = new Scope(gpu);
  const sum = tidy(gpu, () => {
    const x = Tensor.from(gpu, new Float32Array(1031).fill(3), [1031]);
    return add(x, x);
  });
  Tensor.from(gpu, new Float32Array(1031).fill(7), [1031]); // takes the buffer of x
  const values = await sum.data();
  assert(values.every((value) => value === 6));
});

Deno.test("copies bring the start of a buffer to another", async () => {
  using _ = new Scope(gpu);
  const from = Tensor.from(gpu, [1, 2, 3, 4, 5], [5]);
  const to = Tensor.from(gpu, [0, 0, 0, 0, 9], [5]);
  gpu.copy(from.buffer, to.buffer, 16);
  assertEquals([...await to.data()], [1, 2, 3, 4, 9]);
});

Deno.test("more workgroups than WebGPU allows are refused before they are encoded", () => {
  using x = Tensor.empty(gpu, [4]);
  assertThrows(
    () =>
      gpu.run(fillKernel, {
        buffers: { x: x.buffer },
        params: { count4: 1, value: 0 },
        workgroups: [65_536],
      }),
    Error,
    "kernel fill: 65536 workgroups",
  );
});

Deno.test("a grid of any size folds into two dimensions that WebGPU allows", () => {
  for (const count of [0, 1, 65_535, 65_536, 131_071, 10_000_019]) {
    const [x, y] = Gpu.grid(count);
    assert(x <= 65_535 && y <= 65_535 && x * y >= count, `${count} becomes ${x} x ${y}`);
    assert(x * y < count + y, `${count} becomes ${x} x ${y}`);
  }
});

Deno.test("an invocation beyond 65,535 workgroups finds its own element", async () => {
  using _ = new Scope(gpu);
  const size = 4 * 64 * 65_535 + 4 * 64 * 3 + 5;
  const x = fill(gpu, [size], 1);
  const last = await add(x, x).data();
  assertEquals(last.length, size);
  assert(last.every((value) => value === 2));
});

Deno.test("a tensor beyond the device's largest buffer is refused with a remedy", () => {
  assertThrows(() => Tensor.empty(gpu, [2 ** 40]), Error, "take a smaller batch or side");
});

Deno.test("a closed device says so", async () => {
  const own = await Gpu.open();
  using x = Tensor.empty(own, [1]);
  own[Symbol.dispose]();
  own[Symbol.dispose]();
  await assertRejects(() => x.data(), Error, "this Gpu was closed");
});

Deno.test("a program's device is closed when its work is done", async () => {
  const own = await Gpu.open();
  {
    using _ = new Scope(own);
    add(fill(own, [64, 64], 1), fill(own, [64, 64], 1));
    own.flush();
  }
  let isDone = false;
  own.device.queue.onSubmittedWorkDone().then(() => isDone = true);
  await own[Symbol.asyncDispose]();
  assert(isDone);
  assertThrows(() => own.flush(), Error, "this Gpu was closed");
  await own[Symbol.asyncDispose](); // a device that was lost is not waited for
});

Deno.test("in profile mode every kernel's time and dispatches are told", async () => {
  using own = await Gpu.open({ profile: true });
  if (!own.info.features.includes("timestamp-query")) return;
  using _ = new Scope(own);
  const x = fill(own, [1 << 16], 1);
  let y = x;
  for (let i = 0; i < 600; i++) y = add(y, x); // over more than one submit
  assertEquals((await y.data())[0], 601);
  const times = await own.profile();
  const byKernel = new Map(times.map((time) => [time.kernel, time]));
  assertEquals(byKernel.get("fill")?.dispatches, 1);
  assertEquals(byKernel.get("binary")?.dispatches, 600);
  assert(byKernel.get("binary")!.milliseconds > 0);
  assert(times.every(({ milliseconds }) => Number.isFinite(milliseconds) && milliseconds >= 0));
  const sorted = times.map(({ milliseconds }) => milliseconds);
  assertEquals(sorted, sorted.toSorted((a, b) => b - a), "longest first");
  assertEquals(await gpu.profile(), [], "without profile mode nothing is measured");
});
