import { record } from "../autograd.ts";
import { shapeError, shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { type Convolution, multiplyColumns, scatterColumns } from "./columns.ts";
import { permute, reshape } from "./movement.ts";
import { savedOperands, sumOfRows } from "./products.ts";

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
    throw shapeError("convTranspose2d", { x, weight, bias });
  }
  // As [I, kh, kw, O] the weight makes columns whose channels lie side by side.
  const rows = reshape(permute(weight, [0, 2, 3, 1]), [inp, kh * kw * out]);
  return transposed(x, rows, { window: { kernel: [kh, kw], stride, padding }, bias });
}

/** Transposed convolution with the weight as [I, kh * kw * O]. */
function transposed(x: Tensor, weight: Tensor, { window, bias }: Convolution): Tensor {
  const { gpu, shape: [batch, h, w] } = x;
  const [inp, k] = weight.shape;
  const { kernel: [kh, kw], stride, padding } = window;
  const outH = (h - 1) * stride - 2 * padding + kh;
  const outW = (w - 1) * stride - 2 * padding + kw;
  if (Math.min(outH, outW) < 1) {
    throw new Error(`convTranspose2d: padding ${padding} leaves nothing of ${shapeText(x.shape)}`);
  }
  const output = Tensor.empty(gpu, [batch, outH, outW, k / (kh * kw)]);
  scatterColumns({ images: output, window }, { rows: x, weight, bias });
  const { shape } = x;
  return record({
    op: "convTranspose2d",
    inputs: [x, weight, bias],
    output,
    saved: savedOperands(x, weight),
    backward: (dy, [x, weight], [toX, toWeight, toBias]) => {
      const dx = toX ? Tensor.empty(gpu, shape) : null;
      const dWeight = toWeight ? Tensor.empty(gpu, [inp, k]) : null;
      multiplyColumns({ images: dy, window }, {
        rows: dx && { output: dx, weight },
        weight: dWeight && { output: dWeight, rows: x },
      });
      return [dx, dWeight, toBias ? sumOfRows(dy) : null];
    },
  });
}
