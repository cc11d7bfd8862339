import { defineKernel, type Kernel } from "./spec.ts";
import aBuffer from "./matmul_a_buffer.wgsl" with { type: "text" };
import aTexture from "./matmul_a_texture.wgsl" with { type: "text" };
import bBuffer from "./matmul_b_buffer.wgsl" with { type: "text" };
import bTexture from "./matmul_b_texture.wgsl" with { type: "text" };
import common from "./matmul_common.wgsl" with { type: "text" };
import scalarAccess from "./matmul_scalar.wgsl" with { type: "text" };
import subgroupProduct from "./matmul_subgroup.wgsl" with { type: "text" };
import tiledProduct from "./matmul_tiled.wgsl" with { type: "text" };
import vec4Access from "./matmul_vec4.wgsl" with { type: "text" };

/** Buffers of the matrix-product kernels. Any buffer does as `bias` where there is none. */
export type MatmulBuffers = "a" | "b" | "bias" | "c";

/** Fields of the matrix-product kernels' `Params`. */
export type MatmulParameters =
  | "m"
  | "n"
  | "k"
  | "batch_inner"
  | "lda"
  | "ldb"
  | "ldc"
  | "off_a"
  | "off_b"
  | "off_c"
  | "a_outer"
  | "a_inner"
  | "b_outer"
  | "b_inner"
  | "c_outer"
  | "c_inner"
  | "alpha";

/**
 * A batch of matrix products, `C = activation(alpha opA(A) opB(B) + bias)`, with A [m, k], B [k, n]
 * and C [m, n] after their transposition. All offsets, strides and leading dimensions count f32
 * elements; those left out describe matrices that are packed without gaps.
 */
export interface MatmulProblem {
  /** Rows of C. */
  readonly m: number;
  /** Columns of C. */
  readonly n: number;
  /** Length of the sums. */
  readonly k: number;
  /** Matrices in the batch; 1 if absent. */
  readonly batch?: number;
  /** Size of the batch's inner level: matrix z lies at `floor(z / inner) outer + (z % inner) inner stride`. */
  readonly batchInner?: number;
  /** A is stored as [k, m]. */
  readonly transA?: boolean;
  /** B is stored as [n, k], as PyTorch stores a Linear layer's weight. */
  readonly transB?: boolean;
  /** Elements that A's buffer holds, used or not. */
  readonly sizeA?: number;
  /** Elements that B's buffer holds, used or not. */
  readonly sizeB?: number;
  /** Elements from one stored row of A to the next. */
  readonly lda?: number;
  /** Elements from one stored row of B to the next. */
  readonly ldb?: number;
  /** Elements from one row of C to the next. */
  readonly ldc?: number;
  /** First element of A. */
  readonly offsetA?: number;
  /** First element of B. */
  readonly offsetB?: number;
  /** First element of C. */
  readonly offsetC?: number;
  /** Stride of A in the batch: outer and inner level. 0 repeats the same matrix. */
  readonly strideA?: readonly [outer: number, inner: number];
  /** Stride of B in the batch: outer and inner level. 0 repeats the same matrix. */
  readonly strideB?: readonly [outer: number, inner: number];
  /** Stride of C in the batch: outer and inner level. */
  readonly strideC?: readonly [outer: number, inner: number];
  /** Factor of the product; 1 if absent. */
  readonly alpha?: number;
  /** A bias [n] is added to every row. */
  readonly bias?: boolean;
  /** The result is added to what C holds. */
  readonly accumulate?: boolean;
  /** Applied last. */
  readonly activation?: "none" | "gelu" | "relu";
}

/** All that a dispatch needs beside the buffers. */
export interface MatmulPlan {
  /** The kernel that suits the device and the alignment. */
  readonly kernel: Kernel<MatmulBuffers, MatmulParameters>;
  /** Its override constants, always in the same order. */
  readonly constants: Readonly<Record<string, number | boolean>>;
  /** Its parameters. */
  readonly params: Readonly<Record<MatmulParameters, number>>;
  /** Tiles along n, tiles along m, matrices. */
  readonly workgroups: readonly [number, number, number];
}

/** A tile of C that one workgroup computes. */
interface Tile {
  readonly rows: number;
  readonly columns: number;
  readonly constants: Readonly<Record<string, number | boolean>>;
}

/** Workgroups along one dimension that WebGPU guarantees. */
const MAXIMUM_WORKGROUPS = 65_535;

/** Workgroups from which the large GPU tile keeps a large GPU busy. */
const BUSY_WORKGROUPS = 128;

const ACTIVATIONS = { none: 0, gelu: 1, relu: 2 } as const;

/**
 * Tiles of matmul_subgroup.wgsl by lines shared and lines owned by each lane, with the speed each
 * reaches when it is full (GFLOP/s for 2 cores of a 2.6 GHz Xeon under llvmpipe). The best for a problem
 * is the one that finishes first with its padding counted in.
 */
const SUBGROUP_TILES = [
  { shared: 32, own: 8, speed: 52 },
  { shared: 32, own: 4, speed: 47 },
  { shared: 16, own: 8, speed: 37 },
] as const;

/** Lanes that matmul_subgroup.wgsl is made for: each loads 4 of at most 32 shared lines. */
const SUBGROUP_LANES = [4, 8, 16];

/**
 * Times that a product must read an operand (once for each tile across the other operand) for its copy to
 * a texture to pay.
 */
const STAGED_READS = 3;

/** Where A and B of a vec4 kernel lie. */
const OPERANDS = {
  neither: { source: aBuffer + bBuffer, a: "read", b: "read", suffix: "" },
  a: { source: aTexture + bBuffer, a: "texture", b: "read", suffix: "_a" },
  b: { source: aBuffer + bTexture, a: "read", b: "texture", suffix: "_b" },
  both: { source: aTexture + bTexture, a: "texture", b: "texture", suffix: "_ab" },
} as const;

const KERNELS = {
  subgroup: {
    vec4: matmulKernel("matmul_subgroup_vec4", OPERANDS.neither, vec4Access + subgroupProduct),
    scalar: matmulKernel("matmul_subgroup_scalar", null, scalarAccess + subgroupProduct),
  },
  tiled: {
    vec4: matmulKernel("matmul_tiled_vec4", OPERANDS.neither, vec4Access + tiledProduct),
    scalar: matmulKernel("matmul_tiled_scalar", null, scalarAccess + tiledProduct),
  },
  /** The subgroup kernel with operands in textures. */
  staged: {
    a: matmulKernel("matmul_subgroup_texture", OPERANDS.a, vec4Access + subgroupProduct),
    b: matmulKernel("matmul_subgroup_texture", OPERANDS.b, vec4Access + subgroupProduct),
    both: matmulKernel("matmul_subgroup_texture", OPERANDS.both, vec4Access + subgroupProduct),
  },
} as const;

/**
 * Chooses kernel, tile and access for a batch of matrix products.
 *
 * The subgroup kernel takes subgroups of 4, 8 or 16 lanes (`subgroupSize`, the width of llvmpipe's
 * vectors); everything else runs the tiled kernel. Access is by vec4 where every leading dimension, offset and stride is a
 * multiple of 4, and so is n, and k where A or B is contiguous along it. A product with few rows and columns and a long `k` can be
 * spread over more workgroups by making slices of `k` a batch with a C each, to be summed afterwards.
 *
 * @param subgroupSize Lanes of a subgroup, 0 where shaders cannot rely on it.
 * @throws {RangeError} if the problem is empty or has more tiles along a dimension than WebGPU
 * dispatches.
 */
export function planMatmul(problem: MatmulProblem, subgroupSize: number): MatmulPlan {
  const { m, n, k, batch = 1, transA = false, transB = false } = problem;
  const { bias = false, accumulate = false, activation = "none" } = problem;
  if (!(m > 0 && n > 0 && k > 0 && batch > 0)) {
    throw new RangeError(`matrix product of ${batch} x [${m}, ${k}] x [${k}, ${n}] is empty`);
  }
  const params = matmulParams(problem);
  const aligned = [
    // C's rows are stored by fours, and k must end where an operand's load along it ends. An operand
    // that is loaded across k may run over its m or n into padding: such sums are not stored.
    n,
    !transA || transB ? k : 0,
    params.lda,
    params.ldb,
    params.ldc,
    params.off_a,
    params.off_b,
    params.off_c,
    params.a_outer,
    params.a_inner,
    params.b_outer,
    params.b_inner,
    params.c_outer,
    params.c_inner,
  ].every((count) => count % 4 === 0);
  const family = SUBGROUP_LANES.includes(subgroupSize) ? "subgroup" : "tiled";
  const tile = family === "subgroup" ? subgroupTile(m, n, subgroupSize) : tiledTile(m, n, batch);
  const workgroups = matmulWorkgroups({ m, n, batch }, tile);
  if (Math.max(...workgroups) > MAXIMUM_WORKGROUPS) {
    throw new RangeError(
      `matrix product of ${batch} x [${m}, ${k}] x [${k}, ${n}] takes ${
        workgroups.join(" x ")
      } workgroups, at most ${MAXIMUM_WORKGROUPS} fit in a dimension: split the batch`,
    );
  }
  const staged = family === "subgroup" && aligned ? stagedOperands(problem, workgroups) : "neither";
  return {
    kernel: staged === "neither"
      ? KERNELS[family][aligned ? "vec4" : "scalar"]
      : KERNELS.staged[staged],
    constants: {
      TRANS_A: transA,
      TRANS_B: transB,
      BIAS: bias,
      ACCUMULATE: accumulate,
      ACTIVATION: ACTIVATIONS[activation],
      RAGGED_K: k % (family === "subgroup" ? 8 : 4) !== 0,
      ...tile.constants,
    },
    params,
    workgroups,
  };
}

/** Workgroups for a batch of [m, n] results in tiles of `rows` x `columns`: along n, along m, batch. */
export function matmulWorkgroups(
  size: { readonly m: number; readonly n: number; readonly batch: number },
  tile: { readonly rows: number; readonly columns: number },
): [number, number, number] {
  return [Math.ceil(size.n / tile.columns), Math.ceil(size.m / tile.rows), size.batch];
}

/** The kernels' parameters, with packed matrices where the problem says nothing else. */
function matmulParams(problem: MatmulProblem): Record<MatmulParameters, number> {
  const { m, n, k, transA = false, transB = false, batchInner = 1, alpha = 1 } = problem;
  const { lda = transA ? m : k, ldb = transB ? k : n, ldc = n } = problem;
  const { offsetA = 0, offsetB = 0, offsetC = 0 } = problem;
  const packed = (size: number): readonly [number, number] => [size * batchInner, size];
  const [aOuter, aInner] = problem.strideA ?? packed((transA ? k : m) * lda);
  const [bOuter, bInner] = problem.strideB ?? packed((transB ? n : k) * ldb);
  const [cOuter, cInner] = problem.strideC ?? packed(m * ldc);
  return {
    m,
    n,
    k,
    batch_inner: batchInner,
    lda,
    ldb,
    ldc,
    off_a: offsetA,
    off_b: offsetB,
    off_c: offsetC,
    a_outer: aOuter,
    a_inner: aInner,
    b_outer: bOuter,
    b_inner: bInner,
    c_outer: cOuter,
    c_inner: cInner,
    alpha,
  };
}

/** The subgroup kernel's tile that computes [m, n] in the least time. */
function subgroupTile(m: number, n: number, lanes: number): Tile {
  let best: Tile | undefined;
  let least = Infinity;
  for (const { shared, own, speed } of SUBGROUP_TILES) {
    if (shared > 4 * lanes) continue;
    const owned = own * lanes;
    for (const ownRows of [false, true]) {
      const [rows, columns] = ownRows ? [owned, shared] : [shared, owned];
      const groups = matmulWorkgroups({ m, n, batch: 1 }, { rows, columns });
      const time = groups[0] * columns * groups[1] * rows / speed;
      if (time >= least) continue;
      least = time;
      const constants = {
        LANES: lanes,
        SHARED_TILE: shared,
        OWNED_TILE: owned,
        OWN_ROWS: ownRows,
      };
      best = { rows, columns, constants };
    }
  }
  return best!;
}

/** Which operands are read so often that their copy to a texture pays. */
function stagedOperands(
  problem: MatmulProblem,
  [columns, rows]: readonly [number, number, number],
): keyof typeof OPERANDS {
  const { m, n, k, batch = 1 } = problem;
  const { sizeA = batch * m * k, sizeB = batch * n * k } = problem;
  const a = columns * batch * m * k >= STAGED_READS * sizeA;
  const b = rows * batch * n * k >= STAGED_READS * sizeB;
  return a ? (b ? "both" : "a") : b ? "b" : "neither";
}

/** The tiled kernel's tile: the larger one where it is neither mostly padding nor too few of them. */
function tiledTile(m: number, n: number, batch: number): Tile {
  const [columns, rows] = matmulWorkgroups({ m, n, batch }, { rows: 128, columns: 128 });
  const large = Math.min(m, n) > 64 && columns * rows * batch >= BUSY_WORKGROUPS;
  const size = large ? 128 : 64;
  return { rows: size, columns: size, constants: { TILE: size } };
}

function matmulKernel(
  name: string,
  operands: typeof OPERANDS[keyof typeof OPERANDS] | null,
  product: string,
): Kernel<MatmulBuffers, MatmulParameters> {
  const { source, a, b, suffix } = operands ??
    { source: "", a: "read", b: "read", suffix: "" } as const;
  return defineKernel({
    name: name + suffix,
    source: common + source + product,
    buffers: { a, b, bias: "read", c: "read_write" },
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
}
