import { defineKernel } from "../spec.ts";
import { byElement, type ElementKernels } from "../element.ts";
import insertSource from "./insert.wgsl" with { type: "text" };
import permuteSource from "./permute.wgsl" with { type: "text" };
import repeatSource from "./repeat.wgsl" with { type: "text" };
import gatherBackwardSource from "./gather_backward.wgsl" with { type: "text" };
import gatherSource from "./gather.wgsl" with { type: "text" };
import placeSource from "./place.wgsl" with { type: "text" };
import resizeBackwardSource from "./resize_bilinear_backward.wgsl" with { type: "text" };
import resizeSource from "./resize_bilinear.wgsl" with { type: "text" };
import resizeCommon from "./resize_source.wgsl" with { type: "text" };

/** out = a strided view of x of up to five axes. */
export const permuteKernel = defineKernel({
  name: "permute",
  source: permuteSource,
  buffers: { x: "read", out: "read_write" },
  params: {
    count: "u32",
    offset: "u32",
    d1: "u32",
    d2: "u32",
    d3: "u32",
    d4: "u32",
    s0: "u32",
    s1: "u32",
    s2: "u32",
    s3: "u32",
    s4: "u32",
  },
});

/** out = x over and over. */
export const repeatKernel = defineKernel({
  name: "repeat",
  source: repeatSource,
  buffers: { x: "read", out: "read_write" },
  params: { count4: "u32", x_count4: "u32" },
});

/** A band of out = x. */
export const insertKernel = defineKernel({
  name: "insert",
  source: insertSource,
  buffers: { x: "read", out: "read_write" },
  params: { count: "u32", n: "u32", inner: "u32", total: "u32", offset: "u32" },
});

/** out = rows of a table. */
export const gatherKernel = defineKernel({
  name: "gather",
  source: gatherSource,
  buffers: { table: "read", indices: "read", out: "read_write" },
  params: { count: "u32", columns: "u32" },
});

/** Gradient with respect to the table. */
export const gatherBackwardKernel = defineKernel({
  name: "gather_backward",
  source: gatherBackwardSource,
  buffers: { indices: "read", dout: "read", dtable: "read_write" },
  params: { count: "u32", columns: "u32", indices: "u32" },
});

/** Images in frames of another size: cropped or zero-padded at the bottom and on the right. */
export const placeKernels: ElementKernels<
  "x" | "out",
  "count" | "h" | "w" | "out_h" | "out_w" | "channels" | "quads"
> = byElement({
  name: "place",
  source: placeSource,
  buffers: { x: "texel", out: "read_write" },
  params: {
    count: "u32",
    h: "u32",
    w: "u32",
    out_h: "u32",
    out_w: "u32",
    channels: "u32",
    quads: "u32",
  },
});

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

const resizeParams = {
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
  source: resizeCommon + resizeSource,
  buffers: { x: "texel", out: "read_write" },
  params: resizeParams,
});

/** Gradient of bilinear resizing. */
export const resizeBilinearBackwardKernels: ElementKernels<"dy" | "dx", ResizeParameter> =
  byElement({
    name: "resize_bilinear_backward",
    source: resizeCommon + resizeBackwardSource,
    buffers: { dy: "texel", dx: "read_write" },
    params: resizeParams,
  });
