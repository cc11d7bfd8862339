import { byElement } from "../element.ts";
import { defineKernel } from "../spec.ts";
import backwardSource from "./mask_loss_backward.wgsl" with { type: "text" };
import lossSource from "./mask_loss.wgsl" with { type: "text" };
import sumsSource from "./mask_sums.wgsl" with { type: "text" };

/** Sums of cross entropy, overlap, prediction and target over chunks of each sample. */
export const maskSumsKernels = byElement({
  name: "mask_sums",
  source: sumsSource,
  buffers: { logits: "texel", targets: "texel", out: "read_write" },
  params: { length: "u32", chunks: "u32" },
});

/** Dice, loss terms and derivative coefficients of each sample from its sums. */
export const maskLossKernel = defineKernel({
  name: "mask_loss",
  source: lossSource,
  buffers: { sums: "read", dice: "read_write", terms: "read_write", coefficients: "read_write" },
  params: {
    samples: "u32",
    chunks: "u32",
    smoothing: "f32",
    bce_weight: "f32",
    dice_weight: "f32",
  },
});

/** Gradient of the loss with respect to the logits. */
export const maskLossBackwardKernels = byElement({
  name: "mask_loss_backward",
  source: backwardSource,
  buffers: {
    logits: "texel",
    targets: "texel",
    coefficients: "read",
    dloss: "read",
    dlogits: "read_write",
  },
  params: { length: "u32", bce_weight: "f32" },
});
