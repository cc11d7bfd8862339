import type { Gpu } from "../../gpu/gpu.ts";
import { Tensor } from "../tensor.ts";
import { gemm, type Matrix } from "./gemm.ts";
import { softmaxBackwardInPlace } from "./softmax.ts";

/** Where heads lie in a tensor: row i of head h of batch element b starts at offset + b batch + h head + i row. */
export interface Heads {
  /** The memory they lie in. */
  readonly tensor: Tensor;
  /** First element. */
  readonly offset: number;
  /** Elements from one row to the next. */
  readonly row: number;
  /** Elements from one head to the next; 0 where all heads share their rows. */
  readonly head: number;
  /** Elements from one batch element to the next; 0 where all share their rows. */
  readonly batch: number;
}

/** Sizes of a multi-head attention. */
export interface Sizes {
  /** Batch elements. */
  readonly batch: number;
  /** Heads of each. */
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
export interface HeadProduct {
  /** Rows of c. */
  readonly m: number;
  /** Columns of c. */
  readonly n: number;
  /** Length of the sums. */
  readonly k: number;
  /** Left factor. */
  readonly a: Heads;
  /** Read a transposed. */
  readonly transposeA?: boolean;
  /** Right factor. */
  readonly b: Heads;
  /** Read b transposed. */
  readonly transposeB?: boolean;
  /** Result. */
  readonly c: Heads;
  /** Factor of the product; default 1. */
  readonly alpha?: number;
  /** Add to what c holds. */
  readonly accumulate?: boolean;
}

/** Something of query, key and value each. */
export interface Bands<T> {
  /** Of the query. */
  readonly query: T;
  /** Of the key. */
  readonly key: T;
  /** Of the value. */
  readonly value: T;
}

/** Multiplies all heads of all batch elements, without history. */
export function multiply({ batch, heads }: Sizes, product: HeadProduct): void {
  const { m, n, k, alpha, accumulate } = product;
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
    batch: [batch, heads],
    alpha,
    accumulate,
  });
}

/** Heads side by side in the channels of [batch, rows, heads * depth]. */
export function channelHeads(tensor: Tensor, { heads, depth }: Sizes): Heads {
  const row = heads * depth;
  return { tensor, offset: 0, row, head: depth, batch: tensor.shape[1] * row };
}

/** Elements from one row of scores to the next: a multiple of 4, so that products read it by fours. */
export function scoreStride(keys: number): number {
  return Math.ceil(keys / 4) * 4;
}

/** A matrix [queries, keys] for each head, with padded rows. */
export function scoreHeads(tensor: Tensor, { heads, queries, keys }: Sizes): Heads {
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

/**
 * The probabilities softmax(scale q kᵀ): [batch, heads, queries, keys] with padded rows.
 *
 * @param softmax Turns the scores into probabilities in place, adding whatever bias there is, and
 * sets the padding to 0.
 */
export function attentionProbabilities(
  sizes: Sizes,
  { query, key }: Omit<Bands<Heads>, "value">,
  softmax: (scores: Tensor) => void,
): Tensor {
  const scores = emptyScores(query.tensor.gpu, sizes);
  multiply(sizes, {
    m: sizes.queries,
    n: scoreColumns(sizes),
    k: sizes.depth,
    a: query,
    b: key,
    transposeB: true,
    c: scoreHeads(scores, sizes),
    alpha: sizes.scale,
  });
  softmax(scores);
  return scores;
}

/** Writes the output p v. */
export function attendValues(
  sizes: Sizes,
  { probabilities, value }: { probabilities: Tensor; value: Heads },
  output: Heads,
): void {
  multiply(sizes, {
    m: sizes.queries,
    n: sizes.depth,
    k: scoreColumns(sizes),
    a: scoreHeads(probabilities, sizes),
    b: value,
    c: output,
  });
}

/**
 * Writes the gradients with respect to those of query, key and value that have a place for it in `to`,
 * and returns that with respect to the scores, for whatever else went into them; null if nothing
 * beside the value needs it.
 *
 * With p the probabilities and dO the gradient of the output: dv = pᵀ dO, dp = dO vᵀ,
 * ds = p (dp - the row's sum of p dp), dq = scale ds k, dk = scale dsᵀ q.
 *
 * @param to.scores Whether anything but query and key needs ds.
 * @param to.accumulate Add to the gradients of key and value what further queries contribute.
 */
export function attendBackward(
  sizes: Sizes,
  from: Bands<Heads> & { dOutput: Heads; probabilities: Tensor },
  to: Bands<Heads | null> & { scores: boolean; accumulate?: boolean },
): Tensor | null {
  const { queries, keys, depth, scale } = sizes;
  const { dOutput, probabilities } = from;
  const { accumulate } = to;
  const columns = scoreColumns(sizes);
  if (to.value) {
    multiply(sizes, {
      m: keys,
      n: depth,
      k: queries,
      a: scoreHeads(probabilities, sizes),
      transposeA: true,
      b: dOutput,
      c: to.value,
      accumulate,
    });
  }
  if (!to.query && !to.key && !to.scores) return null;
  const dScores = emptyScores(probabilities.gpu, sizes);
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
  softmaxBackwardInPlace(dScores, { n: keys, stride: scoreStride(keys), p: probabilities });
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
      accumulate,
    });
  }
  return dScores;
}
