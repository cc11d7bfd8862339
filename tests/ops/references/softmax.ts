import type { Reference } from "../check.ts";

/** exp(x) over its sum, along the last axis. */
export function softmax64(x: Reference): Reference {
  const n = x.shape.at(-1)!;
  const data = new Float64Array(x.data.length);
  for (let start = 0; start < data.length; start += n) {
    const row = x.data.subarray(start, start + n).map(Math.exp);
    const total = row.reduce((a, b) => a + b);
    data.set(row.map((e) => e / total), start);
  }
  return { shape: x.shape, data };
}
