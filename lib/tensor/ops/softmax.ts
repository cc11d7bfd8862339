import { inElements } from "../../../kernels/element.ts";
import { softmaxBackwardKernels, softmaxKernels } from "../../../kernels/softmax.ts";
import { record } from "../autograd.ts";
import { shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { rowDispatch } from "./rows.ts";

/** Rows of n elements that may be padded to a multiple of 4. */
export interface RowLayout {
  /** Elements of a row. */
  readonly n: number;
  /** Elements from one row to the next: n, or n rounded up to a multiple of 4. */
  readonly stride: number;
}

/**
 * x becomes softmax(x + bias) along its rows, without history. Padding becomes 0, whatever it held.
 *
 * @param x Rows of the given layout.
 * @param options `bias` has rows of the same layout and repeats along x's.
 */
export function softmaxInPlace(x: Tensor, options: RowLayout & { bias?: Tensor | null }): void {
  const { n, stride, bias } = options;
  const rows = x.size / stride;
  const dispatch = rowDispatch(x.gpu, rows);
  // Without a bias any buffer stands in for it but x's own, which is written.
  const { kernel } = inElements(softmaxKernels, stride);
  const spare = bias ?? Tensor.empty(x.gpu, [1]);
  x.gpu.run(kernel, {
    buffers: { x: x.buffer, bias: spare.buffer },
    params: { rows, n, bias_rows: bias ? bias.size / stride : 1 },
    constants: { ...dispatch.constants, BIAS: bias != null },
    workgroups: dispatch.workgroups,
  });
  if (!bias) spare.dispose();
}

/**
 * dp, the gradient with respect to p = softmax(x), becomes the gradient with respect to x, without
 * history: dx = p (dp - the row's sum of p dp). Padding becomes 0, whatever it held.
 */
export function softmaxBackwardInPlace(dp: Tensor, options: RowLayout & { p: Tensor }): void {
  const { n, stride, p } = options;
  const rows = dp.size / stride;
  dp.gpu.run(inElements(softmaxBackwardKernels, stride).kernel, {
    buffers: { p: p.buffer, dp: dp.buffer },
    params: { rows, n },
    ...rowDispatch(dp.gpu, rows),
  });
}

/** A copy that may be changed in place. */
function copyOf(x: Tensor): Tensor {
  const copy = Tensor.empty(x.gpu, x.shape);
  x.gpu.copy(x.buffer, copy.buffer, 4 * x.size);
  return copy;
}

/**
 * exp(x) / the sum of exp(x) along the last axis, computed from differences to the largest x. Gradient:
 * p (dy - the row's sum of p dy).
 */
export function softmax(x: Tensor): Tensor {
  const n = x.shape.at(-1) ?? 0;
  if (n === 0) throw new Error(`softmax: ${shapeText(x.shape)} has no rows`);
  const layout = { n, stride: n };
  const output = copyOf(x);
  softmaxInPlace(output, layout);
  return record({
    op: "softmax",
    inputs: [x],
    output,
    saved: [output],
    backward: (dy, [p]) => {
      const dx = copyOf(dy);
      softmaxBackwardInPlace(dx, { ...layout, p });
      return [dx];
    },
  });
}
