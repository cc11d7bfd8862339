import { sum } from "./sum.ts";
import { Tensor } from "../tensor.ts";
import { gemm, type GemmExtra } from "./gemm.ts";

/** Options of the products of a linear layer. */
export interface ProductOptions {
  /** Factor of the product; default 1. */
  readonly alpha?: number;
  /** Added to every row of the product. */
  readonly bias?: Tensor | null;
  /** Tensor that the product is added to in place, instead of making one. */
  readonly addTo?: Tensor;
  /** Applied last. */
  readonly activation?: "gelu" | "relu";
  /** Operation fused into the product; all sizes must be multiples of 4. */
  readonly extra?: GemmExtra;
}

/** x Wᵀ without history: x [..., in], weight [out, in] -> [..., out]. The forward of a linear layer. */
export function timesTransposed(x: Tensor, weight: Tensor, options: ProductOptions = {}): Tensor {
  return multiply(x, weight, { ...options, transpose: true });
}

/** y W without history: y [..., out], weight [out, in] -> [..., in]. The gradient to the input. */
export function times(y: Tensor, weight: Tensor, options: ProductOptions = {}): Tensor {
  return multiply(y, weight, { ...options, transpose: false });
}

function multiply(
  x: Tensor,
  weight: Tensor,
  { addTo, transpose, alpha, bias, activation, extra }: ProductOptions & { transpose: boolean },
): Tensor {
  const [rows, columns] = weight.shape;
  const [n, k] = transpose ? [rows, columns] : [columns, rows];
  const product = addTo ?? Tensor.empty(x.gpu, x.shape.with(-1, n));
  gemm({
    m: x.size / k,
    n,
    k,
    a: { tensor: x, ld: k },
    b: { tensor: weight, ld: columns, transpose },
    c: { tensor: product, ld: n },
    alpha,
    bias,
    accumulate: addTo !== undefined,
    activation,
    extra,
  });
  return product;
}

/**
 * yᵀ x without history, summed over all leading axes: y [..., out], x [..., in] -> [out, in]. The
 * gradient to the weight.
 */
export function transposedTimes(y: Tensor, x: Tensor, options: { alpha?: number } = {}): Tensor {
  const out = y.shape.at(-1)!;
  const inp = x.shape.at(-1)!;
  const product = Tensor.empty(y.gpu, [out, inp]);
  gemm({
    m: out,
    n: inp,
    k: x.size / inp,
    a: { tensor: y, ld: out, transpose: true },
    b: { tensor: x, ld: inp },
    c: { tensor: product, ld: inp },
    alpha: options.alpha,
  });
  return product;
}

/** Sum over all but the last axis, without history: [..., C] -> [C]. The gradient to the bias. */
export function sumOfRows(y: Tensor): Tensor {
  const channels = y.shape.at(-1)!;
  return sum(y.view([y.size / channels, channels]), { axes: [0] });
}

/**
 * Tensors that the gradients of a product of x and a weight read: x for the weight's alone, the weight
 * for x's alone. One that is not needed is replaced by the other, so that it is not kept.
 */
export function savedOperands(x: Tensor, weight: Tensor): [x: Tensor, weight: Tensor] {
  return [weight.requiresGrad ? x : weight, x.requiresGrad ? weight : x];
}
