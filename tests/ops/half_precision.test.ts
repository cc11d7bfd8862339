import { assert, assertEquals } from "@std/assert";
import { type MatmulProblem, matmulTiles, planMatmul } from "../../kernels/matmul/mod.ts";
import { type KernelTarget, kernelTarget, PRODUCT_TILES } from "../../kernels/target.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { Random } from "../../lib/random.ts";
import { checkpoint } from "../../lib/tensor/checkpoint.ts";
import { attention, qkvAttention } from "../../lib/tensor/ops/attention.ts";
import { linear, matmul } from "../../lib/tensor/ops/matmul.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { withPrecision } from "../../lib/tensor/precision.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";
import { withoutSubgroups } from "../gpu/adapters.ts";
import { type Case, results } from "./attention_families.ts";
import { checkOp, type Reference } from "./check.ts";
import { checkExtra, EXTRAS } from "./product_extras.ts";
import { attention64, qkvAttention64 } from "./references/attention.ts";
import { linear64, matmul64 } from "./references/matmul.ts";

/** Relative error of a half. */
const HALF = 2 ** -11;

/** The kernels for CPU drivers, where they run, and those for GPUs with and without f16 in their memory. */
const tiled: KernelTarget = { ...kernelTarget(), id: -1, products: PRODUCT_TILES };
const families: Record<string, KernelTarget> = {
  ...gpu.target.lanes > 0 && { subgroup: gpu.target },
  "tiled, rounded": tiled,
  ...gpu.target.f16 && { "tiled, f16": { ...tiled, f16: true } },
};

const halves = (values: ArrayLike<number>) => Float64Array.from(Float16Array.from(values));

/** An op in half precision. */
const halved = (op: (...inputs: Tensor[]) => Tensor, on: Gpu = gpu) => (...inputs: Tensor[]) =>
  withPrecision(on, "f16", () => op(...inputs));

/** A product of matrices on the kernels of a target. */
async function product(
  target: KernelTarget,
  problem: MatmulProblem,
  { a, b }: { a: Float32Array; b: Float32Array },
): Promise<Float32Array> {
  using _ = new Scope(gpu);
  const plan = planMatmul({ precision: "f16", ...problem }, target);
  const bound = Tensor.from(gpu, b, [b.length]).buffer;
  const c = Tensor.empty(gpu, [problem.m, problem.n]);
  const buffers = { a: Tensor.from(gpu, a, [a.length]).buffer, b: bound, bias: bound, c: c.buffer };
  gpu.run(plan.kernel, { ...plan, buffers });
  return await c.data();
}

for (const [family, target] of Object.entries(families)) {
  Deno.test(`${family}: operands are the nearest halves, ties to even, infinite beyond the largest`, async () => {
    const values: number[] = [0, -0, 65503, 65504, 65519, 65520, 1e9, -70000, -Infinity];
    // Around every fourth half and its middle, and what is below the smallest.
    const bits = Float32Array.from(
      { length: 0x7c00 / 4 },
      (_, i) => new Float16Array(new Uint16Array([4 * i]).buffer)[0],
    );
    for (let i = 0; i + 1 < bits.length; i++) {
      const middle = bits[i] +
        (new Float16Array(new Uint16Array([4 * i + 1]).buffer)[0] - bits[i]) / 2;
      values.push(-bits[i], middle, middle * (1 + 2 ** -22), -middle * (1 - 2 ** -22));
    }
    const a = Float32Array.from(values);
    const problem = { m: a.length, n: 1, k: 1, a: { ld: 1 }, b: { ld: 1 }, c: { ld: 1 } };
    const rounded = await product(target, problem, { a, b: Float32Array.of(1) });
    const wrong = values.findIndex((value, i) => !(rounded[i] === Math.f16round(value)));
    assertEquals(wrong, -1, `${values[wrong]} -> ${rounded[wrong]}`);
    const [nan] = await product(target, { ...problem, m: 1 }, {
      a: Float32Array.of(NaN),
      b: Float32Array.of(1),
    });
    assert(!Number.isFinite(nan));
  });

  Deno.test(`${family}: products of halves match float64 to the error of an f32 sum`, async () => {
    let worst = 0;
    for (const [m, n, k] of [[133, 140, 44], [9, 12, 576], [7, 5, 3]]) {
      const random = new Random(`${m}`);
      const make = (count: number) => Float32Array.from({ length: count }, () => random.normal());
      const [a, b] = [make(m * k), make(n * k)];
      const reference = (map: (x: number) => number) =>
        matmul64([
          { shape: [m, k], data: halves(a).map(map) },
          { shape: [n, k], data: halves(b).map(map) },
        ], { transposeB: true }).data;
      const [expected, size] = [reference((x) => x), reference(Math.abs)];
      const problem = { m, n, k, a: { ld: k }, b: { ld: k, transpose: true }, c: { ld: n } };
      const sums: Float32Array[] = [];
      const tiles = matmulTiles(problem, target);
      for (const tile of k === 44 ? tiles : [tiles[0]]) {
        sums.push(await product(target, { ...problem, tile }, { a, b }));
        assertSameBits(sums.at(-1)!, sums[0], tile);
      }
      sums[0].forEach((value, i) => {
        worst = Math.max(worst, Math.abs(value - expected[i]) / (k * 2 ** -24 * size[i]));
      });
    }
    console.log(`largest error ${worst.toFixed(3)} of the bound`);
    assert(worst <= 1);
  });

  for (const extra of EXTRAS) {
    Deno.test(`${family} product of halves with ${extra} matches float64`, async () => {
      for (const transB of [false, true]) {
        await checkExtra(extra, { target, size: [69, 72, 36], transB, precision: "f16" });
      }
    });
  }
}

/** Tolerance of a sum of some products whose operands are halves. */
const loose = { atol: 16 * HALF, rtol: 4 * HALF };

Deno.test("gradients of products in half precision match differences of float64", async () => {
  for (const [inp, out] of [[5, 3], [16, 8]]) {
    await checkOp("linear", {
      inputs: [[2, 3, inp], [out, inp], [out]],
      op: halved((x, weight, bias) => linear(x, weight, bias)),
      reference: linear64,
      tolerance: loose,
    });
  }
  await checkOp("matmul", {
    inputs: [[2, 5, 7], [2, 7, 6]],
    op: halved((a, b) => matmul(a, b)),
    reference: (a, b) => matmul64([a, b], {}),
    tolerance: loose,
  });
});

Deno.test("attention in half precision and its gradients match float64", async () => {
  const heads = 2;
  await checkOp("attention", {
    inputs: [[2, 5, 8], [2, 6, 8], [2, 6, 8]],
    op: halved((q, k, v) => attention(q, k, v, { heads })),
    reference: (...inputs) => attention64(inputs, { heads }),
    tolerance: loose,
  });
  const options = { heads, layout: "thirds", scale: 0.5 } as const;
  await checkOp("qkvAttention with a bias", {
    inputs: [[2, 5, 3 * 2 * 3], [heads, 5, 5]],
    op: halved((qkv, bias) => qkvAttention(qkv, { ...options, bias })),
    reference: (qkv, bias: Reference) => qkvAttention64(qkv, { ...options, bias }),
    tolerance: loose,
  });
});

/** Norm of the difference of two arrays, by the norm of the second. */
function distance(actual: Float32Array, expected: Float32Array): number {
  const norm = (values: Float32Array) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));
  return norm(actual.map((x, i) => x - expected[i])) / norm(expected);
}

Deno.test("both families' attention in half precision is f32's to three digits, padding included", async () => {
  const windows = { size: 3, images: [1, 5, 7] } as const;
  const op = (qkv: Tensor) => qkvAttention(qkv, { heads: 2, layout: "per-head", windows });
  const shapes = [[5 * 7 + 1, 3 * 2 * 4]];
  using other = await Gpu.open({ gpu: withoutSubgroups });
  const exact = await results(gpu, { shapes, op });
  for (const device of [gpu, other]) {
    const problem: Case = { shapes, op: halved(op, device) };
    const found = await results(device, problem);
    const errors = found.map((values, i) => distance(values, exact[i]));
    console.log(errors.map((error) => error.toExponential(1)).join(", "));
    for (const error of errors) assert(error > 0 && error < 2 * HALF, `${error}`);
  }
});

Deno.test("precision holds for a function and for its backward pass, checkpointed or not, and for nothing else", async () => {
  const random = new Random("precision");
  const make = (shape: number[]) =>
    Tensor.from(gpu, Float32Array.from({ length: 48 }, () => random.normal()), shape);
  using _ = new Scope(gpu);
  const [x, weight] = [make([6, 8]), make([6, 8])];
  const run = async (op: (x: Tensor) => Tensor) => {
    x.setParameter(true);
    const y = op(x);
    sum(y).backward();
    const values = [await y.data(), await x.grad!.data()];
    x.zeroGrad();
    return values;
  };
  const plain = (x: Tensor) => linear(x, weight);
  const exact = await run(plain);
  const half = await run(halved(plain));
  half.forEach((values, i) => {
    const error = distance(values, exact[i]);
    assert(error > 0 && error < HALF, `${i}: ${error}`);
  });
  const again = await run(halved((x) => checkpoint(x, { run: plain, parameters: [] })));
  again.forEach((values, i) => assertSameBits(values, half[i], "checkpointed"));
  (await run(plain)).forEach((values, i) => assertSameBits(values, exact[i], "afterwards"));
});
