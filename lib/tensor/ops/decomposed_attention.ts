import {
  decomposedSoftmaxKernels,
  relativeGatherKernel,
  relativeSpreadKernel,
} from "../../../kernels/decomposed_attention.ts";
import { inElements } from "../../../kernels/element.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { noGrad, record } from "../autograd.ts";
import { Scope, tidy } from "../scope.ts";
import { sameShape, shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { addInPlace } from "./arithmetic.ts";
import type { AttentionOptions } from "./attention.ts";
import { zeros } from "./fill.ts";
import {
  attendBackward,
  attendValues,
  attentionProbabilities,
  type Bands,
  channelHeads,
  type Heads,
  multiply,
  scoreStride,
  type Sizes,
} from "./heads.ts";
import { concat, slice } from "./movement.ts";
import { rowDispatch } from "./rows.ts";
import { sum } from "./sum.ts";

/** Bytes of scores at a time: half of the smallest binding that WebGPU guarantees. */
const SCORE_BYTES = 2 ** 26;

/** Options of {@linkcode decomposedAttention}. */
export interface DecomposedAttentionOptions extends AttentionOptions {
  /** Height and width of the grid that the tokens lie on, in reading order. */
  readonly grid: readonly [height: number, width: number];
  /**
   * Bytes of scores that are held at a time, as far as a row of them is no larger. Images, then heads,
   * then rows are taken in turns. Default 64 MiB.
   */
  readonly scoreBytes?: number;
}

/** Images, heads and queries that are attended to together. */
interface Turn {
  /** What of the whole is computed. */
  readonly sizes: Sizes;
  /** Its first image, head and query. */
  readonly first: { readonly batch: number; readonly head: number; readonly query: number };
}

/** Cuts an attention into turns whose scores fit into so many bytes. */
function* turnsOf(sizes: Sizes, bytes: number): Generator<Turn> {
  const { batch, heads, queries } = sizes;
  const rows = bytes / (4 * scoreStride(sizes.keys));
  const within = (n: number, most: number) => Math.min(most, Math.max(1, Math.floor(n)));
  const batchStep = within(rows / queries / heads, batch);
  const headStep = within(rows / queries, heads);
  const queryStep = within(rows, queries);
  for (let b = 0; b < batch; b += batchStep) {
    for (let h = 0; h < heads; h += headStep) {
      for (let q = 0; q < queries; q += queryStep) {
        yield {
          sizes: {
            ...sizes,
            batch: Math.min(batchStep, batch - b),
            heads: Math.min(headStep, heads - h),
            queries: Math.min(queryStep, queries - q),
          },
          first: { batch: b, head: h, query: q },
        };
      }
    }
  }
}

/** The part of some heads that a turn sees; all their rows, or those of its queries. */
function partOf(heads: Heads, { first }: Turn, rows: "all" | "queries"): Heads {
  const row = rows === "all" ? 0 : first.query;
  const offset = heads.offset + first.batch * heads.batch + first.head * heads.head +
    row * heads.row;
  return { ...heads, offset };
}

/** The relative positions along both axes in one table, each filled up to a multiple of 4 rows. */
class RelativePositions {
  /** Along the grid's height, then its width. */
  readonly axes: readonly {
    /** Positions along the axis. */
    readonly n: number;
    /** First row in the table. */
    readonly offset: number;
    /** Rows in the table. */
    readonly columns: number;
    /** Tokens from one position to the next. */
    readonly step: number;
  }[];
  /** Rows of the table. */
  readonly rows: number;

  constructor([height, width]: readonly [number, number]) {
    const columns = (n: number) => Math.ceil((2 * n - 1) / 4) * 4;
    this.axes = [
      { n: height, offset: 0, columns: columns(height), step: width },
      { n: width, offset: columns(height), columns: columns(width), step: 1 },
    ];
    this.rows = columns(height) + columns(width);
  }

  /** [rows, depth] from [2 height - 1, depth] and [2 width - 1, depth]. */
  join(tables: readonly Tensor[]): Tensor {
    return noGrad(() =>
      tidy(tables[0].gpu, () =>
        concat(
          tables.flatMap((table, i) => {
            const [rows, depth] = table.shape;
            return [table.detach(), zeros(table.gpu, [this.axes[i].columns - rows, depth])];
          }),
          0,
        ))
    );
  }

  /** The two parts of the table's gradient. */
  split(dTable: Tensor): Tensor[] {
    return this.axes.map(({ n, offset }) =>
      slice(dTable, { axis: 0, start: offset, end: offset + 2 * n - 1 })
    );
  }

  /** The table as if every head of every image had it. */
  heads(table: Tensor): Heads {
    return { tensor: table, offset: 0, row: table.shape[1], head: 0, batch: 0 };
  }

  /** Products of queries with relative positions: [batch, heads, queries, rows]. */
  products(tensor: Tensor, { heads, queries }: Sizes): Heads {
    const { rows } = this;
    return { tensor, offset: 0, row: rows, head: queries * rows, batch: heads * queries * rows };
  }
}

/** What the turns of one attention share. */
interface Plan {
  readonly positions: RelativePositions;
  readonly table: Tensor;
  readonly bands: Bands<Heads>;
}

/** softmax(scale q kᵀ + relative positions) of one turn. */
function probabilitiesOf(turn: Turn, { positions, table, bands }: Plan): Tensor {
  const { sizes } = turn;
  const { gpu } = table;
  const query = partOf(bands.query, turn, "queries");
  const rows = sizes.batch * sizes.heads * sizes.queries;
  const products = Tensor.empty(gpu, [rows, positions.rows]);
  multiply(sizes, {
    m: sizes.queries,
    n: positions.rows,
    k: sizes.depth,
    a: query,
    b: positions.heads(table),
    transposeB: true,
    c: positions.products(products, sizes),
  });
  const [biasH, biasW] = positions.axes.map(({ n, offset, step }) => {
    const out = Tensor.empty(gpu, [rows, n]);
    gpu.run(relativeGatherKernel, {
      buffers: { products: products.buffer, out: out.buffer },
      params: {
        count: out.size,
        n,
        stride: positions.rows,
        offset,
        first: turn.first.query,
        queries: sizes.queries,
        divisor: step,
      },
      workgroups: Gpu.grid(Math.ceil(out.size / 64)),
    });
    return out;
  });
  const key = partOf(bands.key, turn, "all");
  return attentionProbabilities(sizes, { query, key }, (scores) => {
    const [height, width] = positions.axes.map(({ n }) => n);
    const { kernel, elements } = inElements(decomposedSoftmaxKernels, width);
    gpu.run(kernel, {
      buffers: { x: scores.buffer, bias_h: biasH.buffer, bias_w: biasW.buffer },
      params: {
        rows,
        height,
        width: elements,
        stride: scoreStride(sizes.keys) * elements / width,
      },
      ...rowDispatch(gpu, rows),
    });
  });
}

/** Gradient with respect to the products with relative positions, from that of the scores. */
function productGradient(dScores: Tensor, turn: Turn, positions: RelativePositions): Tensor {
  const { gpu } = dScores;
  const { batch, heads, queries, keys } = turn.sizes;
  const rows = batch * heads * queries;
  const dProducts = Tensor.empty(gpu, [rows, positions.rows]);
  positions.axes.forEach(({ n, offset, columns, step }, i) => {
    const other = positions.axes[1 - i];
    gpu.run(relativeSpreadKernel, {
      buffers: { ds: dScores.buffer, out: dProducts.buffer },
      params: {
        count: rows * columns,
        n,
        columns,
        stride: positions.rows,
        offset,
        first: turn.first.query,
        queries,
        divisor: step,
        score_stride: scoreStride(keys),
        key_stride: step,
        others: other.n,
        other_stride: other.step,
      },
      workgroups: Gpu.grid(Math.ceil(rows * columns / 64)),
    });
  });
  return dProducts;
}

/**
 * Multi-head self-attention over tokens on a grid, with decomposed relative positions: the score of
 * query (y, x) and key (y', x') is scale q·k + q·Rh[y - y' + height - 1] + q·Rw[x - x' + width - 1].
 *
 * The scores of a whole image may be larger than memory: they are made in turns, and made again for the
 * backward pass rather than kept.
 *
 * With ds the gradient of the scores: dq gains dr R, and dR = drᵀ q, where dr is ds summed over the keys
 * of equal relative position along an axis.
 *
 * Source: Li et al. 2022, "MViTv2", eq. 4, as used by SAM's ViT.
 *
 * @param qkv [B, height width, 3 heads d]: q of all heads, then k, then v.
 * @param relPosH Rh [2 height - 1, d]
 * @param relPosW Rw [2 width - 1, d]
 * @returns [B, height width, heads d]
 * @throws {Error} if the shapes do not fit.
 */
export function decomposedAttention(
  qkv: Tensor,
  tables: { readonly relPosH: Tensor; readonly relPosW: Tensor },
  options: DecomposedAttentionOptions,
): Tensor {
  const { relPosH, relPosW } = tables;
  const { heads, grid, scoreBytes = SCORE_BYTES } = options;
  const { gpu } = qkv;
  const [batch, n, channels] = qkv.shape;
  const depth = channels / heads / 3;
  const fits = qkv.shape.length === 3 && n === grid[0] * grid[1] && Number.isInteger(depth) &&
    sameShape(relPosH.shape, [2 * grid[0] - 1, depth]) &&
    sameShape(relPosW.shape, [2 * grid[1] - 1, depth]);
  if (!fits) {
    throw new Error(
      `decomposedAttention: qkv ${shapeText(qkv.shape)} and relative positions ${
        shapeText(relPosH.shape)
      } and ${shapeText(relPosW.shape)} do not fit for ${heads} heads on a grid ${shapeText(grid)}`,
    );
  }
  const scale = options.scale ?? 1 / Math.sqrt(depth);
  const sizes: Sizes = { batch, heads, queries: n, keys: n, depth, scale };
  const positions = new RelativePositions(grid);
  const bandsOf = (tensor: Tensor): Bands<Heads> => {
    const band = (i: number): Heads => ({
      tensor,
      offset: i * depth * heads,
      row: channels,
      head: depth,
      batch: n * channels,
    });
    return { query: band(0), key: band(1), value: band(2) };
  };
  using table = positions.join([relPosH, relPosW]);
  const output = Tensor.empty(gpu, [batch, n, heads * depth]);
  const plan: Plan = { positions, table, bands: bandsOf(qkv) };
  for (const turn of turnsOf(sizes, scoreBytes)) {
    using _ = new Scope(gpu);
    const probabilities = probabilitiesOf(turn, plan);
    const value = partOf(plan.bands.value, turn, "all");
    const to = partOf(channelHeads(output, sizes), turn, "queries");
    attendValues(turn.sizes, { probabilities, value }, to);
  }
  return record({
    op: "decomposedAttention",
    inputs: [qkv, relPosH, relPosW],
    output,
    saved: [qkv, table],
    backward: (dOutput, [qkv, table], [toQkv, toH, toW]) => {
      const dqkv = toQkv ? Tensor.empty(gpu, qkv.shape) : null;
      const dTable = toH || toW ? zeros(gpu, table.shape) : null;
      const plan: Plan = { positions, table, bands: bandsOf(qkv) };
      for (const turn of turnsOf(sizes, scoreBytes)) {
        using _ = new Scope(gpu);
        turnBackward(turn, plan, {
          dOutput: partOf(channelHeads(dOutput, sizes), turn, "queries"),
          to: dqkv && bandsOf(dqkv),
          dTable,
        });
      }
      const [dH, dW] = dTable ? positions.split(dTable) : [null, null];
      return [dqkv, toH ? dH : null, toW ? dW : null];
    },
  });
}

/** Writes one turn's gradients with respect to query, key and value and adds to that of the table. */
function turnBackward(
  turn: Turn,
  plan: Plan,
  { dOutput, to, dTable }: { dOutput: Heads; to: Bands<Heads> | null; dTable: Tensor | null },
): void {
  const { sizes, first } = turn;
  const { positions, table, bands } = plan;
  const probabilities = probabilitiesOf(turn, plan);
  const query = partOf(bands.query, turn, "queries");
  const dQuery = to && partOf(to.query, turn, "queries");
  const dScores = attendBackward(sizes, {
    query,
    key: partOf(bands.key, turn, "all"),
    value: partOf(bands.value, turn, "all"),
    dOutput,
    probabilities,
  }, {
    query: dQuery,
    key: to && partOf(to.key, turn, "all"),
    value: to && partOf(to.value, turn, "all"),
    scores: true,
    accumulate: first.query > 0,
  })!;
  const dProducts = productGradient(dScores, turn, positions);
  const products = positions.products(dProducts, sizes);
  if (dQuery) {
    multiply(sizes, {
      m: sizes.queries,
      n: sizes.depth,
      k: positions.rows,
      a: products,
      b: positions.heads(table),
      c: dQuery,
      accumulate: true,
    });
  }
  if (dTable) {
    const { batch, heads, queries, depth } = sizes;
    const { rows } = positions;
    const dTables = Tensor.empty(table.gpu, [batch, heads, rows, depth]);
    multiply(sizes, {
      m: rows,
      n: depth,
      k: queries,
      a: products,
      transposeA: true,
      b: query,
      c: {
        tensor: dTables,
        offset: 0,
        row: depth,
        head: rows * depth,
        batch: heads * rows * depth,
      },
    });
    addInPlace(dTable, sum(dTables, { axes: [0, 1] }));
  }
}
