import { record, records } from "../autograd.ts";
import { sameShape, shapeText, sizeOf } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { add } from "./arithmetic.ts";
import { fuses, gemm } from "./gemm.ts";
import { times, timesTransposed, transposedTimes } from "./products.ts";
import { sum } from "./sum.ts";
import { gelu } from "./unary.ts";

/** Options of {@linkcode matmul}. */
export interface MatmulOptions {
  /** Read a as its transpose over the last two axes. */
  readonly transposeA?: boolean;
  /** Read b as its transpose over the last two axes. */
  readonly transposeB?: boolean;
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
  const fail = () => {
    throw new Error(
      `matmul: ${shapeText(a.shape)}${transposeA ? "ᵀ" : ""} and ${shapeText(b.shape)}${
        transposeB ? "ᵀ" : ""
      } do not fit`,
    );
  };
  if (a.shape.length < 2 || b.shape.length < 2) fail();
  const batchShape = a.shape.slice(0, -2);
  const shared = b.shape.length === 2;
  if (!shared && !sameShape(batchShape, b.shape.slice(0, -2))) fail();
  const [ra, ca] = a.shape.slice(-2);
  const [rb, cb] = b.shape.slice(-2);
  const [m, k] = transposeA ? [ca, ra] : [ra, ca];
  const [kb, n] = transposeB ? [cb, rb] : [rb, cb];
  if (k !== kb) fail();
  const batch = sizeOf(batchShape);
  const strideB = shared ? 0 : rb * cb;

  const multiply = (
    x: Tensor,
    y: Tensor,
    [rows, columns, depth]: readonly [number, number, number],
    layout: {
      tx: boolean;
      ty: boolean;
      strideX: number;
      strideY: number;
      shape: readonly number[];
    },
  ) => {
    const z = Tensor.empty(x.gpu, layout.shape);
    gemm({
      m: rows,
      n: columns,
      k: depth,
      a: {
        tensor: x,
        ld: layout.tx ? rows : depth,
        transpose: layout.tx,
        inner: layout.strideX,
      },
      b: {
        tensor: y,
        ld: layout.ty ? depth : columns,
        transpose: layout.ty,
        inner: layout.strideY,
      },
      c: { tensor: z, ld: columns, inner: rows * columns },
      batch: [1, batch],
    });
    return z;
  };
  const output = multiply(a, b, [m, n, k], {
    tx: transposeA,
    ty: transposeB,
    strideX: ra * ca,
    strideY: strideB,
    shape: [...batchShape, m, n],
  });
  return record({
    op: "matmul",
    inputs: [a, b],
    output,
    saved: [a, b],
    backward: (dy, [a, b], [toA, toB]) => {
      let da = null;
      let db = null;
      if (toA) {
        // da = dy bᵀ, or its transpose b dyᵀ where a was read transposed.
        da = transposeA
          ? multiply(b, dy, [k, m, n], {
            tx: transposeB,
            ty: true,
            strideX: strideB,
            strideY: m * n,
            shape: a.shape,
          })
          : multiply(dy, b, [m, k, n], {
            tx: false,
            ty: !transposeB,
            strideX: m * n,
            strideY: strideB,
            shape: a.shape,
          });
      }
      if (toB) {
        const shape = [...batchShape, ...b.shape.slice(-2)];
        db = transposeB
          ? multiply(dy, a, [n, k, m], {
            tx: true,
            ty: transposeA,
            strideX: m * n,
            strideY: ra * ca,
            shape,
          })
          : multiply(a, dy, [k, n, m], {
            tx: !transposeA,
            ty: false,
            strideX: ra * ca,
            strideY: m * n,
            shape,
          });
        if (shared && batchShape.length > 0) {
          db = sum(db, { axes: batchShape.map((_, axis) => axis) });
        }
      }
      return [da, db];
    },
  });
}

/** Options of {@linkcode linear}. */
export interface LinearOptions {
  /** Added to the product: as large as the output. */
  readonly residual?: Tensor | null;
  /** Applied last. */
  readonly activation?: "gelu" | null;
}

/**
 * y = x Wᵀ + b over the last axis, as torch.nn.functional.linear: x [..., in], W [out, in], b [out]; with
 * options gelu(x Wᵀ + b + residual). The residual is part of the product, and so is GELU where nothing is
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
    throw new Error(
      `linear: x ${shapeText(x.shape)}, weight ${shapeText(weight.shape)}${
        bias ? ` and bias ${shapeText(bias.shape)}` : ""
      }${residual ? ` and residual ${shapeText(residual.shape)}` : ""} do not fit`,
    );
  }
  const inputs = [x, weight, bias, residual].filter((input) => input !== null);
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
    // x is needed for dW alone, W for dx alone.
    saved: [weight.requiresGrad ? x : weight, x.requiresGrad ? weight : x],
    backward: (dy, [x, weight], [toX, toWeight, ...others]) => {
      const dx = toX ? times(dy, weight) : null;
      const dWeight = toWeight ? transposedTimes(dy, x) : null;
      const grads = [dx, dWeight];
      if (bias) {
        grads.push(others[0] ? sum(dy.view([dy.size / out, out]), { axes: [0] }) : null);
      }
      if (residual) grads.push(dy);
      return grads;
    },
  });
}
