import { type Access, defineKernel, type Kernel } from "../spec.ts";
import common from "./common.wgsl" with { type: "text" };
import epilogueGeluBackward from "./epilogue_gelu_backward.wgsl" with { type: "text" };
import epilogueKeep from "./epilogue_keep.wgsl" with { type: "text" };
import epilogueNone from "./epilogue_none.wgsl" with { type: "text" };
import epilogueResidual from "./epilogue_residual.wgsl" with { type: "text" };
import noUpdate from "./no_update.wgsl" with { type: "text" };
import scalarAccess from "./scalar.wgsl" with { type: "text" };
import subgroupProduct from "./subgroup.wgsl" with { type: "text" };
import tiledProduct from "./tiled.wgsl" with { type: "text" };
import update from "./update.wgsl" with { type: "text" };
import vec4Access from "./vec4.wgsl" with { type: "text" };

/**
 * What a product does beside adding a bias and an activation, each with buffers of its own:
 *
 * - `update`: adds `updateAlpha H opB(U)` to it (buffers `update_a`, `update_b`; matmul_update.wgsl);
 * - `residual`: adds a matrix laid out as C before the activation (buffer `residual`);
 * - `keep`: stores what goes into the activation in a second C (buffer `kept`);
 * - `gelu-backward`: multiplies by the derivative of GELU at a matrix laid out as C (buffer `kept`).
 */
export type MatmulExtra = "none" | "update" | "residual" | "keep" | "gelu-backward";

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
  | "alpha"
  | "update_k"
  | "update_alpha";

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
  /** What else happens, where the problem is read by fours; `none` if absent. */
  readonly extra?: MatmulExtra;
  /** The tile by its name, one of {@linkcode matmulTiles}; by default the first of those. */
  readonly tile?: string;
  /** Length of the update's sums. */
  readonly updateK?: number;
  /** Factor of the update. */
  readonly updateAlpha?: number;
}

/** All that a dispatch needs beside the buffers. */
export interface MatmulPlan {
  /** The kernel that suits the device and the alignment. */
  readonly kernel: Kernel<string, MatmulParameters>;
  /** Its override constants, always in the same order. */
  readonly constants: Readonly<Record<string, number | boolean>>;
  /** Its parameters. */
  readonly params: Readonly<Record<MatmulParameters, number>>;
  /** Tiles along n, tiles along m, matrices. */
  readonly workgroups: readonly [number, number, number];
}

/** A tile of C that one workgroup computes. */
interface Tile {
  /** Unique among the tiles of a device. */
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  readonly constants: Readonly<Record<string, number | boolean>>;
}

/** Workgroups along one dimension that WebGPU guarantees. */
const MAXIMUM_WORKGROUPS = 65_535;

/** Workgroups from which the large GPU tile keeps a large GPU busy. */
const BUSY_WORKGROUPS = 128;

const ACTIVATIONS = { none: 0, gelu: 1, relu: 2 } as const;

/** Lines that the lanes of matmul_subgroup.wgsl share. */
const SHARED_LINES = 16;

/** Lines that each lane owns. */
const OWNED_LINES = 8;

/** Lanes that matmul_subgroup.wgsl is made for: each loads 4 of the shared lines. */
const SUBGROUP_LANES = [4, 8, 16];

/** Sources and buffers of the extras. */
const EXTRAS: Record<MatmulExtra, { source: string; buffers: Record<string, Access> }> = {
  none: { source: noUpdate + epilogueNone, buffers: {} },
  update: { source: update + epilogueNone, buffers: { update_a: "texel", update_b: "texel" } },
  residual: { source: noUpdate + epilogueResidual, buffers: { residual: "texel" } },
  keep: { source: noUpdate + epilogueKeep, buffers: { kept: "read_write" } },
  "gelu-backward": { source: noUpdate + epilogueGeluBackward, buffers: { kept: "texel" } },
};

const FAMILIES = { subgroup: subgroupProduct, tiled: tiledProduct } as const;

const ACCESSES = { vec4: vec4Access, scalar: scalarAccess } as const;

/** Every kernel of the family by its name. */
const KERNELS: ReadonlyMap<string, Kernel<string, MatmulParameters>> = new Map(
  (["subgroup", "tiled"] as const).flatMap((family) => [
    matmulKernel(family, "scalar", "none"),
    ...(Object.keys(EXTRAS) as MatmulExtra[]).map((extra) => matmulKernel(family, "vec4", extra)),
  ]).map((kernel) => [kernel.name, kernel]),
);

/** All matrix-product kernels. */
export const matmulKernels: readonly Kernel<string, MatmulParameters>[] = [...KERNELS.values()];

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
  const { bias = false, accumulate = false, activation = "none", extra = "none" } = problem;
  if (!(m > 0 && n > 0 && k > 0 && batch > 0)) {
    throw new RangeError(`matrix product of ${batch} x [${m}, ${k}] x [${k}, ${n}] is empty`);
  }
  const params = matmulParams(problem);
  const aligned = isReadByFours(problem);
  if (extra !== "none" && !aligned) {
    throw new RangeError(`a matrix product with ${extra} must be read by fours`);
  }
  const family = SUBGROUP_LANES.includes(subgroupSize) ? "subgroup" : "tiled";
  const tiles = tilesOf(problem, subgroupSize);
  const tile = tiles.find(({ name }) => name === problem.tile) ?? tiles[0];
  const workgroups = matmulWorkgroups({ m, n, batch }, tile);
  if (Math.max(...workgroups) > MAXIMUM_WORKGROUPS) {
    throw new RangeError(
      `matrix product of ${batch} x [${m}, ${k}] x [${k}, ${n}] takes ${
        workgroups.join(" x ")
      } workgroups, at most ${MAXIMUM_WORKGROUPS} fit in a dimension: split the batch`,
    );
  }
  return {
    kernel: KERNELS.get(kernelName(family, aligned ? "vec4" : "scalar", extra))!,
    constants: {
      TRANS_A: transA,
      TRANS_B: transB,
      BIAS: bias,
      ACCUMULATE: accumulate,
      ACTIVATION: ACTIVATIONS[activation],
      RAGGED_K: k % 4 !== 0,
      ...tile.constants,
    },
    params,
    workgroups,
  };
}

/**
 * Whether a problem is read and stored by vec4, which the extras require: C's rows are stored by fours, and k
 * must end where an operand's load along it ends. An operand that is loaded across k may run over its m
 * or n into padding: such sums are not stored.
 */
function isReadByFours(problem: MatmulProblem): boolean {
  const { n, k, transA = false, transB = false, updateK = 0 } = problem;
  const params = matmulParams(problem);
  return [
    n,
    !transA || transB ? k : 0,
    updateK,
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
  const { updateK = 0, updateAlpha = 1 } = problem;
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
    update_k: updateK,
    update_alpha: updateAlpha,
  };
}

/**
 * The names of the tiles that a problem can be computed in, the one that a cost model thinks the best
 * first.
 */
export function matmulTiles(problem: MatmulProblem, subgroupSize: number): string[] {
  return tilesOf(problem, subgroupSize).map(({ name }) => name);
}

function tilesOf(problem: MatmulProblem, subgroupSize: number): Tile[] {
  return SUBGROUP_LANES.includes(subgroupSize)
    ? subgroupTiles(problem, subgroupSize)
    : tiledTiles(problem);
}

/** The subgroup kernel's tiles, the one with less padding for [m, n] first. */
function subgroupTiles({ m, n, transB = false }: MatmulProblem, lanes: number): Tile[] {
  const owned = OWNED_LINES * lanes;
  return [false, true].map((ownRows) => {
    const [rows, columns] = ownRows ? [owned, SHARED_LINES] : [SHARED_LINES, owned];
    const groups = matmulWorkgroups({ m, n, batch: 1 }, { rows, columns });
    // Whichever way B lies, its loads are cheaper one way round.
    const cost = groups[0] * columns * groups[1] * rows * (ownRows === transB ? 1 : 0.97);
    const name = `${rows} x ${columns}, lanes own ${ownRows ? "rows" : "columns"}`;
    return { tile: { name, rows, columns, constants: { LANES: lanes, OWN_ROWS: ownRows } }, cost };
  }).sort((a, b) => a.cost - b.cost).map(({ tile }) => tile);
}

/** The tiled kernel's tiles: the larger one first where it is neither mostly padding nor too few of them. */
function tiledTiles({ m, n, batch = 1 }: MatmulProblem): Tile[] {
  const [columns, rows] = matmulWorkgroups({ m, n, batch }, { rows: 128, columns: 128 });
  const large = Math.min(m, n) > 64 && columns * rows * batch >= BUSY_WORKGROUPS;
  return (large ? [128, 64] : [64, 128]).map((size) => ({
    name: `${size} x ${size}`,
    rows: size,
    columns: size,
    constants: { TILE: size },
  }));
}

function kernelName(
  family: keyof typeof FAMILIES,
  access: keyof typeof ACCESSES,
  extra: MatmulExtra,
): string {
  const suffix = extra === "none" ? "" : `_${extra.replaceAll("-", "_")}`;
  return `matmul_${family}_${access}${suffix}`;
}

function matmulKernel(
  family: keyof typeof FAMILIES,
  access: keyof typeof ACCESSES,
  extra: MatmulExtra,
): Kernel<string, MatmulParameters> {
  return defineKernel<string, MatmulParameters>({
    name: kernelName(family, access, extra),
    source: common + ACCESSES[access] + EXTRAS[extra].source + FAMILIES[family],
    buffers: {
      a: "texel",
      b: "texel",
      bias: "texel",
      c: "read_write",
      ...EXTRAS[extra].buffers,
    },
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
      update_k: "u32",
      update_alpha: "f32",
    },
  });
}
