import { type MatmulExtra, matmulExtras, planMatmul } from "../../kernels/matmul/mod.ts";
import type { Precision } from "../../kernels/operands.ts";
import type { KernelTarget } from "../../kernels/target.ts";
import { Random } from "../../lib/random.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { assertClose, f32Tolerance, type Reference } from "./check.ts";
import { unary64 } from "./references/elementwise.ts";
import { matmul64 } from "./references/matmul.ts";

/** Operations that products fuse. */
export const EXTRAS = Object.keys(matmulExtras) as MatmulExtra[];

const geluSlope = (x: number) => (unary64.gelu(x + 1e-5) - unary64.gelu(x - 1e-5)) / 2e-5;

/** Asserts that one product with an extra, in a tile of a device, is what it should be. */
export async function checkExtra(
  extra: MatmulExtra,
  { target, size, transB, tile, precision = "f32" }: {
    target: KernelTarget;
    size: readonly [number, number, number];
    transB: boolean;
    tile?: string;
    precision?: Precision;
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
    {
      m,
      n,
      k,
      ...operands,
      bias: true,
      activation,
      extra,
      updateK,
      updateAlpha: 0.5,
      tile,
      precision,
    },
    target,
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
  const multiplied = (...operands: Reference[]) => {
    const rounded = operands.map(({ shape, data }) => ({
      shape,
      data: precision === "f16" ? data.map(Math.f16round) : data,
    }));
    return matmul64(rounded, { transposeB: transB }).data;
  };
  const [product, update] = [multiplied(a, b), multiplied(h, u)];
  const sums = product.map((v, i) =>
    v + bias.data[i % n] +
    (extra === "update" ? 0.5 * update[i] : extra === "residual" ? like.data[i] : 0)
  );
  const expected = extra === "gelu_backward"
    ? sums.map((v, i) => v * geluSlope(like.data[i]))
    : sums.map(unary64.gelu);
  const what = `${plan.kernel.name} ${size} ${tile ?? ""}`;
  assertClose(await c.data(), expected, f32Tolerance, what);
  if (extra === "keep") assertClose(await kept.data(), sums, f32Tolerance, `${what}, kept`);
}
