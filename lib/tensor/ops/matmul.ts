import { record, records } from "../autograd.ts";
import { sameShape, type Shape, shapeError, shapeText, sizeOf } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { add } from "./arithmetic.ts";
import { fuses, gemm } from "./gemm.ts";
import { savedOperands, sumOfRows, times, timesTransposed, transposedTimes } from "./products.ts";
import { sum } from "./sum.ts";
import { gelu } from "./unary.ts";

/** Options of {@linkcode matmul}. */
export interface MatmulOptions {
  /** Read a as its transpose over the last two axes. */
  readonly transposeA?: boolean;
  /** Read b as its transpose over the last two axes. */
  readonly transposeB?: boolean;
}

/** A batch of packed matrices, the factor of a product. */
interface Factor {
  readonly tensor: Tensor;
  /** Read each matrix as its transpose. */
  readonly transpose: boolean;
  /** Elements from one matrix to the next; 0 for one matrix that all products share. */
  readonly stride: number;
}

function transposed(factor: Factor): Factor {
  return { ...factor, transpose: !factor.transpose };
}

/** op(A) op(B) for all matrices of `shape` [..., m, n], without history; k is the length of the sums. */
function multiply(a: Factor, b: Factor, k: number, shape: Shape): Tensor {
  const [m, n] = shape.slice(-2);
  const output = Tensor.empty(a.tensor.gpu, shape);
  const matrices = ({ tensor, transpose, stride }: Factor, [rows, columns]: readonly number[]) => ({
    tensor,
    ld: transpose ? rows : columns,
    transpose,
    inner: stride,
  });
  gemm({
    m,
    n,
    k,
    a: matrices(a, [m, k]),
    b: matrices(b, [k, n]),
    c: { tensor: output, ld: n, inner: m * n },
    batch: [1, sizeOf(shape.slice(0, -2))],
  });
  return output;
}

/**
 * Matrix product over the last two axes: [..., m, k] x [..., k, n] -> [..., m, n]. The leading axes
 * are equal, or b has none and is used for every matrix of a.
 *
 * Gradients for y = a b: da = dy bᵀ, db = aᵀ dy.
 *
 * @throws {Error} if the shapes do not fit.
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false } = options;
  const batch = a.shape.slice(0, -2);
  const shared = b.shape.length === 2;
  const [ra, ca] = a.shape.slice(-2);
  const [rb, cb] = b.shape.slice(-2);
  const [m, k] = transposeA ? [ca, ra] : [ra, ca];
  const [kb, n] = transposeB ? [cb, rb] : [rb, cb];
  if (
    a.shape.length < 2 || b.shape.length < 2 || k !== kb ||
    !(shared || sameShape(batch, b.shape.slice(0, -2)))
  ) {
    const text = ({ shape }: Tensor, transpose: boolean) =>
      `${shapeText(shape)}${transpose ? "ᵀ" : ""}`;
    throw new Error(`matmul: ${text(a, transposeA)} and ${text(b, transposeB)} do not fit`);
  }
  const left = (tensor: Tensor): Factor => ({ tensor, transpose: transposeA, stride: ra * ca });
  const right = (tensor: Tensor): Factor => ({
    tensor,
    transpose: transposeB,
    stride: shared ? 0 : rb * cb,
  });
  return record({
    op: "matmul",
    inputs: [a, b],
    output: multiply(left(a), right(b), k, [...batch, m, n]),
    saved: [a, b],
    backward: (dy, [a, b], [toA, toB]) => {
      const gradient: Factor = { tensor: dy, transpose: false, stride: m * n };
      // An operand that was read transposed gets the transpose of its gradient: b dyᵀ, dyᵀ a.
      const da = !toA
        ? null
        : transposeA
        ? multiply(right(b), transposed(gradient), n, a.shape)
        : multiply(gradient, transposed(right(b)), n, a.shape);
      const shape = [...batch, rb, cb];
      const db = !toB
        ? null
        : transposeB
        ? multiply(transposed(gradient), left(a), m, shape)
        : multiply(transposed(left(a)), gradient, m, shape);
      const overBatch = { axes: batch.map((_, axis) => axis) };
      return [da, db && shared && batch.length > 0 ? sum(db, overBatch) : db];
    },
  });
}

/** Options of {@linkcode linear}. */
export interface LinearOptions {
  /** Added to the product, in the output's shape. */
  readonly residual?: Tensor | null;
  /** Applied last. */
  readonly activation?: "gelu" | null;
}

/**
 * y = x Wᵀ + b over the last axis, as torch.nn.functional.linear: x [..., in], W [out, in], b [out]; with
 * options gelu(x Wᵀ + b + residual). The residual is fused into the product, and so is GELU if nothing is
 * recorded.
 *
 * Gradients: dx = dy W, dW = dyᵀ x, db = the sum of dy over all but the last axis; the residual's is dy.
 *
 * @throws {Error} if the shapes do not fit.
 */
export function linear(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: LinearOptions = {},
): Tensor {
  const { residual = null, activation = null } = options;
  const [out, inp] = weight.shape;
  if (
    weight.shape.length !== 2 || x.shape.at(-1) !== inp || (bias && bias.size !== out) ||
    (residual && residual.size !== x.size / inp * out)
  ) {
    throw shapeError("linear", { x, weight, bias, residual });
  }
  const inputs = [x, weight, bias, residual];
  if (activation && records(inputs)) return gelu(linear(x, weight, bias, { residual }));
  if (residual && !fuses(inp, out)) {
    const y = add(linear(x, weight, bias), residual);
    return activation ? gelu(y) : y;
  }
  return record({
    op: "linear",
    inputs,
    output: timesTransposed(x, weight, {
      bias,
      activation: activation ?? undefined,
      extra: residual ? { residual } : undefined,
    }),
    saved: savedOperands(x, weight),
    backward: (dy, [x, weight], [toX, toWeight, toBias]) => [
      toX ? times(dy, weight) : null,
      toWeight ? transposedTimes(dy, x) : null,
      toBias ? sumOfRows(dy) : null,
      dy,
    ],
  });
}
