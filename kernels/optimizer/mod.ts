import { defineKernel, f32, u32 } from "../spec.ts";
import adam from "./adam.wgsl" with { type: "text" };
import clipScale from "./clip_scale.wgsl" with { type: "text" };
import gradScaler from "./grad_scaler.wgsl" with { type: "text" };
import squareSum from "./square_sum.wgsl" with { type: "text" };

/** One step of Adam or AdamW. Any buffer does as `grad_scale` if the gradient is not clipped. */
export const adamKernel = defineKernel({
  name: "adam",
  files: { "optimizer/adam.wgsl": adam },
  buffers: {
    grad: "texel vec4<f32>",
    grad_scale: "read f32",
    parameter: "update vec4<f32>",
    m: "update vec4<f32>",
    v: "update vec4<f32>",
  },
  texturesFrom: 2 ** 15,
  params: {
    ...u32("count4"),
    ...f32("beta2", "rest1", "rest2", "eps", "step_size", "root_correction", "l2", "keep"),
  },
});

/** A band of out = sums of squares of x. */
export const squareSumKernel = defineKernel({
  name: "square_sum",
  files: { "optimizer/square_sum.wgsl": squareSum },
  buffers: { x: "texel vec4<f32>", out: "read_write f32" },
  texturesFrom: 2 ** 15,
  params: u32("count", "lanes", "offset"),
});

/** Decision about a step whose gradients are scaled, from the sum of their squares. */
export const gradScalerKernel = defineKernel({
  name: "grad_scaler",
  files: { "optimizer/grad_scaler.wgsl": gradScaler },
  buffers: {
    squares: "read f32",
    scale: "read_write f32",
    state: "read_write f32",
    norm: "read_write f32",
    step: "read_write f32",
  },
  params: f32("max_norm", "rest1", "rest2", "growth", "backoff", "interval"),
});

/** Norm and clipping factor from the sum of squares. */
export const clipScaleKernel = defineKernel({
  name: "clip_scale",
  files: { "optimizer/clip_scale.wgsl": clipScale },
  buffers: { squares: "read f32", norm: "read_write f32", scale: "read_write f32" },
  params: f32("max_norm"),
});
