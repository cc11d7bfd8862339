import { assertEquals, assertThrows } from "@std/assert";
import { decomposedAttention } from "../../lib/tensor/ops/decomposed_attention.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp } from "./check.ts";
import {
  decomposedAttention64,
  type DecomposedProblem,
} from "./references/decomposed_attention.ts";

const problems: DecomposedProblem[] = [
  { batch: 1, heads: 1, depth: 4, grid: [1, 1] },
  { batch: 2, heads: 2, depth: 4, grid: [2, 4] },
  { batch: 1, heads: 2, depth: 3, grid: [3, 2] },
  { batch: 2, heads: 3, depth: 2, grid: [1, 5] },
  { batch: 1, heads: 1, depth: 8, grid: [5, 4] },
  // Blocks of 2 x 2 tokens suit an even width that does not divide by 4.
  { batch: 2, heads: 1, depth: 4, grid: [4, 6] },
  { batch: 1, heads: 2, depth: 5, grid: [3, 6] },
];

for (const problem of problems) {
  const { batch, heads, depth, grid } = problem;
  const name = `${batch} x ${heads} heads of ${depth} on a grid of ${grid.join(" x ")}`;
  Deno.test(`decomposedAttention with ${name} and its gradients match float64`, async () => {
    await checkOp(name, {
      inputs: [
        [batch, grid[0] * grid[1], 3 * heads * depth],
        [2 * grid[0] - 1, depth],
        [2 * grid[1] - 1, depth],
      ],
      op: (qkv, relPosH, relPosW) =>
        decomposedAttention(qkv, { relPosH, relPosW }, { heads, grid }),
      reference: (...inputs) => decomposedAttention64(problem, inputs),
    });
  });
}

/** Output and gradients of two images of 2 heads of 8 on a grid. */
async function outputAndGradients(grid: readonly [number, number]) {
  using _ = new Scope(gpu);
  const make = (shape: number[], seed: number) =>
    Tensor.from(
      gpu,
      Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => Math.sin(7.3 * i * i + seed)),
      shape,
    ).setParameter(true);
  const n = grid[0] * grid[1];
  const qkv = make([2, n, 48], 1);
  const relPosH = make([2 * grid[0] - 1, 8], 2);
  const relPosW = make([2 * grid[1] - 1, 8], 3);
  const out = decomposedAttention(qkv, { relPosH, relPosW }, { heads: 2, grid });
  sum(mul(out, out)).backward();
  const all = [out, qkv.grad!, relPosH.grad!, relPosW.grad!];
  const values = await Promise.all(all.map((x) => x.data()));
  for (const x of [qkv, relPosH, relPosW]) x.zeroGrad();
  return values;
}

Deno.test("what lent memory held before stays out of decomposed attention", async () => {
  const expected = await outputAndGradients([3, 3]);
  // Rows of 9 scores are padded to 12; the pool lends these buffers again.
  for (const size of [2 * 2 * 9 * 12, 2 * 2 * 9 * 16, 2 * 2 * 9 * 3, 16 * 8]) {
    const poison = new Float32Array(size).fill(NaN);
    const lent = Array.from({ length: 8 }, () => Tensor.from(gpu, poison, [size]));
    for (const tensor of lent) tensor.dispose();
  }
  assertEquals(await outputAndGradients([3, 3]), expected);
});

Deno.test("decomposedAttention refuses tables of another grid", () => {
  using _ = new Scope(gpu);
  const qkv = Tensor.from(gpu, Array(36).fill(0), [1, 6, 6]);
  const table = Tensor.from(gpu, Array(6).fill(0), [3, 2]);
  assertThrows(
    () => decomposedAttention(qkv, { relPosH: table, relPosW: table }, { heads: 1, grid: [2, 3] }),
    Error,
    "grid [2, 3]",
  );
});
