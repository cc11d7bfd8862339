import pcg from "../library/pcg.wgsl" with { type: "text" };
import { defineKernel, f32, u32 } from "../spec.ts";
import augment from "./augment.wgsl" with { type: "text" };
import modelInput from "./model_input.wgsl" with { type: "text" };

/** Sizes that {@linkcode augmentKernel} has workgroup memory for: columns of control points, order of the gain. */
export const augmentLimits = { maximum_columns: 67, maximum_order: 5 } as const;

/** out = an image that was warped, then changed in its intensities. */
export const augmentKernel = defineKernel({
  name: "augment",
  files: { "library/pcg.wgsl": pcg, "augment/augment.wgsl": augment },
  consts: augmentLimits,
  buffers: { image: "read f32", numbers: "read f32", out: "read_write f32" },
  params: {
    ...u32("width", "height", "warped"),
    ...f32("m00", "m01", "m02", "m10", "m11", "m12"),
    ...u32("columns", "rows"),
    ...f32("per_pixel", "gamma"),
    ...u32("order"),
    ...f32("deviation"),
    ...u32("seed"),
  },
});

/** out = an image as the image encoder takes it. */
export const modelInputKernel = defineKernel({
  name: "model_input",
  files: { "augment/model_input.wgsl": modelInput },
  buffers: { image: "read f32", out: "read_write vec4<f32>" },
  params: {
    ...u32("width", "height", "side", "out_width", "out_height"),
    ...f32("scale_x", "scale_y", "mean_r", "mean_g", "mean_b", "std_r", "std_g", "std_b"),
  },
});
