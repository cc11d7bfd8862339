import { assertEquals, assertMatch } from "@std/assert";
import { type MatmulProblem, matmulTiles, planMatmul } from "../../kernels/matmul/mod.ts";
import { type KernelTarget, kernelTarget, PRODUCT_TILES } from "../../kernels/target.ts";
import { Random } from "../../lib/random.ts";
import { linear, matmul } from "../../lib/tensor/ops/matmul.ts";
import { perceptron } from "../../lib/tensor/ops/perceptron.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkExtra, EXTRAS } from "./product_extras.ts";
import { assertClose, checkOp, f32Tolerance, type Reference } from "./check.ts";
import { unary64 } from "./references/elementwise.ts";
import { linear64, matmul64, perceptron64 } from "./references/matmul.ts";

/** m, n, k and the batch. */
const sizes = [
  { m: 1, n: 1, k: 1, batch: [] },
  { m: 5, n: 7, k: 3, batch: [] },
  { m: 1, n: 9, k: 4, batch: [2] },
  { m: 8, n: 1, k: 8, batch: [] },
  { m: 12, n: 8, k: 16, batch: [2] },
  { m: 9, n: 5, k: 6, batch: [2, 2] },
];

for (const { m, n, k, batch } of sizes) {
  for (const transposeA of [false, true]) {
    for (const transposeB of [false, true]) {
      const name = `matmul ${transposeA ? "T" : "N"}${
        transposeB ? "T" : "N"
      } of [${batch}] ${m} x ${k} x ${n}`;
      Deno.test(`${name} and its gradients match float64`, async () => {
        const a = [...batch, ...(transposeA ? [k, m] : [m, k])];
        const b = transposeB ? [n, k] : [k, n];
        for (const shapeB of batch.length > 0 ? [b, [...batch, ...b]] : [b]) {
          await checkOp(name, {
            inputs: [a, shapeB],
            op: (a, b) => matmul(a, b, { transposeA, transposeB }),
            reference: (a, b) => matmul64([a, b], { transposeA, transposeB }),
          });
        }
      });
    }
  }
}

Deno.test("linear with and without bias matches float64, with gradients", async () => {
  for (const [inp, out] of [[5, 3], [16, 8], [1, 1], [33, 17]]) {
    const x = [2, 3, inp];
    const op = (x: Tensor, weight: Tensor, bias?: Tensor) => linear(x, weight, bias);
    await checkOp("linear", { inputs: [x, [out, inp]], op, reference: linear64 });
    await checkOp("linear", { inputs: [x, [out, inp], [out]], op, reference: linear64 });
  }
});

/** All tiles for GPUs, of which a class has some. */
const tiled: KernelTarget = { ...kernelTarget(), id: -1, products: PRODUCT_TILES };

/** The kernels for CPU drivers run on this device only if it has subgroups of a width they know. */
const families: Record<string, KernelTarget> = {
  ...gpu.target.lanes > 0 && { subgroup: gpu.target },
  tiled,
};

/** Rows of `width` numbers `stride` apart, each followed by NaN. */
function padded(rows: Float32Array, width: number, stride: number): Float32Array {
  const count = rows.length / width;
  const data = new Float32Array(count * stride).fill(NaN);
  for (let i = 0; i < count; i++) {
    data.set(rows.subarray(i * width, (i + 1) * width), i * stride);
  }
  return data;
}

for (const { m, n, k } of [{ m: 7, n: 8, k: 5 }, { m: 49, n: 32, k: 49 }, { m: 66, n: 68, k: 3 }]) {
  const batch = 3;
  const [lda, ldb, ldc] = [Math.ceil(m / 4) * 4, n + 4, n + 8];
  for (const [family, target] of Object.entries(families)) {
    Deno.test(`${family} vec4 product of padded Aᵀ [${k}, ${m}] matches float64 and keeps to C`, async () => {
      const random = new Random(m);
      const values = (length: number) => Float32Array.from({ length }, () => random.normal());
      const a = values(batch * k * m);
      const b = values(batch * k * n);
      const problem: MatmulProblem = {
        m,
        n,
        k,
        batch: [1, batch],
        a: { ld: lda, inner: k * lda, transpose: true },
        b: { ld: ldb, inner: k * ldb },
        c: { ld: ldc, inner: m * ldc },
      };
      const plan = planMatmul(problem, target);
      assertMatch(plan.kernel.name, new RegExp(`^matmul_${family}_vec4`));
      using _ = new Scope(gpu);
      const untouched = new Float32Array(batch * m * ldc).fill(-9);
      const tensors = {
        a: Tensor.from(gpu, padded(a, m, lda), [batch, k, lda]),
        b: Tensor.from(gpu, padded(b, n, ldb), [batch, k, ldb]),
        c: Tensor.from(gpu, untouched, [batch, m, ldc]),
      };
      const buffers = { a: tensors.a.buffer, b: tensors.b.buffer, c: tensors.c.buffer };
      gpu.run(plan.kernel, { ...plan, buffers: { ...buffers, bias: tensors.b.buffer } });
      const expected = matmul64([
        { shape: [batch, k, m], data: Float64Array.from(a) },
        { shape: [batch, k, n], data: Float64Array.from(b) },
      ], { transposeA: true });
      const inC = Float64Array.from(
        untouched,
        (value, i) => i % ldc < n ? expected.data[Math.floor(i / ldc) * n + i % ldc] : value,
      );
      assertClose(await tensors.c.data(), inC, f32Tolerance, "C and what lies between its rows");
    });
  }
}

Deno.test("a product is read by fours only where its layout allows it", () => {
  const plain = { ld: 8 };
  const transposed = { ld: 8, transpose: true };
  const access = (problem: Partial<MatmulProblem>) =>
    planMatmul({ m: 8, n: 8, k: 8, a: plain, b: plain, c: plain, ...problem }, tiled)
      .kernel.name.split("_").at(-1);
  assertEquals(access({}), "vec4");
  assertEquals(access({ m: 7 }), "vec4");
  assertEquals(access({ m: 7, a: { ld: 7, transpose: true } }), "scalar"); // without padding
  assertEquals(access({ m: 7, a: transposed }), "vec4");
  assertEquals(access({ m: 7, a: { ...transposed, offset: 2 } }), "scalar");
  assertEquals(access({ m: 7, a: transposed, b: transposed }), "vec4");
  assertEquals(access({ n: 7 }), "scalar"); // C's padding is not ours to write
  assertEquals(access({ k: 7 }), "scalar");
  assertEquals(access({ k: 7, a: transposed }), "vec4");
  assertEquals(access({ k: 7, a: transposed, b: transposed }), "scalar");
});

for (const layout of ["NN", "NT", "TN", "TT"]) {
  Deno.test(`${layout} products of several tiles match float64`, async () => {
    const [transposeA, transposeB] = [layout[0] === "T", layout[1] === "T"];
    const random = new Random(layout);
    // Along both axes, or one.
    for (const [m, n, k] of [[196, 200, 32], [12, 260, 20], [260, 12, 44]]) {
      using _ = new Scope(gpu);
      const values = (shape: readonly number[]) => ({
        shape,
        data: Float64Array.from(
          { length: shape[0] * shape[1] },
          () => Math.fround(random.normal()),
        ),
      });
      const a = values(transposeA ? [k, m] : [m, k]);
      const b = values(transposeB ? [n, k] : [k, n]);
      const product = matmul(
        Tensor.from(gpu, Float32Array.from(a.data), a.shape),
        Tensor.from(gpu, Float32Array.from(b.data), b.shape),
        { transposeA, transposeB },
      );
      const expected = matmul64([a, b], { transposeA, transposeB });
      assertClose(await product.data(), expected.data, f32Tolerance, `${m} x ${n} x ${k}`);
    }
  });
}

Deno.test("linear with a residual and GELU matches float64, recorded or not", async () => {
  for (const [inp, out] of [[8, 12], [5, 3]]) {
    const x = [2, 3, inp];
    const reference = (x: Reference, w: Reference, b: Reference, residual: Reference) => {
      const y = linear64(x, w, b);
      return { ...y, data: y.data.map((v, i) => unary64.gelu(v + residual.data[i])) };
    };
    const inputs = [x, [out, inp], [out], [2, 3, out]];
    const op = (x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) =>
      linear(x, weight, bias, { residual, activation: "gelu" });
    await checkOp("linear, residual, GELU", { inputs, op, reference });
    await checkOp("frozen", { inputs, constant: [0, 1, 2, 3], op, reference });
    await checkOp("linear, residual", {
      inputs,
      op: (x, weight, bias, residual) => linear(x, weight, bias, { residual }),
      reference: (x, w, b, residual) => {
        const y = linear64(x, w, b);
        return { ...y, data: y.data.map((v, i) => v + residual.data[i]) };
      },
    });
  }
});

Deno.test("a perceptron matches float64, with the gradients of whatever is trained", async () => {
  // The second does not divide into fours.
  for (const [inp, hidden, out] of [[8, 12, 4], [3, 5, 2]]) {
    const inputs = [[2, 3, inp], [hidden, inp], [hidden], [out, hidden], [out], [2, 3, out]];
    const op = (...[x, weight1, bias1, weight2, bias2, residual]: Tensor[]) =>
      perceptron(x, { weight1, bias1, weight2, bias2 }, { residual });
    const reference = (...inputs: Reference[]) => perceptron64(inputs);
    // All; the input alone; the input and one layer; a layer above a frozen input; nothing.
    for (
      const constant of [[], [1, 2, 3, 4], [1, 2, 5], [3, 4], [0, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    ) {
      await checkOp(`perceptron without ${constant}`, { inputs, constant, op, reference });
    }
    await checkOp("perceptron without biases and residual", {
      inputs: [inputs[0], inputs[1], inputs[3]],
      op: (x, weight1, weight2) => perceptron(x, { weight1, bias1: null, weight2, bias2: null }),
      reference: (x, weight1, weight2) => perceptron64([x, weight1, undefined, weight2]),
    });
  }
});

for (const [family, target] of Object.entries(families)) {
  Deno.test(`${family} product matches float64 in every tile, with the same bits`, async () => {
    const [m, n, k] = [133, 140, 44];
    const problem = { m, n, k, a: { ld: k }, b: { ld: k, transpose: true }, c: { ld: n } };
    const random = new Random(family);
    const make = (shape: readonly number[]) =>
      Float32Array.from({ length: shape[0] * shape[1] }, () => random.normal());
    const [a, b] = [make([m, k]), make([n, k])];
    const expected = matmul64([
      { shape: [m, k], data: Float64Array.from(a) },
      { shape: [n, k], data: Float64Array.from(b) },
    ], { transposeB: true });
    const results: Float32Array[] = [];
    for (const tile of matmulTiles(problem, target)) {
      using _ = new Scope(gpu);
      const plan = planMatmul({ ...problem, tile }, target);
      const c = Tensor.empty(gpu, [m, n]);
      const bound = Tensor.from(gpu, b, [n, k]).buffer;
      const buffers = { a: Tensor.from(gpu, a, [m, k]).buffer, b: bound, bias: bound, c: c.buffer };
      gpu.run(plan.kernel, { ...plan, buffers });
      results.push(await c.data());
      assertClose(results.at(-1)!, expected.data, f32Tolerance, tile);
    }
    for (const result of results) assertEquals(result, results[0]);
  });
}

for (const [family, target] of Object.entries(families)) {
  for (const extra of EXTRAS) {
    Deno.test(`${family} product with ${extra} matches float64`, async () => {
      for (const transB of [false, true]) {
        for (const size of [[9, 12, 20], [197, 200, 36], [260, 16, 8]] as const) {
          await checkExtra(extra, { target, size, transB });
        }
      }
    });
  }
}
