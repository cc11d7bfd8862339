import { defineKernel } from "../spec.ts";
import augmentSource from "./augment.wgsl" with { type: "text" };
import modelInputSource from "./model_input.wgsl" with { type: "text" };
import pcgSource from "../library/pcg.wgsl" with { type: "text" };

/** out = an image that was warped, then changed in its intensities. */
export const augmentKernel = defineKernel({
  name: "augment",
  source: pcgSource + augmentSource,
  buffers: { image: "read", numbers: "read", out: "read_write" },
  params: {
    width: "u32",
    height: "u32",
    warped: "u32",
    m00: "f32",
    m01: "f32",
    m02: "f32",
    m10: "f32",
    m11: "f32",
    m12: "f32",
    columns: "u32",
    rows: "u32",
    per_pixel: "f32",
    gamma: "f32",
    order: "u32",
    deviation: "f32",
    seed: "u32",
  },
});

/** out = an image as the image encoder takes it. */
export const modelInputKernel = defineKernel({
  name: "model_input",
  source: modelInputSource,
  buffers: { image: "read", out: "read_write" },
  params: {
    width: "u32",
    height: "u32",
    side: "u32",
    out_width: "u32",
    out_height: "u32",
    scale_x: "f32",
    scale_y: "f32",
    mean_r: "f32",
    mean_g: "f32",
    mean_b: "f32",
    std_r: "f32",
    std_g: "f32",
    std_b: "f32",
  },
});
