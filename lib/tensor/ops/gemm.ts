import {
  type MatmulActivation,
  matmulActivations,
  type MatmulExtra,
  matmulExtras,
  type MatmulPlan,
  type MatmulProblem,
  type MatrixLayout,
  planMatmul,
} from "../../../kernels/matmul/mod.ts";
import type { KernelTarget } from "../../../kernels/target.ts";
import type { PooledBuffer } from "../../gpu/buffer_pool.ts";
import { Memo } from "../memo.ts";
import type { Precision } from "../precision.ts";
import { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";

export type { MatmulActivation, MatmulExtra, MatmulProblem, MatrixLayout };

/** Matrices of a batch, and the tensor whose memory they lie in. */
export interface Matrix extends MatrixLayout {
  /** Memory. */
  readonly tensor: Tensor;
}

/** A batch of matrix products with its operands. */
export interface Gemm
  extends Omit<MatmulProblem, "bias" | "extra" | "precision" | "tile" | "updateK" | "updateAlpha"> {
  /** [m, k] after its transposition. */
  readonly a: Matrix;
  /** [k, n] after its transposition. */
  readonly b: Matrix;
  /** [m, n] */
  readonly c: Matrix;
  /** [n], added to every row. */
  readonly bias?: Tensor | null;
  /** Further operation fused into the product, if {@linkcode fuses} is true of its sizes. */
  readonly extra?: GemmExtra;
}

/** Operation that a product fuses beside bias and activation. */
export type GemmExtra =
  /** Adds alpha H op(U), H [m, k] and U [n, k] (or [k, n] where B is not transposed), packed. */
  | { readonly update: { readonly h: Tensor; readonly u: Tensor; readonly alpha: number } }
  /** Adds a matrix like C before the activation. */
  | { readonly residual: Tensor }
  /** Stores the activation's argument in a matrix like C. */
  | { readonly keep: Tensor }
  /** Multiplies by the derivative of GELU at a matrix like C. */
  | { readonly geluBackward: Tensor };

/** True if products of packed matrices of these sizes can fuse a {@linkcode GemmExtra}. */
export function fuses(...sizes: readonly number[]): boolean {
  return sizes.every((size) => size % 4 === 0);
}

const planned = new Memo<MatmulPlan>();

/**
 * Multiplies strided batches of matrices without history, on the kernel that suits device and shape, in the precision
 * that is set.
 */
export function gemm(spec: Gemm): void {
  const { a, b, c, bias } = spec;
  const { gpu } = a.tensor;
  const { precision } = Tape.of(gpu).settings;
  const { kernel, constants, params, workgroups } = planOf(spec, { target: gpu.target, precision });
  const bound: Record<string, PooledBuffer> = {
    a: a.tensor.buffer,
    b: b.tensor.buffer,
    // WebGPU wants a buffer in every binding, also in one that the kernel does not read.
    bias: (bias ?? b.tensor).buffer,
    c: c.tensor.buffer,
  };
  if (spec.extra) bindExtra(bound, spec.extra);
  gpu.run(kernel, { constants, params, workgroups, buffers: bound });
}

/** Plan of a product, the same object for products that differ in their tensors alone. */
function planOf(
  spec: Gemm,
  { target, precision }: { target: KernelTarget; precision: Precision },
): MatmulPlan {
  const { m, n, k, a, b, c, batch, alpha = 1, activation = "none" } = spec;
  const extra = spec.extra ? extraName(spec.extra) : "none";
  const update = spec.extra && "update" in spec.extra ? spec.extra.update : null;
  const updateK = update ? update.h.shape[update.h.shape.length - 1] : 0;
  const updateAlpha = update ? update.alpha : 1;
  const key = [
    target.id,
    m,
    n,
    k,
    batch ? batch[0] : 1,
    batch ? batch[1] : 1,
    a.ld,
    b.ld,
    c.ld,
    a.offset ?? 0,
    b.offset ?? 0,
    c.offset ?? 0,
    a.outer ?? 0,
    a.inner ?? 0,
    b.outer ?? 0,
    b.inner ?? 0,
    c.outer ?? 0,
    c.inner ?? 0,
    alpha,
    (a.transpose ? 1 : 0) | (b.transpose ? 2 : 0) | (spec.bias ? 4 : 0) |
    (spec.accumulate ? 8 : 0) |
    (precision === "f16" ? 16 : 0),
    matmulActivations[activation],
    matmulExtras[extra],
    updateK,
    updateAlpha,
  ];
  return planned.get(key, () => {
    const problem = { ...spec, bias: spec.bias != null, extra, precision, updateK, updateAlpha };
    return planMatmul(problem, target);
  });
}

/** Name of an extra in the kernels. */
function extraName(extra: GemmExtra): MatmulExtra {
  if ("residual" in extra) return "residual";
  if ("keep" in extra) return "keep";
  return "geluBackward" in extra ? "gelu_backward" : "update";
}

/** Adds the buffers of an extra to those of a product. */
function bindExtra(bound: Record<string, PooledBuffer>, extra: GemmExtra): void {
  if ("residual" in extra) bound.residual = extra.residual.buffer;
  else if ("keep" in extra) bound.kept = extra.keep.buffer;
  else if ("geluBackward" in extra) bound.kept = extra.geluBackward.buffer;
  else {
    bound.update_a = extra.update.h.buffer;
    bound.update_b = extra.update.u.buffer;
  }
}
