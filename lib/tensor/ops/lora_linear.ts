import { record } from "../autograd.ts";
import { sameShape, shapeError } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { fuses } from "./gemm.ts";
import { sumOfRows, times, timesTransposed, transposedTimes } from "./products.ts";

/** Weights of a linear layer with a low-rank update. */
export interface LoraWeights {
  /** [out, in] */
  readonly weight: Tensor;
  /** [out], or none. */
  readonly bias: Tensor | null;
  /** A: [r, in] */
  readonly loraA: Tensor;
  /** B: [out, r] */
  readonly loraB: Tensor;
  /** s: alpha / r. */
  readonly scaling: number;
}

/**
 * y = x Wᵀ + b + s (x Aᵀ) Bᵀ over the last axis (Hu et al. 2021, eq. 3). If all sizes are multiples of 4
 * the product with B is fused into the one with W, otherwise it is added to its output; with B = 0 the
 * output is bit-equal to the frozen layer's.
 *
 * Gradients, with h = x Aᵀ and g = s dy B: dx = dy W + g A, dA = gᵀ x, dB = s dyᵀ h; dW and db are those
 * of a linear layer.
 *
 * @throws {Error} if the shapes do not fit.
 */
export function loraLinear(x: Tensor, weights: LoraWeights): Tensor {
  const { weight, bias, loraA, loraB, scaling } = weights;
  const [out, inp] = weight.shape;
  const rank = loraA.shape[0];
  if (
    x.shape.at(-1) !== inp || loraA.shape[1] !== inp || !sameShape(loraB.shape, [out, rank])
  ) {
    throw shapeError("loraLinear", { x, weight, A: loraA, B: loraB });
  }
  const h = timesTransposed(x, loraA); // [..., r]
  const fused = fuses(inp, out, rank);
  const output = timesTransposed(x, weight, {
    bias,
    extra: fused ? { update: { h, u: loraB, alpha: scaling } } : undefined,
  });
  if (!fused) timesTransposed(h, loraB, { alpha: scaling, addTo: output });
  return record({
    op: "loraLinear",
    inputs: [x, loraA, loraB, weight, bias],
    output,
    saved: [x, h, weight, loraA, loraB],
    backward: (dy, [x, h, weight, loraA, loraB], [toX, toA, toB, toWeight, toBias]) => {
      const g = toX || toA ? times(dy, loraB, { alpha: scaling }) : null; // [..., r]
      const dx = !toX
        ? null
        : fused
        ? times(dy, weight, { extra: { update: { h: g!, u: loraA, alpha: 1 } } })
        : times(g!, loraA, { addTo: times(dy, weight) });
      return [
        dx,
        toA ? transposedTimes(g!, x) : null,
        toB ? transposedTimes(dy, h, { alpha: scaling }) : null,
        toWeight ? transposedTimes(dy, x) : null,
        toBias ? sumOfRows(dy) : null,
      ];
    },
  });
}
