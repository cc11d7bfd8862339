import { noGrad, record } from "../autograd.ts";
import { tidy } from "../scope.ts";
import { sameShape, shapeError, shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { type AttentionOptions, headsText } from "./attention.ts";
import { zeros } from "./fill.ts";
import { gemm, type Matrix } from "./gemm.ts";
import {
  attend,
  attendBackward,
  type Attention,
  type AttentionWindows,
  qkvBands,
  type QkvLayout,
  qkvLayout,
  queryRows,
} from "./heads.ts";
import { concat, slice } from "./movement.ts";
import { sum } from "./sum.ts";

/** Options of {@linkcode decomposedAttention}. */
export interface DecomposedAttentionOptions extends AttentionOptions {
  /** Height and width of the grid that attends to itself, in tokens in reading order. */
  readonly grid: readonly [height: number, width: number];
  /** Attend within windows of images, each such a grid, instead of whole batch elements. */
  readonly windows?: AttentionWindows | null;
}

/** The relative positions along both axes in one table, each filled up to a multiple of 4 rows. */
class RelativePositions {
  /** Along the grid's height, then its width. */
  readonly axes: readonly {
    /** First row in the table. */
    readonly offset: number;
    /** Relative positions. */
    readonly length: number;
    /** Rows in the table. */
    readonly filled: number;
  }[];
  /** Rows of the table. */
  readonly rows: number;

  constructor(grid: readonly [number, number]) {
    const [height, width] = grid.map((n) => 2 * n - 1);
    const filled = (length: number) => Math.ceil(length / 4) * 4;
    this.axes = [
      { offset: 0, length: height, filled: filled(height) },
      { offset: filled(height), length: width, filled: filled(width) },
    ];
    this.rows = filled(height) + filled(width);
  }

  /** [rows, depth] from [2 height - 1, depth] and [2 width - 1, depth]. */
  join(tables: readonly Tensor[]): Tensor {
    const { gpu } = tables[0];
    return noGrad(gpu, () =>
      tidy(gpu, () =>
        concat(
          tables.flatMap((table, i) => {
            const { length, filled } = this.axes[i];
            return [table.detach(), zeros(table.gpu, [filled - length, table.shape[1]])];
          }),
          0,
        )));
  }

  /** The two parts of the table's gradient. */
  split(dTable: Tensor): Tensor[] {
    return this.axes.map(({ offset, length }) =>
      slice(dTable, { axis: 0, start: offset, end: offset + length })
    );
  }
}

/** Rows of all heads' queries as matrices, one for each image and head. */
function queryMatrices({ bands, head, image }: Attention): Matrix {
  const { tensor, offset, row } = bands.query;
  return { tensor, ld: row, offset, outer: image[0] * image[1] * row, inner: head };
}

/** Products [rows, heads, positions] as matrices, one for each image and head. */
function productMatrices(tensor: Tensor, { image }: Attention): Matrix {
  const [, heads, positions] = tensor.shape;
  const ld = heads * positions;
  return { tensor, ld, outer: image[0] * image[1] * ld, inner: positions };
}

/** The products of all queries with all relative positions: [rows, heads, positions]. */
function relativeProducts(problem: Attention, table: Tensor): Tensor {
  const { batch, heads, depth, image } = problem;
  const [positions] = table.shape;
  const products = Tensor.empty(table.gpu, [queryRows(problem), heads, positions]);
  gemm({
    m: image[0] * image[1],
    n: positions,
    k: depth,
    a: queryMatrices(problem),
    b: { tensor: table, ld: depth, transpose: true },
    c: productMatrices(products, problem),
    batch: [batch, heads],
  });
  return products;
}

/** Adds the gradient that comes through the products, dr R, to the queries' gradient. */
function addToQueries(problem: Attention, dProducts: Tensor, table: Tensor): void {
  const { batch, heads, depth, image } = problem;
  gemm({
    m: image[0] * image[1],
    n: depth,
    k: table.shape[0],
    a: productMatrices(dProducts, problem),
    b: { tensor: table, ld: depth },
    c: queryMatrices(problem),
    batch: [batch, heads],
    accumulate: true,
  });
}

/** The table's gradient: drᵀ q, summed over images and heads. */
function tableGradient(problem: Attention, dProducts: Tensor): Tensor {
  const { batch, heads, depth, image } = problem;
  const positions = dProducts.shape[2];
  using parts = Tensor.empty(dProducts.gpu, [batch, heads, positions, depth]);
  gemm({
    m: positions,
    n: depth,
    k: image[0] * image[1],
    a: { ...productMatrices(dProducts, problem), transpose: true },
    b: queryMatrices(problem),
    c: {
      tensor: parts,
      ld: depth,
      outer: heads * positions * depth,
      inner: positions * depth,
    },
    batch: [batch, heads],
  });
  return sum(parts, { axes: [0, 1] });
}

/** Operands of {@linkcode decomposedAttention}, checked. */
interface Checked {
  readonly layout: QkvLayout;
  readonly positions: RelativePositions;
  /** Factor of the scores. */
  readonly scale: number;
}

/** Checks the shapes. The grid is the window, or without windows the image as well. */
function check(
  qkv: Tensor,
  { relPosH, relPosW }: RelativeTables,
  { heads, grid, windows, scale }: DecomposedAttentionOptions,
): Checked {
  const layout = qkvLayout(qkv, { heads, layout: "thirds", windows });
  if (
    !layout || layout.window[0] * layout.window[1] !== grid[0] * grid[1] ||
    !sameShape(relPosH.shape, [2 * grid[0] - 1, layout.depth]) ||
    !sameShape(relPosW.shape, [2 * grid[1] - 1, layout.depth])
  ) {
    const details = ` on a grid ${shapeText(grid)} for ${headsText({ heads, windows })}`;
    throw shapeError("decomposedAttention", { qkv, relPosH, relPosW }, details);
  }
  return {
    layout: windows ? layout : { ...layout, image: grid, window: grid },
    positions: new RelativePositions(grid),
    scale: scale ?? 1 / Math.sqrt(layout.depth),
  };
}

/** The attention without its bias, which is computed from it. */
function unbiased(qkv: Tensor, { layout, scale }: Checked): Attention {
  return { ...layout, scale, bands: qkvBands(qkv, layout), keys: null, bias: null };
}

/** The attention with the products of queries and relative positions as its bias. */
function biased(problem: Attention, products: Tensor, { positions }: Checked): Attention {
  const across = positions.axes[1].offset;
  return { ...problem, bias: { kind: "relative", tensor: products, across } };
}

/** Tables of relative positions. */
export interface RelativeTables {
  /** Rh: [2 height - 1, d] */
  readonly relPosH: Tensor;
  /** Rw: [2 width - 1, d] */
  readonly relPosW: Tensor;
}

/**
 * Multi-head self-attention over tokens on a grid, with decomposed relative positions: the score of
 * query (y, x) and key (y', x') is scale q·k + q·Rh[y - y' + height - 1] + q·Rw[x - x' + width - 1].
 *
 * Held in memory are the products r of each query with all relative positions, computed again for the
 * backward pass, and never a score for each query and key. With ds the gradient of the scores and dr its
 * sums over the keys of equal relative position along an axis: dq gains dr R, and dR = drᵀ q.
 *
 * Windows that reach beyond the image are filled up with padding, whose keys and values take part in the
 * attention. The padding's projection is the last row.
 *
 * Source: Li et al. 2022, "MViTv2", eq. 4, as used by SAM's ViT.
 *
 * @param qkv [B, height width, 3 heads d]: q of all heads, then k, then v. With windows [B H W, 3 heads d],
 *   or if H or W is no multiple of the windows' size [B H W + 1, 3 heads d].
 * @returns [B, height width, heads d]; with windows [B, H, W, heads d].
 * @throws {Error} if the shapes do not fit.
 */
export function decomposedAttention(
  qkv: Tensor,
  tables: RelativeTables,
  options: DecomposedAttentionOptions,
): Tensor {
  const { relPosH, relPosW } = tables;
  const { heads, windows } = options;
  const checked = check(qkv, tables, options);
  const { positions, layout: { depth } } = checked;
  using table = positions.join([relPosH, relPosW]);
  const problem = unbiased(qkv, checked);
  using products = relativeProducts(problem, table);
  const { output, rows } = attend(biased(problem, products, checked));
  const shape = windows ? windows.images : qkv.shape.slice(0, 2);
  const result = record({
    op: "decomposedAttention",
    inputs: [qkv, relPosH, relPosW],
    output: output.view([...shape, heads * depth]),
    saved: [qkv, table, output, rows],
    backward: (dOutput, [qkv, table, output, rows], [toQkv, toH, toW]) => {
      const { gpu } = qkv;
      const problem = unbiased(qkv, checked);
      const products = relativeProducts(problem, table);
      const dqkv = Tensor.empty(gpu, qkv.shape);
      const dProducts = zeros(gpu, products.shape);
      const other = toQkv ? dqkv : null;
      attendBackward(biased(problem, products, checked), { output, rows, dOutput }, {
        query: dqkv,
        key: other,
        value: other,
        bias: dProducts,
      });
      products.dispose();
      if (toQkv) addToQueries(unbiased(dqkv, checked), dProducts, table);
      const [dH, dW] = toH || toW
        ? positions.split(tableGradient(problem, dProducts))
        : [null, null];
      return [toQkv ? dqkv : null, toH ? dH : null, toW ? dW : null];
    },
  });
  output.dispose();
  rows.dispose();
  return result;
}
