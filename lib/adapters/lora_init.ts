import { InputError } from "../errors.ts";
import type { Random } from "../random.ts";
import { largestSingularTriplets } from "./svd.ts";

/**
 * How A and B start, by PEFT's names: `true` (A uniform, B zero), `"gaussian"` (A normal, B zero),
 * `"pissa"` (the weight's principal directions, which leave the weight; `"pissa_niter_n"` is
 * PEFT's fast approximation of it and computed like it here), `false` (A and B uniform: the model
 * changes at once; for tests).
 */
export type LoraInit = boolean | "gaussian" | "pissa" | `pissa_niter_${number}`;

/** Whether A and B take over a part of the base weight. */
export function isPissa(init: unknown): init is "pissa" | `pissa_niter_${number}` {
  return init === "pissa" || /^pissa_niter_\d+$/.test(String(init));
}

/** Refuses what is not a start, with an {@linkcode InputError}. */
export function checkLoraInit(init: unknown): asserts init is LoraInit {
  if (typeof init === "boolean" || init === "gaussian" || isPissa(init)) return;
  throw new InputError(
    `there is no initialisation "${init}": choose true, false, "gaussian" or "pissa"`,
  );
}

/** Initial A [r, in] and B [out, r] of a start that leaves the base weight alone. */
export function initialLora(
  init: boolean | "gaussian",
  sizes: { rank: number; inFeatures: number; outFeatures: number; random: Random },
): { a: Float32Array; b: Float32Array } {
  const { rank, inFeatures, outFeatures, random } = sizes;
  const draw = (count: number, next: () => number) => Float32Array.from({ length: count }, next);
  // torch.nn.init.kaiming_uniform_(weight, a = sqrt 5): bound 1 / sqrt(fan in).
  const uniform = (count: number, fanIn: number) =>
    draw(count, () => random.uniformIn(-1 / Math.sqrt(fanIn), 1 / Math.sqrt(fanIn)));
  switch (init) {
    case true:
      return { a: uniform(rank * inFeatures, inFeatures), b: new Float32Array(outFeatures * rank) };
    case false:
      return { a: uniform(rank * inFeatures, inFeatures), b: uniform(outFeatures * rank, rank) };
    case "gaussian":
      return {
        a: draw(rank * inFeatures, () => random.normal() / rank),
        b: new Float32Array(outFeatures * rank),
      };
  }
}

/**
 * A [r, in] and B [out, r] of a weight's r principal directions, and the residual weight
 * W - s B A that the base keeps.
 *
 * Source: Meng et al. 2024, "PiSSA: Principal Singular Values and Singular Vectors Adaptation".
 */
export function pissa(
  weight: Float32Array,
  sizes: {
    rank: number;
    inFeatures: number;
    outFeatures: number;
    scaling: number;
    random: Random;
  },
): { a: Float32Array; b: Float32Array; residual: Float32Array } {
  const { rank, inFeatures: n, outFeatures: m, scaling, random } = sizes;
  const { values, left, right } = largestSingularTriplets(weight, { m, n, r: rank, random });
  const a = new Float32Array(rank * n);
  const b = new Float32Array(m * rank);
  for (const [k, value] of values.entries()) {
    const root = Math.sqrt(value / scaling);
    for (let j = 0; j < n; j++) a[k * n + j] = root * right[k][j];
    for (let i = 0; i < m; i++) b[i * rank + k] = root * left[k][i];
  }
  const residual = new Float32Array(m * n);
  const row = new Float64Array(n);
  for (let i = 0; i < m; i++) {
    row.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = scaling * b[i * rank + k];
      for (let j = 0; j < n; j++) row[j] += factor * a[k * n + j];
    }
    for (let j = 0; j < n; j++) residual[i * n + j] = weight[i * n + j] - row[j];
  }
  return { a, b, residual };
}
