import { record } from "../autograd.ts";
import { sameShape, shapeError, shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import {
  attend,
  attendBackward,
  type Attention,
  type AttentionWindows,
  type Band,
  qkvBands,
  qkvLayout,
} from "./heads.ts";

export type { AttentionWindows } from "./heads.ts";

/** Options of {@linkcode attention}. */
export interface AttentionOptions {
  /** Number of heads, which lie side by side in the channels. */
  readonly heads: number;
  /** Factor of the scores; default 1 / sqrt(channels of a head). */
  readonly scale?: number;
}

/**
 * Multi-head attention softmax(scale q kᵀ) v over separate queries, keys and values (Vaswani et al.
 * 2017, eq. 1). Neither scores nor probabilities are held in memory: the backward pass computes them again
 * (Dao et al. 2022, "FlashAttention").
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
    throw shapeError("attention", { q, k, v }, ` for ${heads} heads`);
  }
  const band = (tensor: Tensor): Band => ({ tensor, offset: 0, row: channels });
  const problem = (q: Tensor, k: Tensor, v: Tensor): Attention => ({
    batch,
    heads,
    depth,
    scale: options.scale ?? 1 / Math.sqrt(depth),
    bands: { query: band(q), key: band(k), value: band(v) },
    head: depth,
    image: [1, queries],
    window: [1, queries],
    keys,
    bias: null,
  });
  const { output: flat, rows } = attend(problem(q, k, v));
  const output = flat.view([batch, queries, channels]);
  flat.dispose();
  record({
    op: "attention",
    inputs: [q, k, v],
    output,
    saved: [q, k, v, output, rows],
    backward: (dOutput, [q, k, v, output, rows], needs) => {
      const grads = [q, k, v].map((x, i) => needs[i] ? Tensor.empty(x.gpu, x.shape) : null);
      const [query, key, value] = grads;
      attendBackward(problem(q, k, v), { output, rows, dOutput }, {
        query,
        key,
        value,
        bias: null,
      });
      return grads;
    },
  });
  rows.dispose();
  return output;
}

/** Options of {@linkcode qkvAttention}. */
export interface QkvAttentionOptions extends AttentionOptions {
  /**
   * Order of query, key and value in the channels: for each head q, k and v together (TinyViT), or q of
   * all heads, then k of all heads, then v (SAM's ViT).
   */
  readonly layout: "per-head" | "thirds";
  /** [heads, N, N], added to the scores of every batch element or window of N tokens. */
  readonly bias?: Tensor | null;
  /** Attend within windows of images instead of whole batch elements. */
  readonly windows?: AttentionWindows | null;
}

/**
 * Multi-head self-attention softmax(scale q kᵀ + bias) v over a fused projection.
 *
 * Windows that reach beyond the image are filled up with padding, whose keys and values take part in the
 * attention. The padding's projection is the last row.
 *
 * @param qkv [B, N, 3 heads d]; with windows [B H W, 3 heads d], or if H or W is no multiple of the
 *   windows' size [B H W + 1, 3 heads d].
 * @returns [B, N, heads d]; with windows [B, H, W, heads d].
 * @throws {Error} if the shapes do not fit.
 */
export function qkvAttention(qkv: Tensor, options: QkvAttentionOptions): Tensor {
  const { heads, windows, bias = null } = options;
  const layout = qkvLayout(qkv, options);
  const n = layout ? layout.window[0] * layout.window[1] : 0;
  if (!layout || (bias && !sameShape(bias.shape, [heads, n, n]))) {
    throw shapeError("qkvAttention", { qkv, bias }, ` for ${headsText(options)}`);
  }
  const problem = (qkv: Tensor, bias: Tensor | null): Attention => ({
    ...layout,
    scale: options.scale ?? 1 / Math.sqrt(layout.depth),
    bands: qkvBands(qkv, layout),
    keys: null,
    bias: bias && { kind: "table", tensor: bias },
  });
  const { output, rows } = attend(problem(qkv, bias));
  const shape = windows ? windows.images : qkv.shape.slice(0, 2);
  const result = record({
    op: "qkvAttention",
    inputs: [qkv, bias],
    output: output.view([...shape, heads * layout.depth]),
    saved: [qkv, output, rows, bias],
    backward: (dOutput, [qkv, output, rows, bias], [toQkv, toBias]) => {
      const dqkv = toQkv ? Tensor.empty(qkv.gpu, qkv.shape) : null;
      const dBias = bias && toBias ? Tensor.empty(qkv.gpu, bias.shape) : null;
      attendBackward(problem(qkv, bias), { output, rows, dOutput }, {
        query: dqkv,
        key: dqkv,
        value: dqkv,
        bias: dBias,
      });
      return [dqkv, dBias];
    },
  });
  output.dispose();
  rows.dispose();
  return result;
}

/** Heads and windows in error messages: "8 heads in windows of 7 x 7 tokens of images [1, 14, 14]". */
export function headsText(
  { heads, windows }: { heads: number; windows?: AttentionWindows | null },
): string {
  return `${heads} heads` +
    (windows
      ? ` in windows of ${windows.size} x ${windows.size} tokens of images ${
        shapeText(windows.images)
      }`
      : "");
}
