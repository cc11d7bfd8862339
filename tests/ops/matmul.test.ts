import { assertEquals, assertMatch } from "@std/assert";
import {
  type MatmulExtra,
  type MatmulProblem,
  matmulTiles,
  planMatmul,
} from "../../kernels/matmul/mod.ts";
import { Random } from "../../lib/random.ts";
import { linear, matmul } from "../../lib/tensor/ops/matmul.ts";
import { perceptron } from "../../lib/tensor/ops/perceptron.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
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

/** The kernels for CPU drivers run on this device only if it has subgroups of a width they know. */
const { lanes } = gpu;
const families = lanes > 0 ? [lanes, 0] : [0];

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
  for (const lanes of families) {
    const family = lanes > 0 ? "subgroup" : "tiled";
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
      const plan = planMatmul(problem, lanes);
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
    planMatmul({ m: 8, n: 8, k: 8, a: plain, b: plain, c: plain, ...problem }, 0)
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

for (const lanes of families) {
  const family = lanes > 0 ? "subgroup" : "tiled";
  Deno.test(`${family} product matches float64 in every tile, with the same bits`, async () => {
    const [m, n, k] = [45, 76, 12];
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
    for (const tile of matmulTiles(problem, lanes)) {
      using _ = new Scope(gpu);
      const plan = planMatmul({ ...problem, tile }, lanes);
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

const geluSlope = (x: number) => (unary64.gelu(x + 1e-5) - unary64.gelu(x - 1e-5)) / 2e-5;

/** One product with an extra on a kernel of either family, beside what it should be. */
async function checkExtra(
  extra: MatmulExtra,
  { lanes, size, transB }: {
    lanes: number;
    size: readonly [number, number, number];
    transB: boolean;
  },
): Promise<void> {
  using _ = new Scope(gpu);
  const [m, n, k] = size;
  const updateK = 12;
  const random = new Random(`${extra} ${size}`);
  const make = (shape: readonly number[]) => {
    const data = Float32Array.from({ length: shape[0] * shape[1] }, () => random.normal());
    return { shape, data: Float64Array.from(data), tensor: Tensor.from(gpu, data, shape) };
  };
  const a = make([m, k]);
  const b = make(transB ? [n, k] : [k, n]);
  const [h, u] = [make([m, updateK]), make(transB ? [n, updateK] : [updateK, n])];
  const [like, bias] = [make([m, n]), make([1, n])];
  const [c, kept] = [Tensor.empty(gpu, [m, n]), Tensor.empty(gpu, [m, n])];
  const activation = extra === "gelu_backward" ? "none" : "gelu";
  const operands = { a: { ld: k }, b: { ld: transB ? k : n, transpose: transB }, c: { ld: n } };
  const plan = planMatmul(
    { m, n, k, ...operands, bias: true, activation, extra, updateK, updateAlpha: 0.5 },
    lanes,
  );
  const buffers: Record<string, Tensor> = {
    a: a.tensor,
    b: b.tensor,
    bias: bias.tensor,
    c,
    update_a: h.tensor,
    update_b: u.tensor,
    residual: like.tensor,
    kept: extra === "keep" ? kept : like.tensor,
  };
  const names = Object.keys(plan.kernel.buffers);
  gpu.run(plan.kernel, {
    ...plan,
    buffers: Object.fromEntries(names.map((name) => [name, buffers[name].buffer])),
  });
  const product = matmul64([a, b], { transposeB: transB }).data;
  const update = matmul64([h, u], { transposeB: transB }).data;
  const sums = product.map((v, i) =>
    v + bias.data[i % n] +
    (extra === "update" ? 0.5 * update[i] : extra === "residual" ? like.data[i] : 0)
  );
  const expected = extra === "gelu_backward"
    ? sums.map((v, i) => v * geluSlope(like.data[i]))
    : sums.map(unary64.gelu);
  const what = `${plan.kernel.name} ${size}`;
  assertClose(await c.data(), expected, f32Tolerance, what);
  if (extra === "keep") assertClose(await kept.data(), sums, f32Tolerance, `${what}, kept`);
}

for (const lanes of families) {
  for (const extra of ["none", "update", "residual", "keep", "gelu_backward"] as const) {
    const family = lanes > 0 ? "subgroup" : "tiled";
    Deno.test(`${family} product with ${extra} matches float64`, async () => {
      for (const transB of [false, true]) {
        for (const size of [[9, 12, 20], [197, 200, 36], [260, 16, 8]] as const) {
          await checkExtra(extra, { lanes, size, transB });
        }
      }
    });
  }
}
