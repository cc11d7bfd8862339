import { byElement } from "./element.ts";
import backwardSource from "./softmax_backward.wgsl" with { type: "text" };
import rowSource from "./row.wgsl" with { type: "text" };
import softmaxSource from "./softmax.wgsl" with { type: "text" };

/** x = softmax(x + bias) along rows, in place. Any buffer does as `bias` where there is none. */
export const softmaxKernels = byElement({
  name: "softmax",
  source: rowSource + softmaxSource,
  buffers: { x: "read_write", bias: "read" },
  params: { rows: "u32", n: "u32", bias_rows: "u32" },
});

/** dp becomes the gradient with respect to the softmax's input, in place. */
export const softmaxBackwardKernels = byElement({
  name: "softmax_backward",
  source: rowSource + backwardSource,
  buffers: { p: "read", dp: "read_write" },
  params: { rows: "u32", n: "u32" },
});
