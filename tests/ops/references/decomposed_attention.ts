import type { Reference } from "../check.ts";

/** Sizes of a decomposed attention. */
export interface DecomposedProblem {
  readonly batch: number;
  readonly heads: number;
  readonly depth: number;
  readonly grid: readonly [number, number];
}

/**
 * Attention with decomposed relative positions, row by row: the scores, both relative positions, the softmax, the mean of the values.
 */
export function decomposedAttention64(
  { batch, heads, depth, grid: [height, width] }: DecomposedProblem,
  [qkv, relPosH, relPosW]: readonly Reference[],
): Reference {
  const n = height * width;
  const data = new Float64Array(batch * n * heads * depth);
  const at = (b: number, i: number, band: number, h: number) =>
    (((b * n + i) * 3 + band) * heads + h) * depth;
  const dot = (i: number, other: Float64Array, j: number) => {
    let total = 0;
    for (let c = 0; c < depth; c++) total += qkv.data[i + c] * other[j + c];
    return total;
  };
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let i = 0; i < n; i++) {
        const q = at(b, i, 0, h);
        const p = Array.from({ length: n }, (_, j) => {
          const down = Math.floor(i / width) - Math.floor(j / width) + height - 1;
          const right = i % width - j % width + width - 1;
          return Math.exp(
            dot(q, qkv.data, at(b, j, 1, h)) / Math.sqrt(depth) +
              dot(q, relPosH.data, down * depth) + dot(q, relPosW.data, right * depth),
          );
        });
        const total = p.reduce((a, b) => a + b);
        for (let c = 0; c < depth; c++) {
          let out = 0;
          for (let j = 0; j < n; j++) out += p[j] / total * qkv.data[at(b, j, 2, h) + c];
          data[((b * n + i) * heads + h) * depth + c] = out;
        }
      }
    }
  }
  return { shape: [batch, n, heads * depth], data };
}
