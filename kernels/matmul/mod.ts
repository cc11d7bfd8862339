import { type Form, inForm } from "../element.ts";
import {
  type OperandForm,
  operandForm,
  operandSuffix,
  type Precision,
  withOperands,
} from "../operands.ts";
import { type BufferType, f32, type Kernel, u32 } from "../spec.ts";
import { type KernelTarget, productSize, type ProductTile, tileCost } from "../target.ts";
import common from "./common.wgsl" with { type: "text" };
import scalarOperands from "./operands_scalar.wgsl" with { type: "text" };
import vec4Operands from "./operands_vec4.wgsl" with { type: "text" };
import subgroup from "./subgroup.wgsl" with { type: "text" };
import tiled from "./tiled.wgsl" with { type: "text" };

/** Work of a product beside bias and activation; common.wgsl says what each does. */
export type MatmulExtra = "none" | "update" | "residual" | "keep" | "gelu_backward";

/** Codes of `EXTRA`. */
export const matmulExtras: Readonly<Record<MatmulExtra, number>> = {
  none: 0,
  update: 1,
  residual: 2,
  keep: 3,
  gelu_backward: 4,
};

/** Function of each element of a product. */
export type MatmulActivation = "none" | "gelu" | "relu";

/** Codes of `ACTIVATION`. */
export const matmulActivations: Readonly<Record<MatmulActivation, number>> = {
  none: 0,
  gelu: 1,
  relu: 2,
};

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
 * Layout of a batch of matrices in BLAS's terms: element (row, column) of matrix (i, j) lies at
 * offset + i outer + j inner + row ld + column, in f32 elements.
 */
export interface MatrixLayout {
  /** Elements from one stored row to the next. */
  readonly ld: number;
  /** Read each matrix as its transpose. */
  readonly transpose?: boolean;
  /** First element; 0 by default. */
  readonly offset?: number;
  /** Elements from one matrix to the next along the outer batch axis; 0 by default, which repeats the same matrix. */
  readonly outer?: number;
  /** Elements from one matrix to the next along the inner batch axis; 0 by default. */
  readonly inner?: number;
}

/** C = activation(alpha op(A) op(B) + bias) for a batch of outer x inner matrices, or added to C. */
export interface MatmulProblem {
  /** Rows of C. */
  readonly m: number;
  /** Columns of C. */
  readonly n: number;
  /** Length of the sums. */
  readonly k: number;
  /** [m, k] after its transposition. */
  readonly a: MatrixLayout;
  /** [k, n] after its transposition, [n, k] before it, as PyTorch stores a Linear layer's weight. */
  readonly b: MatrixLayout;
  /** [m, n], not transposed. */
  readonly c: MatrixLayout;
  /** Matrices along the outer and inner batch axes; 1 and 1 by default. */
  readonly batch?: readonly [outer: number, inner: number];
  /** Factor of the product; 1 by default. */
  readonly alpha?: number;
  /** True if a bias [n] is added to every row. */
  readonly bias?: boolean;
  /** True if the product is added to C's content. */
  readonly accumulate?: boolean;
  /** Applied last; `none` by default. */
  readonly activation?: MatmulActivation;
  /** Precision of the operands, `f32` by default. */
  readonly precision?: Precision;
  /** Further operation, for problems that are read by fours; `none` by default. */
  readonly extra?: MatmulExtra;
  /** Name of the tile, one of {@linkcode matmulTiles}; the first of those by default. */
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

/**
 * A way to compute products.
 *
 * One on subgroup matrices, once WGSL has them, would be the first of the list, with a condition on the target in place
 * of `lanes`, and take problems of precision f16 alone: a matrix of A's and one of B's operands as f16 and a matrix of
 * sums as f32 are what the other families compute, to the order of the sums.
 */
interface Family {
  /** Name of its kernels and of its WGSL file. */
  readonly name: string;
  readonly source: string;
  /** Lanes of a subgroup that it is made for; none if it needs no subgroups. */
  readonly lanes: readonly number[];
  /** Forms of operands that it has. */
  readonly operands: readonly OperandForm[];
  /** Tiles for a device. */
  readonly tiles: (target: KernelTarget) => readonly Tile[];
}

/** Workgroups along one dimension that WebGPU guarantees. */
const MAXIMUM_WORKGROUPS = 65_535;

/** Lines of subgroup.wgsl that all lanes share, and lines that each lane owns. */
const lines = { shared_lines: 16, owned_lines: 8 } as const;

/** Families by preference: the first one that is made for the device's subgroups computes its products. */
const FAMILIES: readonly Family[] = [
  {
    name: "subgroup",
    source: subgroup,
    lanes: [4, 8, 16], // each lane loads 4 of the shared lines
    operands: ["f32", "rounded"],
    tiles: ({ lanes }) => {
      const owned = lines.owned_lines * lanes;
      return [
        subgroupTile({ rows: lines.shared_lines, columns: owned, lanes, own: "columns" }),
        subgroupTile({ rows: owned, columns: lines.shared_lines, lanes, own: "rows" }),
      ];
    },
  },
  {
    name: "tiled",
    source: tiled,
    lanes: [],
    operands: ["f32", "rounded", "f16"],
    tiles: (target) => target.products.map((tile) => tiledTile(tile, target)),
  },
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
    cost: ({ m, n, b: { transpose = false } }) => {
      const padded = Math.ceil(m / rows) * rows * Math.ceil(n / columns) * columns;
      // However B lies, its loads are cheaper one way round.
      return padded * ((own === "rows") === transpose ? 1 : 0.97);
    },
  };
}

/** A tile for a GPU; that of the least time costs least. */
function tiledTile(tile: ProductTile, target: KernelTarget): Tile {
  const { name, threads: [x, y], blocks: [down, across], depth, speed } = tile;
  const [rows, columns] = productSize(tile);
  return {
    name,
    rows,
    columns,
    constants: {
      THREADS_X: x,
      THREADS_Y: y,
      BLOCKS_M: down,
      BLOCKS_N: across,
      TILE_K: depth,
    },
    cost: ({ m, n, batch: [outer, inner] = [1, 1] }) => {
      const workgroups = Math.ceil(m / rows) * Math.ceil(n / columns) * outer * inner;
      return tileCost(target, { workgroups, area: rows * columns, speed });
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
  FAMILIES.flatMap((family) =>
    family.operands.flatMap((operands) => [
      matmulKernel(family, { form: "scalar", extra: "none", operands }),
      ...(Object.keys(matmulExtras) as MatmulExtra[]).map((extra) =>
        matmulKernel(family, { form: "vec4", extra, operands })
      ),
    ])
  ).map((kernel) => [kernel.name, kernel]),
);

/** All matrix-product kernels. */
export const matmulKernels: readonly Kernel<string, MatmulParameters>[] = [...KERNELS.values()];

/**
 * Chooses kernel, tile and access for a batch of matrix products.
 *
 * Access is by vec4 if every leading dimension, offset and stride is a multiple of 4, and so is n, and k if A or B
 * is contiguous along it. A product with few rows and columns and a long `k` can be spread over more workgroups by
 * making slices of `k` a batch with a C each, to be summed afterwards.
 *
 * @param target The device.
 * @throws {RangeError} if the problem is empty or has more tiles along a dimension than WebGPU dispatches, or if an
 * extra meets a problem that is not read by fours.
 */
export function planMatmul(problem: MatmulProblem, target: KernelTarget): MatmulPlan {
  const { m, n, k, a, b, batch: [outer, inner] = [1, 1] } = problem;
  const { bias = false, accumulate = false, activation = "none", extra = "none" } = problem;
  const operands = operandForm(problem.precision ?? "f32", target);
  const batch = outer * inner;
  const text = `matrix product of ${batch} x [${m}, ${k}] x [${k}, ${n}]`;
  if (!(m > 0 && n > 0 && k > 0 && batch > 0)) throw new RangeError(`${text} is empty`);
  const form = isReadByFours(problem) ? "vec4" : "scalar";
  if (extra !== "none" && form === "scalar") {
    throw new RangeError(`a matrix product with ${extra} must be read by fours`);
  }
  const family = familyOf(target);
  const tiles = tilesOf(problem, target);
  const tile = tiles.find(({ name }) => name === problem.tile) ?? tiles[0];
  const workgroups = [Math.ceil(n / tile.columns), Math.ceil(m / tile.rows), batch] as const;
  if (Math.max(...workgroups) > MAXIMUM_WORKGROUPS) {
    throw new RangeError(
      `${text} takes ${
        workgroups.join(" x ")
      } workgroups, at most ${MAXIMUM_WORKGROUPS} fit in a ` +
        "dimension: split the batch",
    );
  }
  return {
    kernel: KERNELS.get(kernelName(family, { form, extra, operands }))!,
    constants: {
      TRANS_A: a.transpose ?? false,
      TRANS_B: b.transpose ?? false,
      BIAS: bias,
      ACCUMULATE: accumulate,
      ACTIVATION: matmulActivations[activation],
      RAGGED_K: k % 4 !== 0,
      ...tile.constants,
    },
    params: paramsOf(problem),
    workgroups,
  };
}

/**
 * True if a problem is read and stored by vec4, which the extras require: C's rows are stored by fours, and k
 * must end with an operand's load along it. An operand that is loaded across k may run over its m
 * or n into padding: such sums are not stored.
 */
function isReadByFours({ n, k, a, b, c, updateK = 0 }: MatmulProblem): boolean {
  const alongK = !a.transpose || b.transpose;
  const layouts = [a, b, c].flatMap((
    { ld, offset = 0, outer = 0, inner = 0 },
  ) => [ld, offset, outer, inner]);
  return [n, alongK ? k : 0, updateK, ...layouts].every((count) => count % 4 === 0);
}

function paramsOf(problem: MatmulProblem): Record<MatmulParameters, number> {
  const { m, n, k, a, b, c, batch: [, batch_inner] = [1, 1], alpha = 1 } = problem;
  return {
    m,
    n,
    k,
    batch_inner,
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
    alpha,
    update_k: problem.updateK ?? 0,
    update_alpha: problem.updateAlpha ?? 1,
  };
}

/** Names of the tiles that a problem can be computed in, the cheapest first. */
export function matmulTiles(problem: MatmulProblem, target: KernelTarget): string[] {
  return tilesOf(problem, target).map(({ name }) => name);
}

function tilesOf(problem: MatmulProblem, target: KernelTarget): Tile[] {
  return familyOf(target).tiles(target)
    .toSorted((a, b) => a.cost(problem) - b.cost(problem));
}

function familyOf({ lanes }: KernelTarget): Family {
  return FAMILIES.find((family) => family.lanes.length === 0 || family.lanes.includes(lanes))!;
}

/** Traits of the kernels of a family. */
interface Variant {
  readonly form: Form;
  readonly extra: MatmulExtra;
  readonly operands: OperandForm;
}

function kernelName(family: Family, { form, extra, operands }: Variant): string {
  const suffix = `${extra === "none" ? "" : `_${extra}`}${operandSuffix(operands)}`;
  return `matmul_${family.name}_${form}${suffix}`;
}

function matmulKernel(family: Family, variant: Variant): Kernel<string, MatmulParameters> {
  const { form, extra, operands } = variant;
  const kernel: Kernel<string, MatmulParameters> = {
    name: kernelName(family, variant),
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
  };
  return inForm(withOperands(kernel, operands), form);
}
