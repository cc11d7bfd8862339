import { type Form, inForm } from "../element.ts";
import { type BufferType, f32, type Kernel, u32 } from "../spec.ts";
import common from "./common.wgsl" with { type: "text" };
import scalarOperands from "./operands_scalar.wgsl" with { type: "text" };
import vec4Operands from "./operands_vec4.wgsl" with { type: "text" };
import subgroup from "./subgroup.wgsl" with { type: "text" };
import tiled from "./tiled.wgsl" with { type: "text" };

/** Codes of `EXTRA`: work of a product beside bias and activation; common.wgsl says what each does. */
export const matmulExtras = { none: 0, update: 1, residual: 2, keep: 3, gelu_backward: 4 } as const;

/** Name of an extra. */
export type MatmulExtra = keyof typeof matmulExtras;

/** Codes of `ACTIVATION`. */
export const matmulActivations = { none: 0, gelu: 1, relu: 2 } as const;

const params = {
  ...u32("m", "n", "k", "batch_inner", "lda", "ldb", "ldc", "off_a", "off_b", "off_c"),
  ...u32("a_outer", "a_inner", "b_outer", "b_inner", "c_outer", "c_inner"),
  ...f32("alpha"),
  ...u32("update_k"),
  ...f32("update_alpha"),
};

/** Fields of the matrix-product kernels' `Params`. */
export type MatmulParameters = keyof typeof params;

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
  /** Applied last; `none` if absent. */
  readonly activation?: keyof typeof matmulActivations;
  /** For problems that are read by fours; `none` if absent. */
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
  /** Rows of C. */
  readonly rows: number;
  /** Columns of C. */
  readonly columns: number;
  /** Overrides that make the kernel compute it. */
  readonly constants: Readonly<Record<string, number | boolean>>;
  /** Cost of a problem in it, by which tiles of one family compare. */
  readonly cost: (problem: MatmulProblem) => number;
}

/** A way to compute products. */
interface Family {
  /** Name of its kernels and of its WGSL file. */
  readonly name: string;
  readonly source: string;
  /** Lanes of a subgroup that it is made for; none if it needs no subgroups. */
  readonly lanes: readonly number[];
  /** Tiles for so many lanes. */
  readonly tiles: (lanes: number) => readonly Tile[];
}

/** Workgroups along one dimension that WebGPU guarantees. */
const MAXIMUM_WORKGROUPS = 65_535;

/** Workgroups from which the large GPU tile keeps a large GPU busy. */
const BUSY_WORKGROUPS = 128;

/** Lines of subgroup.wgsl that all lanes share, and lines that each lane owns. */
const lines = { shared_lines: 16, owned_lines: 8 } as const;

/** Families by preference: the first one that is made for the device's subgroups computes its products. */
const FAMILIES: readonly Family[] = [
  {
    name: "subgroup",
    source: subgroup,
    lanes: [4, 8, 16], // each lane loads 4 of the shared lines
    tiles: (lanes) => {
      const owned = lines.owned_lines * lanes;
      return [
        subgroupTile({ rows: lines.shared_lines, columns: owned, lanes, own: "columns" }),
        subgroupTile({ rows: owned, columns: lines.shared_lines, lanes, own: "rows" }),
      ];
    },
  },
  { name: "tiled", source: tiled, lanes: [], tiles: () => [tiledTile(64), tiledTile(128)] },
];

/** A tile whose lanes own rows or columns; the one with less padding for [m, n] costs less. */
function subgroupTile(
  { rows, columns, lanes, own }: {
    rows: number;
    columns: number;
    lanes: number;
    own: "rows" | "columns";
  },
): Tile {
  return {
    name: `${rows} x ${columns}, lanes own ${own}`,
    rows,
    columns,
    constants: { LANES: lanes, OWN_ROWS: own === "rows" },
    cost: ({ m, n, transB = false }) => {
      const [across, down] = matmulWorkgroups({ m, n, batch: 1 }, { rows, columns });
      // Whichever way B lies, its loads are cheaper one way round.
      return across * columns * down * rows * ((own === "rows") === transB ? 1 : 0.97);
    },
  };
}

/** A square tile; the larger one costs less if it is neither mostly padding nor too rare. */
function tiledTile(size: 64 | 128): Tile {
  return {
    name: `${size} x ${size}`,
    rows: size,
    columns: size,
    constants: { TILE: size },
    cost: ({ m, n, batch = 1 }) => {
      if (size === 64) return 1;
      const [across, down] = matmulWorkgroups({ m, n, batch }, { rows: size, columns: size });
      return Math.min(m, n) > 64 && across * down * batch >= BUSY_WORKGROUPS ? 0.5 : 2;
    },
  };
}

/** Buffers of the extras, beside those of all products. */
const EXTRA_BUFFERS: Readonly<Record<MatmulExtra, Readonly<Record<string, BufferType>>>> = {
  none: {},
  update: { update_a: "texel vec4<f32>", update_b: "texel vec4<f32>" },
  residual: { residual: "texel vec4<f32>" },
  keep: { kept: "write vec4<f32>" },
  gelu_backward: { kept: "texel vec4<f32>" },
};

/** Every kernel by its name. */
const KERNELS: ReadonlyMap<string, Kernel<string, MatmulParameters>> = new Map(
  FAMILIES.flatMap((family) => [
    matmulKernel(family, "scalar", "none"),
    ...(Object.keys(matmulExtras) as MatmulExtra[]).map((extra) =>
      matmulKernel(family, "vec4", extra)
    ),
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
  const family = familyOf(subgroupSize);
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
      ACTIVATION: matmulActivations[activation],
      RAGGED_K: k % 4 !== 0,
      ...tile.constants,
    },
    params,
    workgroups,
  };
}

/**
 * True if a problem is read and stored by vec4, which the extras require: C's rows are stored by fours, and k
 * must end with an operand's load along it. An operand that is loaded across k may run over its m
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

/** Names of the tiles that a problem can be computed in, the cheapest first. */
export function matmulTiles(problem: MatmulProblem, subgroupSize: number): string[] {
  return tilesOf(problem, subgroupSize).map(({ name }) => name);
}

function tilesOf(problem: MatmulProblem, subgroupSize: number): Tile[] {
  return familyOf(subgroupSize).tiles(subgroupSize)
    .toSorted((a, b) => a.cost(problem) - b.cost(problem));
}

function familyOf(subgroupSize: number): Family {
  return FAMILIES.find(({ lanes }) => lanes.length === 0 || lanes.includes(subgroupSize))!;
}

function kernelName(family: Family, form: Form, extra: MatmulExtra): string {
  return `matmul_${family.name}_${form}${extra === "none" ? "" : `_${extra}`}`;
}

function matmulKernel(
  family: Family,
  form: Form,
  extra: MatmulExtra,
): Kernel<string, MatmulParameters> {
  return inForm<string, MatmulParameters>({
    name: kernelName(family, form, extra),
    files: {
      "matmul/common.wgsl": common,
      [`matmul/operands_${form}.wgsl`]: form === "vec4" ? vec4Operands : scalarOperands,
      [`matmul/${family.name}.wgsl`]: family.source,
    },
    consts: { ...matmulExtras, ...matmulActivations, ...lines, extra: matmulExtras[extra] },
    buffers: {
      a: "texel Element",
      b: "texel Element",
      bias: "texel f32",
      c: "read_write Element",
      ...EXTRA_BUFFERS[extra],
    },
    optional: {
      update_a: "vec4<f32>",
      update_b: "vec4<f32>",
      residual: "vec4<f32>",
      kept: "vec4<f32>",
    },
    params,
  }, form);
}
