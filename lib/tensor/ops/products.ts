import { Tensor } from "../tensor.ts";
import { gemm, type GemmExtra } from "./gemm.ts";

/** Options of the products of a linear layer. */
export interface ProductOptions {
  /** Multiplies the product; default 1. */
  readonly alpha?: number;
  /** Added to every row of the product. */
  readonly bias?: Tensor | null;
  /** A tensor that the product is added to in place, instead of making one. */
  readonly addTo?: Tensor;
  /** Applied last. */
  readonly activation?: "gelu" | "relu";
  /** What happens on the way; all sizes must be multiples of 4. */
  readonly extra?: GemmExtra;
}

/** x Wᵀ without history: x [..., in], weight [out, in] -> [..., out]. The forward of a linear layer. */
export function timesTransposed(x: Tensor, weight: Tensor, options: ProductOptions = {}): Tensor {
  const { alpha, bias, addTo, activation, extra } = options;
  const [out, inp] = weight.shape;
  const product = addTo ?? Tensor.empty(x.gpu, x.shape.with(-1, out));
  gemm({
    m: x.size / inp,
    n: out,
    k: inp,
    a: { tensor: x, ld: inp },
    b: { tensor: weight, ld: inp, transpose: true },
    c: { tensor: product, ld: out },
    alpha,
    bias,
    accumulate: addTo !== undefined,
    activation,
    extra,
  });
  return product;
}

/** y W without history: y [..., out], weight [out, in] -> [..., in]. The gradient to the input. */
export function times(y: Tensor, weight: Tensor, options: ProductOptions = {}): Tensor {
  const { alpha, bias, addTo, activation, extra } = options;
  const [out, inp] = weight.shape;
  const product = addTo ?? Tensor.empty(y.gpu, y.shape.with(-1, inp));
  gemm({
    m: y.size / out,
    n: inp,
    k: out,
    a: { tensor: y, ld: out },
    b: { tensor: weight, ld: inp },
    c: { tensor: product, ld: inp },
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
