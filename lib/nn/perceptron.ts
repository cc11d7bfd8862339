import { add } from "../tensor/ops/arithmetic.ts";
import { perceptron } from "../tensor/ops/perceptron.ts";
import { gelu } from "../tensor/ops/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Linear } from "./linear.ts";

/**
 * residual + second(gelu(first(x))): as one op where both layers are plain, layer by layer where one has an
 * adapter.
 */
export function geluPerceptron(
  x: Tensor,
  [first, second]: readonly [Linear, Linear],
  { residual = null }: { residual?: Tensor | null } = {},
): Tensor {
  if (first.plain && second.plain) {
    return perceptron(x, {
      weight1: first.weight,
      bias1: first.bias,
      weight2: second.weight,
      bias2: second.bias,
    }, { residual });
  }
  const y = second.forward(gelu(first.forward(x)));
  return residual ? add(residual, y) : y;
}
