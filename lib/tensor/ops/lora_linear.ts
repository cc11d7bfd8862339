import { record } from "../autograd.ts";
import { sameShape, shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { gemm } from "./gemm.ts";
import { sum } from "./sum.ts";

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
 * y = x Wᵀ + b + s (x Aᵀ) Bᵀ over the last axis (Hu et al. 2021, eq. 3). The update is added to the
 * output of the frozen layer by the matrix product itself; with B = 0 the output is bit-equal to it.
 *
 * Gradients, with h = x Aᵀ and g = s dy B: dx = dy W + g A, dA = gᵀ x, dB = s dyᵀ h; dW and db as in
 * a linear layer where those are trained too.
 *
 * @throws {Error} if the shapes do not fit.
 */
export function loraLinear(x: Tensor, weights: LoraWeights): Tensor {
  const { weight, bias, loraA, loraB, scaling } = weights;
  const { gpu } = x;
  const [out, inp] = weight.shape;
  const rank = loraA.shape[0];
  if (
    x.shape.at(-1) !== inp || loraA.shape[1] !== inp || !sameShape(loraB.shape, [out, rank])
  ) {
    throw new Error(
      `loraLinear: x ${shapeText(x.shape)}, weight ${shapeText(weight.shape)}, A ${
        shapeText(loraA.shape)
      } and B ${shapeText(loraB.shape)} do not fit`,
    );
  }
  const rows = x.size / inp;
  const h = Tensor.empty(gpu, [rows, rank]);
  gemm({
    m: rows,
    n: rank,
    k: inp,
    a: { tensor: x, ld: inp },
    b: { tensor: loraA, ld: inp, transpose: true },
    c: { tensor: h, ld: rank },
  });
  const output = Tensor.empty(gpu, x.shape.with(-1, out));
  gemm({
    m: rows,
    n: out,
    k: inp,
    a: { tensor: x, ld: inp },
    b: { tensor: weight, ld: inp, transpose: true },
    c: { tensor: output, ld: out },
    bias,
  });
  gemm({
    m: rows,
    n: out,
    k: rank,
    a: { tensor: h, ld: rank },
    b: { tensor: loraB, ld: rank, transpose: true },
    c: { tensor: output, ld: out },
    alpha: scaling,
    accumulate: true,
  });
  return record({
    op: "loraLinear",
    inputs: [x, loraA, loraB, weight, ...(bias ? [bias] : [])],
    output,
    saved: [x, h, weight, loraA, loraB],
    backward: (dy, [x, h, weight, loraA, loraB], [toX, toA, toB, toWeight, toBias]) => {
      let dx = null;
      let dA = null;
      let dB = null;
      let dWeight = null;
      if (toX || toA) {
        const g = Tensor.empty(gpu, [rows, rank]);
        gemm({
          m: rows,
          n: rank,
          k: out,
          a: { tensor: dy, ld: out },
          b: { tensor: loraB, ld: rank },
          c: { tensor: g, ld: rank },
          alpha: scaling,
        });
        if (toA) {
          dA = Tensor.empty(gpu, [rank, inp]);
          gemm({
            m: rank,
            n: inp,
            k: rows,
            a: { tensor: g, ld: rank, transpose: true },
            b: { tensor: x, ld: inp },
            c: { tensor: dA, ld: inp },
          });
        }
        if (toX) {
          dx = Tensor.empty(gpu, x.shape);
          const c = { tensor: dx, ld: inp };
          gemm({
            m: rows,
            n: inp,
            k: out,
            a: { tensor: dy, ld: out },
            b: { tensor: weight, ld: inp },
            c,
          });
          gemm({
            m: rows,
            n: inp,
            k: rank,
            a: { tensor: g, ld: rank },
            b: { tensor: loraA, ld: inp },
            c,
            accumulate: true,
          });
        }
      }
      if (toB) {
        dB = Tensor.empty(gpu, [out, rank]);
        gemm({
          m: out,
          n: rank,
          k: rows,
          a: { tensor: dy, ld: out, transpose: true },
          b: { tensor: h, ld: rank },
          c: { tensor: dB, ld: rank },
          alpha: scaling,
        });
      }
      if (toWeight) {
        dWeight = Tensor.empty(gpu, [out, inp]);
        gemm({
          m: out,
          n: inp,
          k: rows,
          a: { tensor: dy, ld: out, transpose: true },
          b: { tensor: x, ld: inp },
          c: { tensor: dWeight, ld: inp },
        });
      }
      const grads = [dx, dA, dB, dWeight];
      if (bias) grads.push(toBias ? sum(dy.view([rows, out]), { axes: [0] }) : null);
      return grads;
    },
  });
}
