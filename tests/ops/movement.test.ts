import { assertEquals, assertThrows } from "@std/assert";
import { concat, expand, permute, reshape, slice } from "../../lib/tensor/ops/movement.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { sizeOf } from "../../lib/tensor/shape.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp } from "./check.ts";
import { concat64, moved } from "./references/movement.ts";

for (
  const [from, to] of [
    [[8], [3, 8]],
    [[1, 2, 4], [5, 2, 4]],
    [[2, 6], [2, 3, 2, 6]],
    [[1, 1, 4], [2, 3, 4]],
    [[4], [2, 1, 1, 2, 1, 4]], // more axes than a strided copy has
    [[], [3, 5]],
    [[1], [7]],
    [[1, 1], [4, 3]],
    [[3], [2, 3]],
    [[2, 1], [2, 4]],
    [[1, 4, 1], [2, 4, 3]],
    [[4, 1, 4], [4, 2, 4]],
    [[3, 1], [2, 3, 1]],
  ]
) {
  Deno.test(`expand repeats [${from}] to [${to}] and sums its gradient`, async () => {
    await checkOp("expand", {
      inputs: [from],
      op: (x) => expand(x, to),
      reference: (x) =>
        moved(
          to,
          (index) =>
            index.slice(to.length - from.length).map((i, axis) => from[axis] === 1 ? 0 : i),
        )(x),
    });
  });
}

Deno.test("expand refuses a shape that x does not repeat to", () => {
  using _ = new Scope(gpu);
  for (const [from, to] of [[[3], [4]], [[2, 3], [3]], [[4], [4, 2]], [[8], []]]) {
    const x = Tensor.from(gpu, new Float32Array(sizeOf(from)), from);
    assertThrows(() => expand(x, to), Error, `[${from.join(", ")}] does not repeat`);
  }
});

Deno.test("permute reorders up to five axes, and its gradient back", async () => {
  for (const axes of [[1, 0], [2, 0, 1], [0, 2, 1, 3], [4, 2, 0, 3, 1]]) {
    const shape = [2, 3, 4, 2, 3].slice(0, axes.length);
    await checkOp("permute", {
      inputs: [shape],
      op: (x) => permute(x, axes),
      reference: moved(
        axes.map((axis) => shape[axis]),
        (index) => axes.map((_, axis) => index[axes.indexOf(axis)]),
      ),
    });
  }
});

Deno.test("slice takes a part of an axis, and its gradient lies between zeros", async () => {
  for (const [axis, start, end] of [[0, 1, 2], [1, 0, 3], [2, 3, 5], [-1, 4, 5]]) {
    const shape = [2, 4, 5];
    const at = (axis + 3) % 3;
    await checkOp("slice", {
      inputs: [shape],
      op: (x) => slice(x, { axis, start, end }),
      reference: moved(
        shape.with(at, end - start),
        (index) => index.with(at, index[at] + start),
      ),
    });
  }
});

Deno.test("concat joins along any axis, and each operand gets its part of the gradient", async () => {
  for (const axis of [0, 1, -1]) {
    const at = (axis + 3) % 3;
    const parts = [1, 3, 2].map((size) => [2, 3, 4].with(at, size));
    await checkOp("concat", {
      inputs: parts,
      op: (...tensors) => concat(tensors, axis),
      reference: (...parts) => concat64(parts, at),
    });
  }
});

Deno.test("reshape works out one size and hands its gradient back in the old shape", async () => {
  await checkOp("reshape", {
    inputs: [[2, 6]],
    op: (x) => reshape(x, [3, -1, 2]),
    reference: ({ data }) => ({ shape: [3, 2, 2], data }),
  });
  using _ = new Scope(gpu);
  assertThrows(
    () => reshape(Tensor.from(gpu, new Float32Array(6), [6]), [4, -1]),
    Error,
    "[4, -1]",
  );
});

Deno.test("the gradient of a sum over everything is one number everywhere", async () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, new Float32Array(7), [7]).setParameter(true);
  sum(x).backward();
  assertEquals([...await x.grad!.data()], Array(7).fill(1));
  x.zeroGrad();
});
