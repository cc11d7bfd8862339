import { insertKernel } from "../../../kernels/movement.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { sameShape, shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import {
  attendBackward,
  attendValues,
  attentionProbabilities,
  type Bands,
  channelHeads,
  type Heads,
  scoreStride,
  type Sizes,
} from "./heads.ts";
import { slice } from "./movement.ts";
import { softmaxInPlace } from "./softmax.ts";
import { sum } from "./sum.ts";

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
  const probabilities = attentionProbabilities(sizes, { query, key }, (scores) => {
    using padded = bias ? padBias(bias) : null;
    softmaxInPlace(scores, { n: keys, stride: scoreStride(keys), bias: padded });
  });
  const output = Tensor.empty(gpu, [batch, queries, heads * depth]);
  attendValues(sizes, { probabilities, value }, channelHeads(output, sizes));
  return { output, probabilities };
}

/** The gradient with respect to the bias: that of the scores, summed over the batch. */
function biasGradient(dScores: Tensor, { heads, queries, keys }: Sizes): Tensor {
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
        { ...bands(q, k, v), dOutput: channelHeads(dOutput, sizes), probabilities },
        { query, key, value, scores: false },
      )?.dispose();
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
      using dScores = attendBackward(
        sizes,
        { ...bands(qkv), dOutput: channelHeads(dOutput, sizes), probabilities },
        { ...(dqkv ? bands(dqkv) : { query: null, key: null, value: null }), scores: toBias },
      );
      if (!bias) return [dqkv];
      return [dqkv, toBias ? biasGradient(dScores!, sizes) : null];
    },
  });
  probabilities.dispose();
  return output;
}
