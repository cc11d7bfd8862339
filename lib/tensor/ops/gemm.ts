import { defineKernel } from "../../../kernels/spec.ts";
import { Tensor } from "../tensor.ts";
import source from "../../../kernels/matmul_naive.wgsl" with { type: "text" };

const naive = defineKernel({
  name: "matmul",
  source,
  buffers: { a: "read", b: "read", bias: "read", c: "read_write" },
  params: {
    m: "u32",
    n: "u32",
    k: "u32",
    batch_inner: "u32",
    lda: "u32",
    ldb: "u32",
    ldc: "u32",
    off_a: "u32",
    off_b: "u32",
    off_c: "u32",
    a_outer: "u32",
    a_inner: "u32",
    b_outer: "u32",
    b_inner: "u32",
    c_outer: "u32",
    c_inner: "u32",
    alpha: "f32",
  },
});

/** One matrix operand of a batch, as BLAS describes it: element (row, column) of matrix (i, j) lies at offset + i outer + j inner + row ld + column. */
export interface Matrix {
  readonly tensor: Tensor;
  /** Elements from one row to the next. */
  readonly ld: number;
  /** Read transposed. */
  readonly transpose?: boolean;
  readonly offset?: number;
  /** Elements from one matrix to the next along the outer batch axis. */
  readonly outer?: number;
  /** Elements from one matrix to the next along the inner batch axis. */
  readonly inner?: number;
}

/** C = activation(alpha op(A) op(B) + bias) for a batch of outer x inner matrices, or added to C. */
export interface Gemm {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Matrix;
  readonly b: Matrix;
  readonly c: Matrix;
  /** Matrices along the outer and inner batch axes; default 1 and 1. */
  readonly batch?: readonly [number, number];
  readonly alpha?: number;
  /** [n], added to every row. */
  readonly bias?: Tensor | null;
  /** Add to what C holds. */
  readonly accumulate?: boolean;
  readonly activation?: "gelu" | "relu";
}

/** Multiplies strided batches of matrices without history, on the kernel that suits device and shape. */
export function gemm(spec: Gemm): void {
  const { m, n, k, a, b, c, bias } = spec;
  const [outer, inner] = spec.batch ?? [1, 1];
  a.tensor.gpu.run(naive, {
    buffers: {
      a: a.tensor.buffer,
      b: b.tensor.buffer,
      bias: (bias ?? b.tensor).buffer,
      c: c.tensor.buffer,
    },
    params: {
      m,
      n,
      k,
      batch_inner: inner,
      lda: a.ld,
      ldb: b.ld,
      ldc: c.ld,
      off_a: a.offset ?? 0,
      off_b: b.offset ?? 0,
      off_c: c.offset ?? 0,
      a_outer: a.outer ?? 0,
      a_inner: a.inner ?? 0,
      b_outer: b.outer ?? 0,
      b_inner: b.inner ?? 0,
      c_outer: c.outer ?? 0,
      c_inner: c.inner ?? 0,
      alpha: spec.alpha ?? 1,
    },
    constants: {
      TRANS_A: a.transpose ?? false,
      TRANS_B: b.transpose ?? false,
      BIAS: bias != null,
      ACCUMULATE: spec.accumulate ?? false,
      ACTIVATION: spec.activation === "gelu" ? 1 : spec.activation === "relu" ? 2 : 0,
    },
    workgroups: [Math.ceil(n / 8), Math.ceil(m / 8), outer * inner],
  });
}
