import { record } from "../autograd.ts";
import { shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { col2im, im2col, inTurns, type Window } from "./columns.ts";
import { gemm } from "./gemm.ts";
import { permute, reshape } from "./movement.ts";
import { sum } from "./sum.ts";

/** Options of {@linkcode convTranspose2d}. */
export interface ConvTranspose2dOptions {
  /** Output pixels from one input pixel to the next, along both axes; by default 1. */
  readonly stride?: number;
  /** Pixels cut off on every side; by default 0. */
  readonly padding?: number;
}

/**
 * Transposed 2-D convolution as torch.nn.functional.conv_transpose2d, channels last: x [B, H, W, I],
 * weight [I, O, kh, kw], bias [O] -> [B, H', W', O], H' = (H - 1) stride - 2 padding + kh.
 *
 * It is the adjoint of {@linkcode conv2d} with the same weight: y = col2im(x W) + b. Gradients:
 * dx = col(dy) Wᵀ, dW = xᵀ col(dy), db = the sum of dy over pixels.
 *
 * @throws {Error} if the shapes do not fit.
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: ConvTranspose2dOptions = {},
): Tensor {
  const { stride = 1, padding = 0 } = options;
  const [inp, out, kh, kw] = weight.shape;
  if (
    x.shape.length !== 4 || weight.shape.length !== 4 || x.shape[3] !== inp ||
    (bias && bias.size !== out)
  ) {
    throw new Error(
      `convTranspose2d: x ${shapeText(x.shape)}, weight ${shapeText(weight.shape)}${
        bias ? ` and bias ${shapeText(bias.shape)}` : ""
      } do not fit`,
    );
  }
  // As [I, kh, kw, O] the weight makes columns whose channels lie side by side.
  const rows = reshape(permute(weight, [0, 2, 3, 1]), [inp, kh * kw * out]);
  return transposed(x, rows, { window: { kernel: [kh, kw], stride, padding }, bias });
}

/** The same with the weight as [I, kh * kw * O]. */
function transposed(
  x: Tensor,
  weight: Tensor,
  { window, bias }: { window: Window; bias: Tensor | null },
): Tensor {
  const [batch, h, w] = x.shape;
  const [inp, k] = weight.shape;
  const { kernel: [kh, kw], stride, padding } = window;
  const out = k / (kh * kw);
  const outH = (h - 1) * stride - 2 * padding + kh;
  const outW = (w - 1) * stride - 2 * padding + kw;
  if (Math.min(outH, outW) < 1) {
    throw new Error(`convTranspose2d: padding ${padding} leaves nothing of ${shapeText(x.shape)}`);
  }
  const output = Tensor.empty(x.gpu, [batch, outH, outW, out]);
  const turns = () => inTurns(batch, [h * w, k]);
  for (const turn of turns()) {
    using col = Tensor.empty(x.gpu, [turn.rows, k]);
    gemm({
      m: turn.rows,
      n: k,
      k: inp,
      a: { tensor: x, ld: inp, offset: turn.offset * inp },
      b: { tensor: weight, ld: k },
      c: { tensor: col, ld: k },
    });
    col2im(col, output, { window, turn, bias });
  }
  const { shape } = x;
  return record({
    op: "convTranspose2d",
    inputs: bias ? [x, weight, bias] : [x, weight],
    output,
    // x is needed for dW alone, W for dx alone.
    saved: [weight.requiresGrad ? x : weight, x.requiresGrad ? weight : x],
    backward: (dy, [x, weight], [toX, toWeight, toBias]) => {
      const { gpu } = dy;
      const dx = toX ? Tensor.empty(gpu, shape) : null;
      const dWeight = toWeight ? Tensor.empty(gpu, [inp, k]) : null;
      for (const turn of dx || dWeight ? turns() : []) {
        using dCol = im2col(dy, window, turn);
        if (dx) {
          gemm({
            m: turn.rows,
            n: inp,
            k,
            a: { tensor: dCol, ld: k },
            b: { tensor: weight, ld: k, transpose: true },
            c: { tensor: dx, ld: inp, offset: turn.offset * inp },
          });
        }
        if (dWeight) {
          gemm({
            m: inp,
            n: k,
            k: turn.rows,
            a: { tensor: x, ld: inp, offset: turn.offset * inp, transpose: true },
            b: { tensor: dCol, ld: k },
            c: { tensor: dWeight, ld: k },
            accumulate: turn.first > 0,
          });
        }
      }
      const grads = [dx, dWeight];
      if (bias) grads.push(toBias ? sum(dy, { axes: [0, 1, 2] }) : null);
      return grads;
    },
  });
}
