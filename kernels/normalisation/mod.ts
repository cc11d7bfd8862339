import { byElement } from "../element.ts";
import backwardSource from "./layer_norm_backward.wgsl" with { type: "text" };
import forwardSource from "./layer_norm.wgsl" with { type: "text" };
import parametersSource from "./layer_norm_parameters.wgsl" with { type: "text" };
import rowSource from "./row.wgsl" with { type: "text" };
import softmaxBackwardSource from "./softmax_backward.wgsl" with { type: "text" };
import softmaxSource from "./softmax.wgsl" with { type: "text" };

/** out = x normalised along each row, times weight, plus bias. */
export const layerNormKernels = byElement({
  name: "layer_norm",
  source: rowSource + forwardSource,
  buffers: {
    x: "texel",
    weight: "texel",
    bias: "texel",
    out: "read_write",
    statistics: "read_write",
  },
  params: { rows: "u32", length: "u32", eps: "f32" },
});

/** Gradient with respect to x. */
export const layerNormBackwardKernels = byElement({
  name: "layer_norm_backward",
  source: rowSource + backwardSource,
  buffers: { x: "texel", weight: "texel", statistics: "texel", dy: "texel", dx: "read_write" },
  params: { rows: "u32", length: "u32" },
});

/** Gradients with respect to weight and bias, by chunks of rows. */
export const layerNormParametersKernels = byElement({
  name: "layer_norm_parameters",
  source: parametersSource,
  buffers: {
    x: "texel",
    statistics: "texel",
    dy: "texel",
    dweight: "read_write",
    dbias: "read_write",
  },
  params: { rows: "u32", length: "u32", chunk: "u32" },
});

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
  source: rowSource + softmaxBackwardSource,
  buffers: { p: "texel", dp: "read_write" },
  params: { rows: "u32", n: "u32" },
});
