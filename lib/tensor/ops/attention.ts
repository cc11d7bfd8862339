import { insertKernel } from "../../../kernels/movement.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { sameShape, shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { gemm, type Matrix } from "./gemm.ts";
import { slice } from "./movement.ts";
import { softmaxBackwardInPlace, softmaxInPlace } from "./softmax.ts";
import { sum } from "./sum.ts";

/** Where heads lie in a tensor: row i of head h of batch element b starts at offset + b batch + h head + i row. */
interface Heads {
  readonly tensor: Tensor;
  readonly offset: number;
  readonly row: number;
  readonly head: number;
  readonly batch: number;
}

/** Sizes of a multi-head attention. */
interface Sizes {
  readonly batch: number;
  readonly heads: number;
  /** Rows of query and output. */
  readonly queries: number;
  /** Rows of key and value. */
  readonly keys: number;
  /** Channels of a head. */
  readonly depth: number;
  /** Factor of the scores. */
  readonly scale: number;
}

/** A product over all heads, with a [m, k] and b [k, n] after their transposition. */
interface HeadProduct {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: Heads;
  readonly transposeA?: boolean;
  readonly b: Heads;
  readonly transposeB?: boolean;
  readonly c: Heads;
  readonly alpha?: number;
}

/** Query, key and value side by side in the channels of one tensor. */
interface Bands<T> {
  readonly query: T;
  readonly key: T;
  readonly value: T;
}

function multiply(sizes: Sizes, product: HeadProduct): void {
  const { m, n, k, alpha } = product;
  const matrix = (heads: Heads, transpose = false): Matrix => ({
    tensor: heads.tensor,
    ld: heads.row,
    transpose,
    offset: heads.offset,
    outer: heads.batch,
    inner: heads.head,
  });
  gemm({
    m,
    n,
    k,
    a: matrix(product.a, product.transposeA),
    b: matrix(product.b, product.transposeB),
    c: matrix(product.c),
    batch: [sizes.batch, sizes.heads],
    alpha,
  });
}

/** Heads side by side in the channels of [batch, rows, heads * depth]. */
function channelHeads(tensor: Tensor, { heads, depth }: Sizes): Heads {
  const row = heads * depth;
  return { tensor, offset: 0, row, head: depth, batch: tensor.shape[1] * row };
}

/** Elements from one row of scores to the next: a multiple of 4, so that products read it by fours. */
function scoreStride(keys: number): number {
  return Math.ceil(keys / 4) * 4;
}

/** A matrix [queries, keys] for each head, with padded rows. */
function scoreHeads(tensor: Tensor, { heads, queries, keys }: Sizes): Heads {
  const row = scoreStride(keys);
  return { tensor, offset: 0, row, head: queries * row, batch: heads * queries * row };
}

function emptyScores(gpu: Gpu, { batch, heads, queries, keys }: Sizes): Tensor {
  return Tensor.empty(gpu, [batch, heads, queries, scoreStride(keys)]);
}

/**
 * Columns of scores to compute. Where products read by fours they compute the padding too, from
 * whatever follows the last key; the softmax sets it to 0.
 */
function scoreColumns({ keys, depth }: Sizes): number {
  return depth % 4 === 0 ? scoreStride(keys) : keys;
}

/** [heads, queries, keys] with rows as far apart as those of the scores. */
function padBias(bias: Tensor): Tensor {
  const keys = bias.shape[2];
  if (keys === scoreStride(keys)) return bias.detach();
  const padded = Tensor.empty(bias.gpu, bias.shape.with(2, scoreStride(keys)));
  bias.gpu.run(insertKernel, {
    buffers: { x: bias.buffer, out: padded.buffer },
    params: { count: bias.size, n: keys, inner: 1, total: scoreStride(keys), offset: 0 },
    workgroups: Gpu.grid(Math.ceil(bias.size / 64)),
  });
  return padded;
}

/** softmax(scale q kᵀ + bias) v, and the probabilities for the backward pass. */
function attend(
  sizes: Sizes,
  { query, key, value }: Bands<Heads>,
  bias: Tensor | null,
): { output: Tensor; probabilities: Tensor } {
  const { batch, heads, queries, keys, depth } = sizes;
  const { gpu } = query.tensor;
  const columns = scoreColumns(sizes);
  const scores = emptyScores(gpu, sizes);
  const p = scoreHeads(scores, sizes);
  multiply(sizes, {
    m: queries,
    n: columns,
    k: depth,
    a: query,
    b: key,
    transposeB: true,
    c: p,
    alpha: sizes.scale,
  });
  using padded = bias ? padBias(bias) : null;
  softmaxInPlace(scores, { n: keys, stride: scoreStride(keys), bias: padded });
  const output = Tensor.empty(gpu, [batch, queries, heads * depth]);
  multiply(sizes, {
    m: queries,
    n: depth,
    k: columns,
    a: p,
    b: value,
    c: channelHeads(output, sizes),
  });
  return { output, probabilities: scores };
}

/**
 * Writes the gradients with respect to those of query, key and value that have a place for it in `to`,
 * and returns that with respect to the bias if it is wanted.
 *
 * With p the probabilities and dO the gradient of the output: dv = pᵀ dO, dp = dO vᵀ,
 * ds = p (dp - the row's sum of p dp), dq = scale ds k, dk = scale dsᵀ q, and dbias is the sum of ds over
 * the batch.
 */
function attendBackward(
  sizes: Sizes,
  from: Bands<Heads> & { dOutput: Tensor; probabilities: Tensor },
  to: Bands<Heads | null> & { bias: boolean },
): Tensor | null {
  const { heads, queries, keys, depth, scale } = sizes;
  const { gpu } = from.dOutput;
  const columns = scoreColumns(sizes);
  const dOutput = channelHeads(from.dOutput, sizes);
  if (to.value) {
    multiply(sizes, {
      m: keys,
      n: depth,
      k: queries,
      a: scoreHeads(from.probabilities, sizes),
      transposeA: true,
      b: dOutput,
      c: to.value,
    });
  }
  if (!to.query && !to.key && !to.bias) return null;
  using dScores = emptyScores(gpu, sizes);
  const ds = scoreHeads(dScores, sizes);
  multiply(sizes, {
    m: queries,
    n: columns,
    k: depth,
    a: dOutput,
    b: from.value,
    transposeB: true,
    c: ds,
  });
  softmaxBackwardInPlace(dScores, { n: keys, stride: scoreStride(keys), p: from.probabilities });
  if (to.query) {
    multiply(sizes, {
      m: queries,
      n: depth,
      k: columns,
      a: ds,
      b: from.key,
      c: to.query,
      alpha: scale,
    });
  }
  if (to.key) {
    multiply(sizes, {
      m: keys,
      n: depth,
      k: queries,
      a: ds,
      transposeA: true,
      b: from.query,
      c: to.key,
      alpha: scale,
    });
  }
  if (!to.bias) return null;
  const summed = sum(dScores, { axes: [0] });
  return keys === scoreStride(keys)
    ? summed.view([heads, queries, keys])
    : slice(summed, { axis: 2, start: 0, end: keys });
}

/** Options of {@linkcode attention}. */
export interface AttentionOptions {
  /** Number of heads, which lie side by side in the channels. */
  readonly heads: number;
  /** Factor of the scores; default 1 / sqrt(channels of a head). */
  readonly scale?: number;
}

/**
 * Multi-head attention softmax(scale q kᵀ) v over separate queries, keys and values (Vaswani et al.
 * 2017, eq. 1).
 *
 * @param q [B, Nq, heads d]
 * @param k [B, Nk, heads d]
 * @param v [B, Nk, heads d]
 * @returns [B, Nq, heads d]
 * @throws {Error} if the shapes do not fit.
 */
export function attention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
): Tensor {
  const { heads } = options;
  const [batch, queries, channels] = q.shape;
  const keys = k.shape[1];
  const depth = channels / heads;
  if (
    q.shape.length !== 3 || !Number.isInteger(depth) || !sameShape(k.shape, v.shape) ||
    !sameShape(k.shape, [batch, keys, channels])
  ) {
    throw new Error(
      `attention: q ${shapeText(q.shape)}, k ${shapeText(k.shape)} and v ${
        shapeText(v.shape)
      } do not fit for ${heads} heads`,
    );
  }
  const scale = options.scale ?? 1 / Math.sqrt(depth);
  const sizes: Sizes = { batch, heads, queries, keys, depth, scale };
  const bands = (q: Tensor, k: Tensor, v: Tensor): Bands<Heads> => ({
    query: channelHeads(q, sizes),
    key: channelHeads(k, sizes),
    value: channelHeads(v, sizes),
  });
  const { output, probabilities } = attend(sizes, bands(q, k, v), null);
  record({
    op: "attention",
    inputs: [q, k, v],
    output,
    saved: [q, k, v, probabilities],
    backward: (dOutput, [q, k, v, probabilities], needs) => {
      const grads = [q, k, v].map((x, i) => needs[i] ? Tensor.empty(x.gpu, x.shape) : null);
      const [query, key, value] = grads.map((grad) => grad && channelHeads(grad, sizes));
      attendBackward(
        sizes,
        { ...bands(q, k, v), dOutput, probabilities },
        { query, key, value, bias: false },
      );
      return grads;
    },
  });
  probabilities.dispose();
  return output;
}

/** Options of {@linkcode qkvAttention}. */
export interface QkvAttentionOptions extends AttentionOptions {
  /**
   * How query, key and value lie in the channels: for each head q, k and v together (TinyViT), or q of
   * all heads, then k of all heads, then v (SAM's ViT).
   */
  readonly layout: "per-head" | "thirds";
  /** [heads, N, N], added to the scores of every batch element. */
  readonly bias?: Tensor | null;
}

/**
 * Multi-head self-attention softmax(scale q kᵀ + bias) v over a fused projection.
 *
 * @param qkv [B, N, 3 heads d]
 * @returns [B, N, heads d]
 * @throws {Error} if the shapes do not fit.
 */
export function qkvAttention(qkv: Tensor, options: QkvAttentionOptions): Tensor {
  const { heads, layout, bias = null } = options;
  const [batch, n, channels] = qkv.shape;
  const depth = channels / heads / 3;
  if (
    qkv.shape.length !== 3 || !Number.isInteger(depth) ||
    (bias && !sameShape(bias.shape, [heads, n, n]))
  ) {
    throw new Error(
      `qkvAttention: qkv ${shapeText(qkv.shape)}${
        bias ? ` and bias ${shapeText(bias.shape)}` : ""
      } do not fit for ${heads} heads`,
    );
  }
  const scale = options.scale ?? 1 / Math.sqrt(depth);
  const sizes: Sizes = { batch, heads, queries: n, keys: n, depth, scale };
  const bands = (tensor: Tensor): Bands<Heads> => {
    const perHead = layout === "per-head";
    const band = (i: number): Heads => ({
      tensor,
      offset: i * depth * (perHead ? 1 : heads),
      row: channels,
      head: perHead ? 3 * depth : depth,
      batch: n * channels,
    });
    return { query: band(0), key: band(1), value: band(2) };
  };
  const { output, probabilities } = attend(sizes, bands(qkv), bias);
  record({
    op: "qkvAttention",
    inputs: bias ? [qkv, bias] : [qkv],
    output,
    saved: [qkv, probabilities],
    backward: (dOutput, [qkv, probabilities], [toQkv, toBias = false]) => {
      const dqkv = toQkv ? Tensor.empty(qkv.gpu, qkv.shape) : null;
      const dBias = attendBackward(
        sizes,
        { ...bands(qkv), dOutput, probabilities },
        { ...(dqkv ? bands(dqkv) : { query: null, key: null, value: null }), bias: toBias },
      );
      return bias ? [dqkv, dBias] : [dqkv];
    },
  });
  probabilities.dispose();
  return output;
}
