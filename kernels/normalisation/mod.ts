import { byElement } from "../element.ts";
import { f32, u32 } from "../spec.ts";
import layerNorm from "./layer_norm.wgsl" with { type: "text" };
import layerNormBackward from "./layer_norm_backward.wgsl" with { type: "text" };
import layerNormParameters from "./layer_norm_parameters.wgsl" with { type: "text" };
import row from "./row.wgsl" with { type: "text" };
import softmax from "./softmax.wgsl" with { type: "text" };
import softmaxBackward from "./softmax_backward.wgsl" with { type: "text" };

/** out = x normalised along each row, times weight, plus bias. */
export const layerNormKernels = byElement({
  name: "layer_norm",
  files: { "normalisation/row.wgsl": row, "normalisation/layer_norm.wgsl": layerNorm },
  buffers: {
    x: "texel Element",
    weight: "texel Element",
    bias: "texel Element",
    out: "read_write Element",
    statistics: "read_write vec2<f32>",
  },
  params: { ...u32("rows", "length"), ...f32("eps") },
});

/** Gradient with respect to x. */
export const layerNormBackwardKernels = byElement({
  name: "layer_norm_backward",
  files: {
    "normalisation/row.wgsl": row,
    "normalisation/layer_norm_backward.wgsl": layerNormBackward,
  },
  buffers: {
    x: "texel Element",
    weight: "texel Element",
    statistics: "texel vec2<f32>",
    dy: "texel Element",
    dx: "read_write Element",
  },
  params: u32("rows", "length"),
});

/** Gradients with respect to weight and bias, by chunks of rows. */
export const layerNormParametersKernels = byElement({
  name: "layer_norm_parameters",
  files: { "normalisation/layer_norm_parameters.wgsl": layerNormParameters },
  buffers: {
    x: "texel Element",
    statistics: "texel vec2<f32>",
    dy: "texel Element",
    dweight: "read_write Element",
    dbias: "read_write Element",
  },
  params: u32("rows", "length", "chunk"),
});

/** x = softmax(x) along rows, in place. */
export const softmaxKernels = byElement({
  name: "softmax",
  files: { "normalisation/row.wgsl": row, "normalisation/softmax.wgsl": softmax },
  buffers: { x: "read_write Element" },
  params: u32("rows", "n"),
});

/** dp becomes the gradient with respect to the softmax's input, in place. */
export const softmaxBackwardKernels = byElement({
  name: "softmax_backward",
  files: { "normalisation/row.wgsl": row, "normalisation/softmax_backward.wgsl": softmaxBackward },
  buffers: { p: "texel Element", dp: "read_write Element" },
  params: u32("rows", "n"),
});
