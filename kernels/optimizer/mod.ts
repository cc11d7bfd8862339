import { defineKernel } from "../spec.ts";
import adamSource from "./adam.wgsl" with { type: "text" };
import clipScaleSource from "./clip_scale.wgsl" with { type: "text" };
import squareSumSource from "./square_sum.wgsl" with { type: "text" };

/** One step of Adam or AdamW. Any buffer does as `grad_scale` where the gradient is not clipped. */
export const adamKernel = defineKernel({
  name: "adam",
  source: adamSource,
  buffers: {
    grad: "read",
    grad_scale: "read",
    parameter: "read_write",
    m: "read_write",
    v: "read_write",
  },
  params: {
    count4: "u32",
    beta2: "f32",
    rest1: "f32",
    rest2: "f32",
    eps: "f32",
    step_size: "f32",
    root_correction: "f32",
    l2: "f32",
    keep: "f32",
  },
});

/** A band of out = sums of squares of x. */
export const squareSumKernel = defineKernel({
  name: "square_sum",
  source: squareSumSource,
  buffers: { x: "read", out: "read_write" },
  params: { count: "u32", lanes: "u32", offset: "u32" },
});

/** Norm and clipping factor from the sum of squares. */
export const clipScaleKernel = defineKernel({
  name: "clip_scale",
  source: clipScaleSource,
  buffers: { squares: "read", norm: "read_write", scale: "read_write" },
  params: { max_norm: "f32" },
});
