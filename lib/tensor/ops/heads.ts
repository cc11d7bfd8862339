import {
  attentionBiases,
  type AttentionKernels,
  attentionKernels,
  type AttentionParameters,
  attentionTiles,
} from "../../../kernels/attention/mod.ts";
import { operandForm } from "../../../kernels/operands.ts";
import { tileCost } from "../../../kernels/target.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { Memo } from "../memo.ts";
import { sameShape } from "../shape.ts";
import { Tape } from "../tape.ts";
import { Tensor } from "../tensor.ts";
import { gemm } from "./gemm.ts";

/** Layout of queries, keys or values: channel c of head h of row r is element offset + r row + h head + c. */
export interface Band {
  /** Tensor whose memory they lie in. */
  readonly tensor: Tensor;
  /** First element. */
  readonly offset: number;
  /** Elements from one row to the next. */
  readonly row: number;
}

/** A value for each of query, key and value. */
export interface Bands<T> {
  /** Of the query. */
  readonly query: T;
  /** Of the key. */
  readonly key: T;
  /** Of the value. */
  readonly value: T;
}

/** Bias of the scores; attention/common.wgsl has the formulas. */
export type ScoreBias =
  | {
    readonly kind: "table";
    /** [heads, N, N], N tokens in a window. */
    readonly tensor: Tensor;
  }
  | {
    readonly kind: "relative";
    /** [rows, heads, positions]: the products of each query with the relative positions. */
    readonly tensor: Tensor;
    /** First position along the width. */
    readonly across: number;
  };

/** A multi-head attention over rows of memory. */
export interface Attention {
  /** Images, or sequences. */
  readonly batch: number;
  /** Heads. */
  readonly heads: number;
  /** Channels of a head. */
  readonly depth: number;
  /** Factor of the scores. */
  readonly scale: number;
  /** Query, key and value. */
  readonly bands: Bands<Band>;
  /** Elements from one head to the next in them. */
  readonly head: number;
  /** Lines and tokens of a line of an image of queries; [1, N] for a sequence. */
  readonly image: readonly [height: number, width: number];
  /**
   * Lines and tokens of the windows that tokens attend within. If they reach beyond the image, the keys
   * and values there all lie in the row after the last image's.
   */
  readonly window: readonly [height: number, width: number];
  /** Keys of each image; null if they are the queries' own rows. */
  readonly keys: number | null;
  /** Added to the scores. */
  readonly bias: ScoreBias | null;
}

/** True if windows reach beyond the image. */
export function isPadded({ image, window }: Pick<Attention, "image" | "window">): boolean {
  return image.some((length, axis) => length % window[axis] !== 0);
}

/** Number of rows of queries. */
export function queryRows({ batch, image }: Pick<Attention, "batch" | "image">): number {
  return batch * image[0] * image[1];
}

/** Dispatch of an attention kernel, without its buffers. */
interface Plan {
  readonly kernels: AttentionKernels;
  readonly params: Record<AttentionParameters, number>;
  readonly constants: Record<string, number | boolean>;
  readonly workgroups: [number, number, number];
}

/**
 * Columns of the blocks of four tokens that leave the least of a window's last blocks empty. Of equal ones 4 are faster
 * for kernels that own queries, by a tenth; those that own keys take 2, as windows of 14 x 14 do, and have one kernel
 * for these and for whole grids: LLVM takes seconds for it.
 */
function blockColumns(
  [height, width]: readonly [number, number],
  owns: "queries" | "keys",
): 2 | 4 {
  const blocks = (columns: number) =>
    Math.ceil(width / columns) * Math.ceil(height / (4 / columns));
  const spared = blocks(4) - blocks(2);
  return spared > 0 || spared === 0 && owns === "keys" ? 2 : 4;
}

/** Constants of the kernel whose workgroups own keys: the gradients that it writes. */
type KeyConstants = Readonly<Record<"TO_KEY" | "TO_VALUE" | "FUSED", boolean>>;

const plans = new Memo<Plan>();

/** Plans a kernel whose workgroups own queries, or with `own` keys; once for equal sizes. */
function planOf(attention: Attention, own: KeyConstants | null): Plan {
  const { batch, heads, depth, scale, bands, head, image, window, keys, bias } = attention;
  const { gpu } = bands.query.tensor;
  const key = [
    gpu.target.id,
    Tape.of(gpu).settings.precision === "f16" ? 1 : 0,
    own ? 1 + Number(own.TO_KEY) + 2 * Number(own.TO_VALUE) + 4 * Number(own.FUSED) : 0,
    batch,
    heads,
    depth,
    scale,
    bands.query.offset,
    bands.query.row,
    bands.key.offset,
    bands.key.row,
    bands.value.offset,
    bands.value.row,
    head,
    image[0],
    image[1],
    window[0],
    window[1],
    keys ?? -1,
    bias === null ? 0 : bias.kind === "table" ? 1 : 2,
    bias?.kind === "relative" ? bias.tensor.shape[2] : 0,
    bias?.kind === "relative" ? bias.across : 0,
  ];
  return plans.get(key, () => makePlan(attention, own));
}

function makePlan(attention: Attention, own: KeyConstants | null): Plan {
  const { batch, heads, depth, keys, bias } = attention;
  const { gpu } = attention.bands.query.tensor;
  const vec4 = depth % 4 === 0;
  const linear = bias?.kind !== "relative";
  const { target } = gpu;
  const cross = keys !== null;
  // A kernel that owns keys of another sequence tiles those instead of the queries.
  const tiled: Grid = cross && own ? { image: [1, keys], window: [1, keys] } : attention;
  const owns = own ? "keys" : "queries";
  const columns = linear ? 4 : blockColumns(attention.window, owns);
  const blocksOf = (height: number, width: number) =>
    linear
      ? Math.ceil(height * width / 4)
      : Math.ceil(height / (4 / columns)) * Math.ceil(width / columns);
  const choices = attentionTiles(target).map(({ blocks, speed }) => {
    const tiles = tileCount(tiled, (height, width) => Math.ceil(blocksOf(height, width) / blocks));
    const workgroups = batch * tiles * heads;
    return { blocks, tiles, cost: tileCost(target, { workgroups, area: blocks, speed }) };
  });
  const { blocks, tiles } = choices.reduce((best, one) => one.cost < best.cost ? one : best);
  const operands = operandForm(Tape.of(gpu).settings.precision, target);
  const kernels = attentionKernels({ depth, lanes: target.lanes, blocks, linear, operands });
  return {
    kernels,
    params: paramsOf(attention, { tiled, vec4, owns }),
    constants: {
      BIAS: attentionBiases[bias?.kind ?? "no_bias"],
      CROSS: cross,
      PADDED: owns === "queries" && isPadded(attention), // to keys that is no difference
      COLUMNS: columns,
      ...own,
    },
    workgroups: [...Gpu.grid(batch * tiles), heads],
  };
}

/** Sizes of images and of the windows within them, in lines and tokens. */
type Grid = Pick<Attention, "image" | "window">;

/** Tiles of all windows of an image, of `tiles` for a window's part within the image. */
function tileCount(
  { image, window }: Grid,
  tiles: (height: number, width: number) => number,
): number {
  // All windows along an axis but the last have their full length.
  const [down, across] = image.map((length, axis) => {
    const count = Math.ceil(length / window[axis]);
    return [[count - 1, window[axis]], [1, length - (count - 1) * window[axis]]];
  });
  let sum = 0;
  for (const [rows, height] of down) {
    for (const [columns, width] of across) sum += rows * columns * tiles(height, width);
  }
  return sum;
}

/** Parameters of the kernels, with offsets in vec4s or elements. */
function paramsOf(
  { batch, heads, depth, scale, bands, head, image, keys, bias }: Attention,
  { tiled, vec4, owns }: { tiled: Grid; vec4: boolean; owns: "queries" | "keys" },
): Record<AttentionParameters, number> {
  const units = (elements: number) => vec4 ? elements / 4 : elements;
  const queries = image[0] * image[1];
  const relative = bias?.kind === "relative" ? bias : null;
  return {
    batch,
    heads,
    image_h: tiled.image[0],
    image_w: tiled.image[1],
    size_h: tiled.window[0],
    size_w: tiled.window[1],
    windows_y: Math.ceil(tiled.image[0] / tiled.window[0]),
    windows_x: Math.ceil(tiled.image[1] / tiled.window[1]),
    others: owns === "keys" ? queries : keys ?? 0,
    rows: batch * queries,
    q_offset: units(bands.query.offset),
    k_offset: units(bands.key.offset),
    v_offset: units(bands.value.offset),
    q_row: units(bands.query.row),
    k_row: units(bands.key.row),
    v_row: units(bands.value.row),
    head: units(head),
    out_row: units(heads * depth),
    out_head: units(depth),
    pad_row: batch * queries,
    rel_row: relative?.tensor.shape[2] ?? 0,
    rel_w: relative?.across ?? 0,
    scale,
  };
}

/** Output of an attention, and the statistics that its backward reads. */
export interface Attended {
  /** [batch * queries, heads depth] */
  readonly output: Tensor;
  /**
   * [2 or 4, heads, batch * queries]: the log-sum-exp of each query's scores, and room for the backward
   * pass.
   */
  readonly rows: Tensor;
}

/** softmax(scale q kᵀ + bias) v, without history. */
export function attend(attention: Attention): Attended {
  const { heads, depth, bands: { query, key, value }, bias } = attention;
  const { gpu } = query.tensor;
  const { kernels, params, constants, workgroups } = planOf(attention, null);
  const count = queryRows(attention);
  const output = Tensor.empty(gpu, [count, heads * depth]);
  const rows = Tensor.empty(gpu, [isPadded(attention) ? 4 : 2, heads, count]);
  gpu.run(kernels.forward, {
    params,
    constants,
    workgroups,
    buffers: {
      q: query.tensor.buffer,
      k: key.tensor.buffer,
      v: value.tensor.buffer,
      bias: (bias?.tensor ?? query.tensor).buffer,
      rows: rows.buffer,
      out: output.buffer,
    },
  });
  return { output, rows };
}

/** Tensors to write gradients to, in the layout of query, key and value; null for unwanted ones. */
export interface AttentionGradients extends Bands<Tensor | null> {
  /** Gradient of the table, or of the products with relative positions. */
  readonly bias: Tensor | null;
}

/**
 * Writes the gradients of an attention. If query, key and value lie in one tensor their gradients do too;
 * with padding they include that of the padding's row.
 */
export function attendBackward(
  attention: Attention,
  { output, rows, dOutput }: Attended & { dOutput: Tensor },
  to: AttentionGradients,
): void {
  const { bands: { query, key, value }, bias } = attention;
  const { gpu } = query.tensor;
  const { kernels, params, constants, workgroups } = planOf(attention, null);
  gpu.run(kernels.delta, {
    params,
    buffers: { out: output.buffer, dout: dOutput.buffer, rows: rows.buffer },
    workgroups: Gpu.grid(Math.ceil(rows.shape[1] * rows.shape[2] / 64)),
  });
  const from = {
    q: query.tensor.buffer,
    k: key.tensor.buffer,
    v: value.tensor.buffer,
    dout: dOutput.buffer,
    bias: (bias?.tensor ?? query.tensor).buffer,
    rows: rows.buffer,
  };
  if (bias?.kind === "table" && to.bias) {
    gpu.run(kernels.table, {
      params,
      buffers: { ...from, dbias: to.bias.buffer },
      workgroups: Gpu.grid(Math.ceil(to.bias.size / 64)),
    });
  }
  // WebGPU wants a buffer in every binding, also in one that the kernel does not write.
  using spare = Tensor.empty(gpu, [4]);
  if (to.query) {
    const drelative = bias?.kind === "relative" ? to.bias : null;
    gpu.run(kernels.query, {
      params,
      constants,
      workgroups,
      buffers: { ...from, dq: to.query.buffer, drelative: (drelative ?? spare).buffer },
    });
  }
  if (to.key || to.value) {
    const fused = to.key === to.value;
    const { kernels, params, constants, workgroups } = planOf(attention, {
      TO_KEY: to.key !== null,
      TO_VALUE: to.value !== null,
      FUSED: fused,
    });
    gpu.run(kernels.keyValue, {
      params,
      constants,
      workgroups,
      buffers: {
        ...from,
        dk: (to.key ?? spare).buffer,
        dv: (fused ? spare : to.value ?? spare).buffer,
      },
    });
    if (isPadded(attention)) padGradients(attention, { rows, dOutput }, to);
  }
}

/** Gradients of the padding's key and value, which the padding of all windows shares. */
function padGradients(
  { heads, depth, scale, bands, head }: Attention,
  { rows, dOutput }: { rows: Tensor; dOutput: Tensor },
  to: AttentionGradients,
): void {
  const count = rows.shape[2];
  const sums = (i: number) => ({
    tensor: rows,
    ld: count,
    offset: i * heads * count,
    inner: count,
  });
  const padding = ({ offset, row }: Band, tensor: Tensor) => ({
    tensor,
    ld: row,
    offset: offset + count * row,
    inner: head,
  });
  const product = { m: 1, n: depth, k: count, batch: [1, heads] } as const;
  if (to.value) {
    gemm({
      ...product,
      a: sums(2), // of probabilities
      b: { tensor: dOutput, ld: heads * depth, inner: depth },
      c: padding(bands.value, to.value),
    });
  }
  if (to.key) {
    const { tensor, offset, row } = bands.query;
    gemm({
      ...product,
      a: sums(3), // of the gradients of scores
      b: { tensor, ld: row, offset, inner: head },
      c: padding(bands.key, to.key),
      alpha: scale,
    });
  }
}

/** Images of tokens, and windows that they attend within. */
export interface AttentionWindows {
  /** Tokens along a window's side. */
  readonly size: number;
  /** Images, and the height and width of each in tokens. */
  readonly images: readonly [batch: number, height: number, width: number];
}

/** Layout of query, key and value in a fused projection, and the windows that rows attend within. */
export type QkvLayout = Pick<Attention, "batch" | "heads" | "depth" | "head" | "image" | "window">;

/**
 * Layout of a fused projection [B, N, 3 heads d], or with windows [rows, 3 heads d]: the rows are the
 * images' tokens and, if windows reach beyond the images, one for the padding.
 *
 * @returns null if it does not fit.
 */
export function qkvLayout(
  { shape }: Tensor,
  { heads, layout, windows }: {
    heads: number;
    layout: "per-head" | "thirds";
    windows?: AttentionWindows | null;
  },
): QkvLayout | null {
  const depth = shape[shape.length - 1] / heads / 3;
  if (!Number.isInteger(depth)) return null;
  const head = layout === "per-head" ? 3 * depth : depth;
  if (!windows) {
    if (shape.length !== 3) return null;
    const sequence = [1, shape[1]] as const;
    return { batch: shape[0], heads, depth, head, image: sequence, window: sequence };
  }
  const { size, images: [batch, ...image] } = windows;
  const sizes = { batch, heads, depth, head, image, window: [size, size] as const };
  const rows = queryRows(sizes) + (isPadded(sizes) ? 1 : 0);
  return sameShape(shape, [rows, 3 * heads * depth]) ? sizes : null;
}

/** Query, key and value in a fused projection. */
export function qkvBands(
  tensor: Tensor,
  { heads, depth, head }: Pick<QkvLayout, "heads" | "depth" | "head">,
): Bands<Band> {
  const row = 3 * heads * depth;
  const step = head === depth ? heads * depth : depth;
  const band = (i: number): Band => ({ tensor, offset: i * step, row });
  return { query: band(0), key: band(1), value: band(2) };
}
