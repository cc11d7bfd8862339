import { type Backward, record, records } from "../autograd.ts";
import { shapeError } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { add } from "./arithmetic.ts";
import { fuses } from "./gemm.ts";
import { linear } from "./matmul.ts";
import { sumOfRows, times, timesTransposed, transposedTimes } from "./products.ts";
import { gelu } from "./unary.ts";

/** Weights of a perceptron with one hidden layer. */
export interface PerceptronWeights {
  /** W₁: [hidden, in] */
  readonly weight1: Tensor;
  /** b₁: [hidden], or none. */
  readonly bias1: Tensor | null;
  /** W₂: [out, hidden] */
  readonly weight2: Tensor;
  /** b₂: [out], or none. */
  readonly bias2: Tensor | null;
}

/**
 * y = gelu(x W₁ᵀ + b₁) W₂ᵀ + b₂ + residual over the last axis, x [..., in], residual [..., out]. GELU is
 * fused into the first product and the residual into the second; in the backward pass GELU's derivative is
 * fused into the product that gives the hidden layer's gradient.
 *
 * Gradients, with z = x W₁ᵀ + b₁: dz = (dy W₂) gelu'(z), dx = dz W₁, dW₁ = dzᵀ x, dW₂ = dyᵀ gelu(z); the
 * residual's is dy.
 *
 * @throws {Error} if the shapes do not fit.
 */
export function perceptron(
  x: Tensor,
  weights: PerceptronWeights,
  { residual = null }: { residual?: Tensor | null } = {},
): Tensor {
  const { weight1, bias1, weight2, bias2 } = weights;
  const [hidden, inp] = weight1.shape;
  const out = weight2.shape[0];
  if (
    x.shape.at(-1) !== inp || weight2.shape[1] !== hidden ||
    (residual && residual.size !== x.size / inp * out)
  ) {
    throw shapeError("perceptron", { x, weight1, weight2, residual });
  }
  if (!fuses(inp, hidden, out)) {
    const y = linear(gelu(linear(x, weight1, bias1)), weight2, bias2);
    return residual ? add(residual, y) : y;
  }
  const inputs = [x, weight1, weight2, bias1, bias2, residual];
  const keep = records(inputs) ? Tensor.empty(x.gpu, x.shape.with(-1, hidden)) : null; // z
  const h = timesTransposed(x, weight1, {
    bias: bias1,
    activation: "gelu",
    extra: keep ? { keep } : undefined,
  });
  const output = timesTransposed(h, weight2, {
    bias: bias2,
    extra: residual ? { residual } : undefined,
  });
  record({
    op: "perceptron",
    inputs,
    output,
    // x and h are needed for the weights' gradients alone.
    saved: [
      weight1.requiresGrad ? x : weight1,
      weight2.requiresGrad ? h : weight2,
      weight1,
      weight2,
      keep ?? h,
    ],
    activations: [h, keep],
    backward,
  });
  h.dispose();
  keep?.dispose();
  return output;
}

/** Gradients of x, W₁, W₂, b₁, b₂ and the residual, as far as they are needed. */
const backward: Backward<readonly [Tensor, Tensor, Tensor, Tensor, Tensor]> = (
  dy,
  [x, h, weight1, weight2, z],
  needs,
) => {
  const [toX, toWeight1, toWeight2, toBias1, toBias2] = needs;
  const dz = toX || toWeight1 || toBias1
    ? times(dy, weight2, { extra: { geluBackward: z } })
    : null;
  return [
    toX ? times(dz!, weight1) : null,
    toWeight1 ? transposedTimes(dz!, x) : null,
    toWeight2 ? transposedTimes(dy, h) : null,
    toBias1 ? sumOfRows(dz!) : null,
    toBias2 ? sumOfRows(dy) : null,
    dy,
  ];
};
