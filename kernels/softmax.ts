import { byElement } from "./element.ts";
import backwardSource from "./softmax_backward.wgsl" with { type: "text" };
import rowSource from "./row.wgsl" with { type: "text" };
import softmaxSource from "./softmax.wgsl" with { type: "text" };

/** x = softmax(x) along rows, in place. */
export const softmaxKernels = byElement({
  name: "softmax",
  source: rowSource + softmaxSource,
  buffers: { x: "read_write" },
  params: { rows: "u32", n: "u32" },
});

/** dp becomes the gradient with respect to the softmax's input, in place. */
export const softmaxBackwardKernels = byElement({
  name: "softmax_backward",
  source: rowSource + backwardSource,
  buffers: { p: "texel", dp: "read_write" },
  params: { rows: "u32", n: "u32" },
});
