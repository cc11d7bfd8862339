import { inElements } from "../../../kernels/element.ts";
import { softmaxBackwardKernels, softmaxKernels } from "../../../kernels/normalisation/mod.ts";
import { record } from "../autograd.ts";
import { shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { rowDispatch } from "./rows.ts";

/** x becomes softmax(x) along rows of n elements. */
function softmaxInPlace(x: Tensor, n: number): void {
  const rows = x.size / n;
  x.gpu.run(inElements(softmaxKernels, n).kernel, {
    buffers: { x: x.buffer },
    params: { rows, n },
    ...rowDispatch(x.gpu, rows),
  });
}

/**
 * dp, the gradient with respect to p = softmax(x), becomes the gradient with respect to x:
 * dx = p (dp - the row's sum of p dp).
 */
function softmaxBackwardInPlace(dp: Tensor, { n, p }: { n: number; p: Tensor }): void {
  const rows = dp.size / n;
  dp.gpu.run(inElements(softmaxBackwardKernels, n).kernel, {
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
  const output = copyOf(x);
  softmaxInPlace(output, n);
  return record({
    op: "softmax",
    inputs: [x],
    output,
    saved: [output],
    backward: (dy, [p]) => {
      const dx = copyOf(dy);
      softmaxBackwardInPlace(dx, { n, p });
      return [dx];
    },
  });
}
