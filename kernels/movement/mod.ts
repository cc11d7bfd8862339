import { byElement } from "../element.ts";
import { defineKernel, f32, u32 } from "../spec.ts";
import gather from "./gather.wgsl" with { type: "text" };
import gatherBackward from "./gather_backward.wgsl" with { type: "text" };
import insert from "./insert.wgsl" with { type: "text" };
import permute from "./permute.wgsl" with { type: "text" };
import place from "./place.wgsl" with { type: "text" };
import repeat from "./repeat.wgsl" with { type: "text" };
import resizeBilinear from "./resize_bilinear.wgsl" with { type: "text" };
import resizeBilinearBackward from "./resize_bilinear_backward.wgsl" with { type: "text" };
import resizeSource from "./resize_source.wgsl" with { type: "text" };

/** out = a strided view of x of up to five axes. */
export const permuteKernels = byElement({
  name: "permute",
  files: { "movement/permute.wgsl": permute },
  buffers: { x: "texel Element", out: "read_write Element" },
  texturesFrom: 2 ** 15,
  params: u32("count", "offset", "d1", "d2", "d3", "d4", "s0", "s1", "s2", "s3", "s4"),
});

/** out = x over and over. */
export const repeatKernel = defineKernel({
  name: "repeat",
  files: { "movement/repeat.wgsl": repeat },
  buffers: { x: "texel vec4<f32>", out: "read_write vec4<f32>" },
  texturesFrom: 2 ** 15,
  params: u32("count4", "x_count4"),
});

/** A band of out = x. */
export const insertKernels = byElement({
  name: "insert",
  files: { "movement/insert.wgsl": insert },
  buffers: { x: "texel Element", out: "read_write Element" },
  texturesFrom: 2 ** 15,
  params: u32("count", "n", "inner", "total", "offset"),
});

/** out = rows of a table. */
export const gatherKernel = defineKernel({
  name: "gather",
  files: { "movement/gather.wgsl": gather },
  buffers: { table: "read f32", indices: "read u32", out: "read_write f32" },
  params: u32("count", "columns"),
});

/** Gradient with respect to the table. */
export const gatherBackwardKernel = defineKernel({
  name: "gather_backward",
  files: { "movement/gather_backward.wgsl": gatherBackward },
  buffers: { indices: "read u32", dout: "read f32", dtable: "read_write f32" },
  params: u32("count", "columns", "indices"),
});

/** Images in frames of another size: cropped or zero-padded at the bottom and on the right. */
export const placeKernels = byElement({
  name: "place",
  files: { "movement/place.wgsl": place },
  buffers: { x: "texel Element", out: "read_write Element" },
  params: u32("count", "h", "w", "out_h", "out_w", "channels", "quads"),
});

/** Invocations, the middle axis before and after resizing, what lies behind it in Elements, and n / m. */
const resized = { ...u32("count", "n", "m", "inner"), ...f32("scale") };

/** Linear interpolation along the middle axis of [outer, n, inner]. */
export const resizeBilinearKernels = byElement({
  name: "resize_bilinear",
  files: {
    "movement/resize_source.wgsl": resizeSource,
    "movement/resize_bilinear.wgsl": resizeBilinear,
  },
  buffers: { x: "texel Element", out: "read_write Element" },
  params: resized,
});

/** Gradient of linear interpolation along the middle axis. */
export const resizeBilinearBackwardKernels = byElement({
  name: "resize_bilinear_backward",
  files: {
    "movement/resize_source.wgsl": resizeSource,
    "movement/resize_bilinear_backward.wgsl": resizeBilinearBackward,
  },
  buffers: { dy: "texel Element", dx: "read_write Element" },
  params: resized,
});
