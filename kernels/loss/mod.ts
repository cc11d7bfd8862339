import { byElement } from "../element.ts";
import { defineKernel, f32, u32 } from "../spec.ts";
import maskLoss from "./mask_loss.wgsl" with { type: "text" };
import maskLossBackward from "./mask_loss_backward.wgsl" with { type: "text" };
import maskSums from "./mask_sums.wgsl" with { type: "text" };

/** Sums of cross entropy, overlap, prediction and target over chunks of each sample. */
export const maskSumsKernels = byElement({
  name: "mask_sums",
  files: { "loss/mask_sums.wgsl": maskSums },
  buffers: { logits: "texel Element", targets: "texel Element", out: "read_write vec4<f32>" },
  params: u32("length", "chunks"),
});

/** Dice, loss terms and derivative coefficients of each sample from its sums. */
export const maskLossKernel = defineKernel({
  name: "mask_loss",
  files: { "loss/mask_loss.wgsl": maskLoss },
  buffers: {
    sums: "read vec4<f32>",
    dice: "read_write f32",
    terms: "read_write f32",
    coefficients: "read_write vec2<f32>",
  },
  params: { ...u32("samples", "chunks"), ...f32("smoothing", "bce_weight", "dice_weight") },
});

/** Gradient of the loss with respect to the logits. */
export const maskLossBackwardKernels = byElement({
  name: "mask_loss_backward",
  files: { "loss/mask_loss_backward.wgsl": maskLossBackward },
  buffers: {
    logits: "texel Element",
    targets: "texel Element",
    coefficients: "read vec2<f32>",
    dloss: "read f32",
    dlogits: "read_write Element",
  },
  params: { ...u32("length"), ...f32("bce_weight") },
});
