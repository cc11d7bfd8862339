import { record, records } from "../autograd.ts";
import { shapeError, shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { add } from "./arithmetic.ts";
import {
  type Convolution,
  multiplyColumns,
  positions,
  scatterColumns,
  type Window,
} from "./columns.ts";
import { depthwiseConv2d } from "./depthwise_conv2d.ts";
import { linear } from "./matmul.ts";
import { permute, reshape } from "./movement.ts";
import { savedOperands, sumOfRows } from "./products.ts";
import { gelu } from "./unary.ts";

/** Options of {@linkcode conv2d}. */
export interface Conv2dOptions {
  /** Pixels from one output to the next, along both axes; by default 1. */
  readonly stride?: number;
  /** Zero pixels on every side; by default 0. */
  readonly padding?: number;
  /** Added to the output, in its shape. */
  readonly residual?: Tensor | null;
  /** Applied last. */
  readonly activation?: "gelu" | null;
  /** 1 (every input channel reaches every output channel) or the number of channels (depthwise). */
  readonly groups?: number;
}

/**
 * 2-D convolution (cross-correlation) as torch.nn.functional.conv2d, channels last: x [B, H, W, I],
 * weight [O, I / groups, kh, kw], bias [O] -> [B, H', W', O] with
 * H' = floor((H + 2 padding - kh) / stride) + 1; with options gelu(... + residual).
 *
 * @throws {Error} if the shapes do not fit, or for groups between 1 and the number of channels.
 */
export function conv2d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: Conv2dOptions = {},
): Tensor {
  const { stride = 1, padding = 0, groups = 1, residual = null, activation = null } = options;
  const [out, inp, kh, kw] = weight.shape;
  const [, h, w, channels] = x.shape;
  if (
    x.shape.length !== 4 || weight.shape.length !== 4 || channels !== inp * groups ||
    (bias && bias.size !== out)
  ) {
    throw shapeError("conv2d", { x, weight, bias }, groups > 1 ? ` for ${groups} groups` : "");
  }
  if (groups !== 1 && (groups !== channels || out !== channels)) {
    throw new Error(
      `conv2d: ${groups} groups of ${channels} channels: only 1 group and depthwise are supported`,
    );
  }
  const window: Window = { kernel: [kh, kw], stride, padding };
  if (Math.min(...positions([h, w], window)) < 1) {
    throw new Error(`conv2d: a kernel of ${kh} x ${kw} does not fit into ${shapeText(x.shape)}`);
  }
  if (groups === 1 && kh * kw === 1 && stride === 1 && padding === 0) {
    return linear(x, reshape(weight, [out, inp]), bias, { residual, activation });
  }
  if (residual || (activation && (groups > 1 || records([x, weight, bias])))) {
    const y = conv2d(x, weight, bias, { stride, padding, groups });
    const sum = residual ? add(y, residual) : y;
    return activation ? gelu(sum) : sum;
  }
  if (groups > 1) {
    // The taps slowest, so that neighbouring channels lie side by side.
    return depthwiseConv2d(x, permute(reshape(weight, [out, kh * kw]), [1, 0]), { window, bias });
  }
  // As [O, kh, kw, I] the weight fits columns whose channels are copied side by side.
  const rows = inp === 1 || kh * kw === 1 ? weight : permute(weight, [0, 2, 3, 1]);
  return convByColumns(x, reshape(rows, [out, kh * kw * inp]), {
    window,
    bias,
    activation,
  });
}

/**
 * Dense convolution as a matrix product: y = col(x) Wᵀ + b with W [O, kh * kw * I]. An activation is
 * applied only if nothing is recorded.
 *
 * Gradients: dx = col2im(dy W), dW = dyᵀ col(x), db = the sum of dy over pixels. The columns, kh * kw
 * times as large as x, are made again for dW rather than kept.
 */
function convByColumns(
  x: Tensor,
  weight: Tensor,
  { window, bias, activation }: Convolution & { activation: "gelu" | null },
): Tensor {
  const { gpu, shape } = x;
  const [batch, h, w] = shape;
  const [n, k] = weight.shape;
  const output = Tensor.empty(gpu, [batch, ...positions([h, w], window), n]);
  multiplyColumns({ images: x, window }, {
    rows: { output, weight, bias, activation: activation ?? undefined },
  });
  return record({
    op: "conv2d",
    inputs: [x, weight, bias],
    output,
    saved: savedOperands(x, weight),
    backward: (dy, [x, weight], [toX, toWeight, toBias]) => {
      const dx = toX ? Tensor.empty(gpu, shape) : null;
      const dWeight = toWeight ? Tensor.empty(gpu, [n, k]) : null;
      if (dx) scatterColumns({ images: dx, window }, { rows: dy, weight });
      multiplyColumns({ images: x, window }, {
        weight: dWeight && { output: dWeight, rows: dy },
      });
      return [dx, dWeight, toBias ? sumOfRows(dy) : null];
    },
  });
}
