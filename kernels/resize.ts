import { byElement, type ElementKernels } from "./element.ts";
import backwardSource from "./resize_bilinear_backward.wgsl" with { type: "text" };
import forwardSource from "./resize_bilinear.wgsl" with { type: "text" };
import source from "./resize_source.wgsl" with { type: "text" };

/** Parameters of the resizing kernels: invocations, input and output pixels, input to output. */
export type ResizeParameter =
  | "count"
  | "h"
  | "w"
  | "out_h"
  | "out_w"
  | "channels"
  | "scale_y"
  | "scale_x";

const params = {
  count: "u32",
  h: "u32",
  w: "u32",
  out_h: "u32",
  out_w: "u32",
  channels: "u32",
  scale_y: "f32",
  scale_x: "f32",
} as const;

/** Bilinear resizing. */
export const resizeBilinearKernels: ElementKernels<"x" | "out", ResizeParameter> = byElement({
  name: "resize_bilinear",
  source: source + forwardSource,
  buffers: { x: "texel", out: "read_write" },
  params,
});

/** Gradient of bilinear resizing. */
export const resizeBilinearBackwardKernels: ElementKernels<"dy" | "dx", ResizeParameter> =
  byElement({
    name: "resize_bilinear_backward",
    source: source + backwardSource,
    buffers: { dy: "texel", dx: "read_write" },
    params,
  });
