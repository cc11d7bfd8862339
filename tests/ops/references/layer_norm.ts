import type { Reference } from "../check.ts";

/** (x - mean) / sqrt(variance + eps) * weight + bias, row by row. */
export function layerNorm64(
  [x, weight, bias]: readonly Reference[],
  { eps }: { readonly eps: number },
): Reference {
  const n = x.shape.at(-1)!;
  const data = new Float64Array(x.data.length);
  for (let start = 0; start < data.length; start += n) {
    const row = x.data.subarray(start, start + n);
    const mean = row.reduce((a, b) => a + b) / n;
    const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / n;
    row.forEach((v, i) =>
      data[start + i] = (v - mean) / Math.sqrt(variance + eps) * weight.data[i] + bias.data[i]
    );
  }
  return { shape: x.shape, data };
}
