import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { reshape } from "../../lib/tensor/ops/movement.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { gelu } from "../../lib/tensor/ops/unary.ts";
import { currentScope, Scope, tidy } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";

Deno.test("a scope frees what was made in it, but not what was kept", async () => {
  const before = gpu.memory.live;
  let lost: Tensor;
  let kept: Tensor;
  {
    using _ = new Scope(gpu);
    lost = Tensor.from(gpu, [1, 2], [2]);
    kept = add(lost, lost).keep();
  }
  assert(lost.disposed);
  assertEquals([...await kept.data()], [2, 4]);
  assertEquals(gpu.memory.live, before + 1);
  kept.dispose();
  assertEquals(gpu.memory.live, before);
});

Deno.test("reading a freed tensor says what was done wrong and the remedy", async () => {
  const x = Tensor.from(gpu, [1, 2, 3, 4, 5, 6], [2, 3]);
  x.dispose();
  x.dispose(); // a second time changes nothing
  const message = "a tensor [2, 3] was used after it was freed: keep() it beyond its scope";
  await assertRejects(() => x.data(), Error, message);
  assertThrows(() => add(x, x), Error, message);
  assertThrows(() => x.view([6]), Error, message);
});

Deno.test("a scope that ends by an exception frees what was made in it", () => {
  const before = gpu.memory.live;
  assertThrows(
    () => {
      using _ = new Scope(gpu);
      const x = Tensor.from(gpu, [1], [1]);
      add(x, Tensor.from(gpu, [1, 2], [2]));
      add(Tensor.from(gpu, [1, 2], [2]), Tensor.from(gpu, [1, 2, 3], [3]));
    },
    Error,
    "[2] and [3] do not broadcast",
  );
  assertEquals(gpu.memory.live, before);
  assertEquals(currentScope(gpu), undefined);
});

Deno.test("tidy hands its result to the scope around and frees the rest", async () => {
  const before = gpu.memory.live;
  {
    using _ = new Scope(gpu);
    const x = Tensor.from(gpu, [1, 2], [2]);
    const [a, b] = tidy(gpu, () => [add(x, x), gelu(add(add(x, x), x))]);
    assertEquals(gpu.memory.live, before + 3);
    assertEquals([...await a.data()], [2, 4]);
    assert(!b.disposed);
  }
  assertEquals(gpu.memory.live, before);
});

Deno.test("tidy without a scope around leaves its result to be disposed", () => {
  const before = gpu.memory.live;
  const result = tidy(gpu, () => add(Tensor.from(gpu, [1], [1]), Tensor.from(gpu, [2], [1])));
  assertEquals(gpu.memory.live, before + 1);
  result.dispose();
  assertEquals(gpu.memory.live, before);
});

Deno.test("tidy returns a tensor from outside untouched", () => {
  using x = Tensor.from(gpu, [1], [1]);
  assert(tidy(gpu, () => x) === x);
  assert(!x.disposed);
});

Deno.test("a view keeps the memory alive after the tensor it views was freed", async () => {
  const before = gpu.memory.live;
  const x = Tensor.from(gpu, [1, 2, 3, 4], [4]);
  using view = reshape(x, [2, 2]);
  x.dispose();
  assertEquals([...await view.data()], [1, 2, 3, 4]);
  view.dispose();
  assertEquals(gpu.memory.live, before);
});

Deno.test("what backward needs survives the scope of the block that made it", async () => {
  using weight = Tensor.from(gpu, [1, -2, 3], [3]).setParameter(true);
  const before = gpu.memory.live;
  {
    using _ = new Scope(gpu);
    const y = tidy(gpu, () => gelu(add(weight, weight)));
    sum(y).backward();
  }
  assert(weight.grad);
  const gradient = await weight.grad.data();
  // d gelu(2 w) / dw = 2 (Phi(2 w) + 2 w phi(2 w))
  for (const [i, expected] of [2.170463, -0.001007, 2].entries()) {
    assert(Math.abs(gradient[i] - expected) < 1e-5, `${gradient[i]}, not ${expected}`);
  }
  weight.zeroGrad();
  assertEquals(gpu.memory.live, before);
});

Deno.test("a tape that nobody went back through is freed with its scope", () => {
  using weight = Tensor.from(gpu, [1, -2, 3], [3]).setParameter(true);
  const before = gpu.memory.live;
  {
    using _ = new Scope(gpu);
    tidy(gpu, () => gelu(gelu(weight)));
  }
  assertEquals(gpu.memory.live, before);
});

Deno.test("scopes that end out of order are refused", () => {
  const outer = new Scope(gpu);
  const inner = new Scope(gpu);
  assertThrows(() => outer[Symbol.dispose](), Error, "reverse order");
  inner[Symbol.dispose]();
  outer[Symbol.dispose]();
});

Deno.test("tensors are made from as many elements as their shape has, and of their own type", async () => {
  assertThrows(() => Tensor.from(gpu, [1, 2, 3], [2]), Error, "3 elements do not make");
  using x = Tensor.from(gpu, [1, 2], [2]);
  assertThrows(() => x.write(new Float32Array(3)), Error, "3 elements do not fill");
  await assertRejects(() => x.item(), Error, "item() needs one element, not [2]");
  using indices = Tensor.from(gpu, new Uint32Array([1, 2]), [2]);
  assertEquals(indices.dtype, "u32");
  await assertRejects(() => indices.data(), Error, "f32");
  using empty = Tensor.from(gpu, [], [0, 3]);
  assertEquals((await empty.data()).length, 0);
});
