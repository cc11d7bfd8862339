import { planMatmul } from "../../../kernels/matmul.ts";
import type { Tensor } from "../tensor.ts";

/** One matrix operand of a batch, as BLAS describes it: element (row, column) of matrix (i, j) lies at offset + i outer + j inner + row ld + column. */
export interface Matrix {
  /** The memory it lies in. */
  readonly tensor: Tensor;
  /** Elements from one row to the next. */
  readonly ld: number;
  /** Read transposed. */
  readonly transpose?: boolean;
  /** Its first element. */
  readonly offset?: number;
  /** Elements from one matrix to the next along the outer batch axis. */
  readonly outer?: number;
  /** Elements from one matrix to the next along the inner batch axis. */
  readonly inner?: number;
}

/** C = activation(alpha op(A) op(B) + bias) for a batch of outer x inner matrices, or added to C. */
export interface Gemm {
  /** Rows of C. */
  readonly m: number;
  /** Columns of C. */
  readonly n: number;
  /** Length of the sums. */
  readonly k: number;
  /** [m, k] after its transposition. */
  readonly a: Matrix;
  /** [k, n] after its transposition. */
  readonly b: Matrix;
  /** [m, n] */
  readonly c: Matrix;
  /** Matrices along the outer and inner batch axes; default 1 and 1. */
  readonly batch?: readonly [number, number];
  /** Factor of the product; default 1. */
  readonly alpha?: number;
  /** [n], added to every row. */
  readonly bias?: Tensor | null;
  /** Add to what C holds. */
  readonly accumulate?: boolean;
  /** Applied last. */
  readonly activation?: "gelu" | "relu";
}

/** Multiplies strided batches of matrices without history, on the kernel that suits device and shape. */
export function gemm(spec: Gemm): void {
  const { m, n, k, a, b, c, bias, alpha, accumulate, activation } = spec;
  const { gpu } = a.tensor;
  const [outer, inner] = spec.batch ?? [1, 1];
  const plan = planMatmul({
    m,
    n,
    k,
    batch: outer * inner,
    batchInner: inner,
    transA: a.transpose,
    transB: b.transpose,
    sizeA: a.tensor.size,
    sizeB: b.tensor.size,
    lda: a.ld,
    ldb: b.ld,
    ldc: c.ld,
    offsetA: a.offset,
    offsetB: b.offset,
    offsetC: c.offset,
    strideA: [a.outer ?? 0, a.inner ?? 0],
    strideB: [b.outer ?? 0, b.inner ?? 0],
    strideC: [c.outer ?? 0, c.inner ?? 0],
    alpha,
    bias: bias != null,
    accumulate,
    activation,
  }, gpu.subgroupSize);
  gpu.run(plan.kernel, {
    constants: plan.constants,
    params: plan.params,
    workgroups: plan.workgroups,
    buffers: {
      a: a.tensor.buffer,
      b: b.tensor.buffer,
      // A binding must hold something even where the kernel does not read it.
      bias: (bias ?? b.tensor).buffer,
      c: c.tensor.buffer,
    },
  });
}
