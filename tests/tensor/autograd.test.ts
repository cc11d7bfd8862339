import { assert, assertEquals, assertThrows } from "@std/assert";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { add, mul } from "../../lib/tensor/ops/arithmetic.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { concat, reshape, slice } from "../../lib/tensor/ops/movement.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { relu, scale } from "../../lib/tensor/ops/unary.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";

function parameter(...values: number[]): Tensor {
  return Tensor.from(gpu, values, [values.length]).setParameter(true);
}

async function gradient(tensor: Tensor): Promise<number[]> {
  assert(tensor.grad, "there is no gradient");
  return [...await tensor.grad.data()];
}

Deno.test("gradients add up over backward passes until they are dropped", async () => {
  using _ = new Scope(gpu);
  const x = parameter(1, 2, 3);
  sum(mul(x, x)).backward();
  assertEquals(await gradient(x), [2, 4, 6]);
  sum(scale(x, 10)).backward();
  assertEquals(await gradient(x), [12, 14, 16]);
  x.zeroGrad();
  assertEquals(x.grad, null);
  sum(x).backward();
  assertEquals(await gradient(x), [1, 1, 1]);
  x.zeroGrad();
});

Deno.test("two paths from a tensor to the loss meet again in its gradient", async () => {
  using _ = new Scope(gpu);
  const x = parameter(1, -2, 3);
  const h = scale(x, 2); // used by both paths
  const left = mul(h, h);
  const right = relu(h);
  sum(add(left, right)).backward();
  // d (4 x² + max(2 x, 0)) / dx
  assertEquals(await gradient(x), [8 + 2, -16, 24 + 2]);
  x.zeroGrad();
});

Deno.test("a tensor that an op takes twice gets both gradients", async () => {
  using _ = new Scope(gpu);
  const x = parameter(1, 2);
  sum(add(x, x)).backward();
  assertEquals(await gradient(x), [2, 2]);
  x.zeroGrad();
  sum(concat([x, x, scale(x, 3)], 0)).backward();
  assertEquals(await gradient(x), [5, 5]);
  x.zeroGrad();
});

Deno.test("an op that hands its gradient on unchanged does not let two owners write to it", async () => {
  using _ = new Scope(gpu);
  const x = parameter(1, 2);
  const y = parameter(3, 4);
  // add gives both of its inputs one and the same gradient; x then gets another one on top.
  const z = add(add(x, y), x);
  sum(add(z, reshape(z, [2]))).backward();
  assertEquals(await gradient(x), [4, 4]);
  assertEquals(await gradient(y), [2, 2]);
  sum(add(x, y)).backward();
  sum(x).backward();
  assertEquals(await gradient(x), [6, 6]);
  assertEquals(await gradient(y), [3, 3]);
  for (const p of [x, y]) p.zeroGrad();
});

Deno.test("the order of backward follows the graph, not the order of creation", async () => {
  using _ = new Scope(gpu);
  const x = parameter(1, 2, 3, 4);
  const h = mul(x, x);
  const parts = [0, 2].map((start) => slice(h, { axis: 0, start, end: start + 2 }));
  const mixed = mul(parts[0], parts[1]); // x0² x2², x1² x3²
  sum(add(mixed, slice(h, { axis: 0, start: 1, end: 3 }))).backward(); // + x1², x2²
  assertEquals(await gradient(x), [2 * 9, 4 * 16 + 4, 6 * 1 + 6, 8 * 4]);
  x.zeroGrad();
});

Deno.test("a second backward through the same tape is refused", () => {
  using _ = new Scope(gpu);
  const x = parameter(1, 2);
  const loss = sum(mul(x, x));
  loss.backward();
  assertThrows(() => loss.backward(), Error, "a second time: run the forward pass again");
  x.zeroGrad();
});

Deno.test("backward starts at a scalar that depends on a parameter", () => {
  using _ = new Scope(gpu);
  const x = parameter(1, 2);
  assertThrows(() => scale(x, 2).backward(), Error, "starts at a scalar, not at [2]");
  const constant = Tensor.from(gpu, [1, 2], [2]);
  assertThrows(() => sum(constant).backward(), Error, "no parameter lies upstream");
  x.zeroGrad();
});

Deno.test("noGrad records nothing, also when it ends by an exception", () => {
  using _ = new Scope(gpu);
  const x = parameter(1, 2);
  assertEquals(noGrad(gpu, () => mul(x, x)).requiresGrad, false);
  assertThrows(
    () =>
      noGrad(gpu, () => {
        throw new Error("inside");
      }),
    Error,
    "inside",
  );
  assert(mul(x, x).requiresGrad);
  noGrad(gpu, () => {
    noGrad(gpu, () => {});
    assert(!mul(x, x).requiresGrad, "the outer noGrad still holds");
  });
});

Deno.test("no gradient flows through a detached tensor", async () => {
  using _ = new Scope(gpu);
  const x = parameter(3, 4);
  sum(mul(x, x.detach())).backward();
  assertEquals(await gradient(x), [3, 4]);
  x.zeroGrad();
});

Deno.test("backward computes nothing for frozen inputs and stops at the first parameter", () => {
  using _ = new Scope(gpu);
  const side = 8;
  const values = new Float32Array(side * side).fill(0.5);
  const layers = Array.from({ length: 6 }, () => Tensor.from(gpu, values, [side, side]));
  const backwardDispatches = (trainable: readonly number[]): number => {
    layers.forEach((layer, i) => layer.setParameter(trainable.includes(i)));
    const x = Tensor.from(gpu, values, [side, side]);
    const loss = sum(layers.reduce((y, layer) => matmul(y, layer), x));
    const before = gpu.dispatches;
    loss.backward();
    const count = gpu.dispatches - before;
    layers.forEach((layer, i) => {
      assertEquals(layer.grad !== null, trainable.includes(i), `layer ${i}`);
      layer.zeroGrad();
    });
    return count;
  };
  const last = backwardDispatches([5]);
  const fourth = backwardDispatches([3]);
  const first = backwardDispatches([0]);
  const all = backwardDispatches([0, 1, 2, 3, 4, 5]);
  // One product for each layer that a gradient passes, and one for each trainable weight.
  assertEquals(fourth - last, 2);
  assertEquals(first - last, 5);
  assertEquals(all - first, 5);
});
