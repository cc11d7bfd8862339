import {
  type MatmulExtra,
  type MatmulProblem,
  matmulTiles,
  planMatmul,
} from "../../../kernels/matmul.ts";
import type { PooledBuffer } from "../../gpu/buffer_pool.ts";
import type { Gpu } from "../../gpu/gpu.ts";
import type { Tuner } from "../../gpu/tuner.ts";
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
  /** What is added, stored or multiplied on the way to C: one of them, where {@linkcode fuses} says so. */
  readonly extra?: GemmExtra;
}

/** What a product does on the way to C beside bias and activation. */
export type GemmExtra =
  /** Adds alpha H op(U), H [m, k] and U [n, k] (or [k, n] where B is not transposed), packed. */
  | { readonly update: { readonly h: Tensor; readonly u: Tensor; readonly alpha: number } }
  /** Adds a matrix like C before the activation. */
  | { readonly residual: Tensor }
  /** Stores what goes into the activation in a matrix like C. */
  | { readonly keep: Tensor }
  /** Multiplies by the derivative of GELU at a matrix like C. */
  | { readonly geluBackward: Tensor };

/** Whether products of packed matrices with these sizes can have an extra. */
export function fuses(...sizes: readonly number[]): boolean {
  return sizes.every((size) => size % 4 === 0);
}

/** Multiplies strided batches of matrices without history, on the kernel that suits device and shape. */
export function gemm(spec: Gemm): void {
  const { m, n, k, a, b, c, bias, alpha, accumulate, activation } = spec;
  const { gpu } = a.tensor;
  const [outer, inner] = spec.batch ?? [1, 1];
  const { extra, buffers, updateK, updateAlpha } = extraOf(spec.extra);
  const problem: MatmulProblem = {
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
    extra,
    updateK,
    updateAlpha,
  };
  const bound = {
    a: a.tensor.buffer,
    b: b.tensor.buffer,
    // A binding must hold something even where the kernel does not read it.
    bias: (bias ?? b.tensor).buffer,
    c: c.tensor.buffer,
    ...buffers,
  };
  const tile = gpu.tuner ? tunedTile(gpu.tuner, { gpu, problem, buffers: bound }) : undefined;
  run(gpu, tile ? { ...problem, tile } : problem, bound);
}

function run(
  gpu: Gpu,
  problem: MatmulProblem,
  buffers: Readonly<Record<string, PooledBuffer>>,
): void {
  const { kernel, constants, params, workgroups } = planMatmul(problem, gpu.subgroupSize);
  gpu.run(kernel, { constants, params, workgroups, buffers });
}

/** The tile that the tuner chooses. It measures on buffers of its own, as large as these. */
function tunedTile(
  tuner: Tuner,
  { gpu, problem, buffers }: {
    gpu: Gpu;
    problem: MatmulProblem;
    buffers: Readonly<Record<string, PooledBuffer>>;
  },
): string {
  const { m, n, k, batch = 1, transA, transB, bias, accumulate, extra = "none" } = problem;
  const work = `matmul ${transA ? "T" : "N"}${transB ? "T" : "N"} ${batch} x ${m} x ${n} x ${k}` +
    ` ${extra}${bias ? ", bias" : ""}${accumulate ? ", accumulated" : ""}`;
  const names = matmulTiles(problem, gpu.subgroupSize);
  return tuner.choose(work, names, () => {
    const sizes = Object.entries(buffers).map(([name, { size }]) => [name, size] as const);
    return names.map((tile) => ({
      name: tile,
      time: async (repeats) => {
        const own = Object.fromEntries(sizes.map(([name, size]) => [name, gpu.acquire(size)]));
        await gpu.finish();
        const start = performance.now();
        for (let i = 0; i < repeats; i++) run(gpu, { ...problem, tile }, own);
        await gpu.finish();
        const milliseconds = performance.now() - start;
        for (const buffer of Object.values(own)) gpu.release(buffer);
        return milliseconds;
      },
    }));
  });
}

/** An extra as the kernels know it. */
function extraOf(extra: GemmExtra | undefined): Pick<MatmulProblem, "updateK" | "updateAlpha"> & {
  extra?: MatmulExtra;
  buffers?: Record<string, PooledBuffer>;
} {
  if (!extra) return {};
  if ("residual" in extra) {
    return { extra: "residual", buffers: { residual: extra.residual.buffer } };
  }
  if ("keep" in extra) return { extra: "keep", buffers: { kept: extra.keep.buffer } };
  if ("geluBackward" in extra) {
    return { extra: "gelu-backward", buffers: { kept: extra.geluBackward.buffer } };
  }
  const { h, u, alpha } = extra.update;
  return {
    extra: "update",
    buffers: { update_a: h.buffer, update_b: u.buffer },
    updateK: h.shape.at(-1),
    updateAlpha: alpha,
  };
}
