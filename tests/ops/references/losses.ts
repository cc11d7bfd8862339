import type { Reference } from "../check.ts";

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** Binary cross entropy: -mean(t log p + (1 - t) log(1 - p)) */
export function bce64(logits: Reference, target: Reference): number {
  let total = 0;
  logits.data.forEach((x, i) => {
    const t = target.data[i];
    total -= t * Math.log(sigmoid(x)) + (1 - t) * Math.log(sigmoid(-x));
  });
  return total / logits.data.length;
}

/** Each sample's (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth). */
export function dice64(logits: Reference, target: Reference, smooth: number): number[] {
  const samples = logits.shape[0];
  const n = logits.data.length / samples;
  return Array.from({ length: samples }, (_, b) => {
    let [both, predicted, actual] = [0, 0, 0];
    for (let i = b * n; i < (b + 1) * n; i++) {
      both += sigmoid(logits.data[i]) * target.data[i];
      predicted += sigmoid(logits.data[i]);
      actual += target.data[i];
    }
    return (2 * both + smooth) / (predicted + actual + smooth);
  });
}

/** The mean of some numbers. */
export const mean = (values: readonly number[]): number =>
  values.reduce((a, b) => a + b) / values.length;

/** A number as a tensor without axes. */
export const scalar = (value: number): Reference => ({ shape: [], data: Float64Array.of(value) });
