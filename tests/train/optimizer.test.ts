import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { scale } from "../../lib/tensor/ops/unary.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { gpu } from "../gpu.ts";

const parameter = (...values: number[]) =>
  Tensor.from(gpu, values, [values.length]).setParameter(true);

Deno.test("a step changes the parameters that have a gradient, and drops the gradients", async () => {
  using _ = new Scope(gpu);
  const [used, unused] = [parameter(1, -2), parameter(5)];
  using adam = new Adam([unused, used], { weightDecay: 0.5, decoupled: true });
  sum(mul(used, used)).backward();
  assertEquals(adam.step(0.1), null, "no clipping, no norm");
  assertEquals([used.grad, unused.grad], [null, null]);
  assertEquals([...await unused.data()], [5]);
  // The first step of AdamW: 1 - lr wd times the weight, less lr in the gradient's direction.
  const [a, b] = await used.data();
  assertAlmostEquals(a, 0.95 - 0.1, 1e-6);
  assertAlmostEquals(b, -1.9 + 0.1, 1e-6);
});

Deno.test("each group of parameters learns at its own rate", async () => {
  using _ = new Scope(gpu);
  const [fast, slow] = [parameter(1), parameter(1)];
  using adam = new Adam([{ params: [fast], lrScale: 1 }, { params: [slow], lrScale: 0.1 }]);
  for (const each of [fast, slow]) sum(mul(each, each)).backward();
  adam.step(0.1);
  assertAlmostEquals(await fast.item(), 0.9, 1e-6);
  assertAlmostEquals(await slow.item(), 0.99, 1e-6);
});

Deno.test("with clipping a step tells the norm over all gradients before it", async () => {
  using _ = new Scope(gpu);
  const [a, b] = [parameter(3, 0), parameter(4)];
  using adam = new Adam([a, b], { maxGradNorm: 1 });
  sum(mul(a, a)).backward(); // 6, 0
  sum(scale(b, 8)).backward(); // 8
  const norm = adam.step(0.01);
  assert(norm);
  assertAlmostEquals(await norm.item(), 10, 1e-5);
});

Deno.test("a step without any gradient is refused", () => {
  using _ = new Scope(gpu);
  using adam = new Adam([parameter(1)]);
  assertThrows(() => adam.step(0.1), Error, "call backward first");
});

Deno.test("the moments outlive scopes and are freed with the optimizer", () => {
  using x = parameter(1, 2, 3);
  const before = gpu.memory.live;
  let adam: Adam;
  {
    using _ = new Scope(gpu);
    adam = new Adam([x]);
    for (let i = 0; i < 3; i++) {
      sum(mul(x, x)).backward();
      adam.step(0.1);
    }
  }
  assertEquals(gpu.memory.live, before + 2);
  adam[Symbol.dispose]();
  assertEquals(gpu.memory.live, before);
});
