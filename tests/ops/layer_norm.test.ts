import { assertEquals, assertThrows } from "@std/assert";
import { layerNorm } from "../../lib/tensor/ops/layer_norm.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { assertClose, checkOp, f32Tolerance } from "./check.ts";
import { layerNorm64 } from "./references/layer_norm.ts";

// Few rows are shared by 64 invocations, many go to one each; rows of 4 k go by vectors.
for (const shape of [[1], [5], [1, 3], [3, 1], [2, 3, 8], [20, 5], [2, 9, 12], [2, 300], [40, 4]]) {
  Deno.test(`layerNorm of [${shape}] and its gradients match float64`, async () => {
    await checkOp("layerNorm", {
      inputs: [shape, [shape.at(-1)!], [shape.at(-1)!]],
      // A variance near 0 would magnify rounding.
      op: (x, weight, bias) => layerNorm(x, weight, bias, { eps: 0.1 }),
      reference: (x, weight, bias) => layerNorm64([x, weight, bias], { eps: 0.1 }),
    });
  });
}

Deno.test("layerNorm keeps its precision when the mean is a thousand times the deviation", async () => {
  const tolerance = { atol: 2e-3, rtol: 1e-3 }; // x itself is rounded to 6e-5 of a deviation
  for (const rows of [3, 30]) {
    await checkOp("layerNorm of large means", {
      inputs: [[rows, 64], [64], [64]],
      constant: [0, 1, 2],
      sample: (random, input) => random.normal() + (input === 0 ? 1000 : 0),
      op: (x, weight, bias) => layerNorm(x, weight, bias),
      reference: (x, weight, bias) => layerNorm64([x, weight, bias], { eps: 1e-5 }),
      tolerance,
    });
  }
});

Deno.test("layerNorm sums the gradients of weight and bias over more rows than one chunk holds", async () => {
  using _ = new Scope(gpu);
  const [rows, n] = [9000, 4];
  const x = Float32Array.from({ length: rows * n }, (_, i) => Math.sin(i * i));
  const weight = Tensor.from(gpu, [1, 2, 3, 4], [n]).setParameter(true);
  const bias = Tensor.from(gpu, [0, 0, 0, 0], [n]).setParameter(true);
  sum(layerNorm(Tensor.from(gpu, x, [rows, n]), weight, bias)).backward();
  const ones = { shape: [n], data: new Float64Array(n).fill(1) };
  const zeros = { shape: [n], data: new Float64Array(n) };
  const x64 = { shape: [rows, n], data: Float64Array.from(x) };
  const xhat = layerNorm64([x64, ones, zeros], { eps: 1e-5 });
  const expected = new Float64Array(n);
  xhat.data.forEach((v, i) => expected[i % n] += v);
  assertClose(await weight.grad!.data(), expected, { ...f32Tolerance, atol: 5e-3 }, "dweight");
  assertEquals([...await bias.grad!.data()], [rows, rows, rows, rows]);
});

Deno.test("a frozen layerNorm costs one dispatch backward", () => {
  using _ = new Scope(gpu);
  const [weight, bias] = [Tensor.from(gpu, [1, 1], [2]), Tensor.from(gpu, [0, 0], [2])];
  const x = Tensor.from(gpu, [1, 2, 3, 4], [2, 2]).setParameter(true);
  const loss = sum(layerNorm(x, weight, bias));
  const before = gpu.dispatches;
  loss.backward();
  const frozen = gpu.dispatches - before;
  weight.setParameter(true);
  const trained = sum(layerNorm(x, weight, bias));
  const between = gpu.dispatches;
  x.zeroGrad();
  trained.backward();
  // The gradient by chunks and their sum.
  assertEquals(gpu.dispatches - between, frozen + 2);
});

Deno.test("layerNorm refuses a weight of another size", () => {
  using _ = new Scope(gpu);
  const [x, three] = [Tensor.from(gpu, [1, 2], [2]), Tensor.from(gpu, [1, 2, 3], [3])];
  assertThrows(() => layerNorm(x, three, x), Error, "weight [3]");
});
