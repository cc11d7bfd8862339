import { byElement } from "../element.ts";
import { i32, u32 } from "../spec.ts";
import col2im from "./col2im.wgsl" with { type: "text" };
import depthwise from "./depthwise.wgsl" with { type: "text" };
import depthwise3x3 from "./depthwise3x3.wgsl" with { type: "text" };
import depthwise3x3Weight from "./depthwise3x3_weight.wgsl" with { type: "text" };
import depthwiseInput from "./depthwise_input.wgsl" with { type: "text" };
import depthwiseWeight from "./depthwise_weight.wgsl" with { type: "text" };
import im2col from "./im2col.wgsl" with { type: "text" };

/** Invocations, pixels of the image and of the output or of its like, and channels in Elements. */
const sizes = u32("count", "h", "w", "out_h", "out_w", "channels");

/** Window of the kernels for any size; its stride is the override `STRIDE`. */
const window = { ...u32("kernel_h", "kernel_w"), ...i32("padding") };

/** Tiles of the 3 x 3 kernels: tiles across, tiles down, and output rows of a tile. */
const tiles = { ...i32("padding"), ...u32("columns", "strips", "rows") };

/** Output columns of a tile of the 3 x 3 kernels. */
export const TILE_COLUMNS = 4;
const consts = { tile_columns: TILE_COLUMNS };

/** Depthwise 3 x 3 convolution at stride 1; with `FLIP`, its gradient to the input. */
export const depthwise3x3Kernels = byElement({
  name: "depthwise3x3",
  files: { "convolution/depthwise3x3.wgsl": depthwise3x3 },
  buffers: {
    x: "texel Element",
    weight: "texel Element",
    bias: "texel Element",
    out: "read_write Element",
  },
  params: { ...sizes, ...tiles },
  consts,
});

/** Gradient of a depthwise 3 x 3 convolution at stride 1 to its kernel, tile by tile. */
export const depthwise3x3WeightKernels = byElement({
  name: "depthwise3x3_weight",
  files: { "convolution/depthwise3x3_weight.wgsl": depthwise3x3Weight },
  buffers: { x: "texel Element", dy: "texel Element", out: "read_write Element" },
  params: { ...sizes, ...tiles },
  consts,
});

/** Depthwise convolution of any kernel size and stride. */
export const depthwiseKernels = byElement({
  name: "depthwise",
  files: { "convolution/depthwise.wgsl": depthwise },
  buffers: {
    x: "texel Element",
    weight: "texel Element",
    bias: "texel Element",
    out: "read_write Element",
  },
  params: { ...sizes, ...window },
});

/** Gradient of a depthwise convolution to its input. */
export const depthwiseInputKernels = byElement({
  name: "depthwise_input",
  files: { "convolution/depthwise_input.wgsl": depthwiseInput },
  buffers: { dy: "texel Element", weight: "texel Element", dx: "read_write Element" },
  params: { ...sizes, ...window },
});

/** Gradient of a depthwise convolution to its kernel, row by row of dy. */
export const depthwiseWeightKernels = byElement({
  name: "depthwise_weight",
  files: { "convolution/depthwise_weight.wgsl": depthwiseWeight },
  buffers: { x: "texel Element", dy: "texel Element", out: "read_write Element" },
  params: { ...sizes, ...window },
});

/** Inputs of every output pixel side by side. */
export const im2colKernels = byElement({
  name: "im2col",
  files: { "convolution/im2col.wgsl": im2col },
  buffers: { x: "texel Element", col: "read_write Element" },
  params: { ...sizes, ...window, ...u32("first") },
});

/** The adjoint of im2col. */
export const col2imKernels = byElement({
  name: "col2im",
  files: { "convolution/col2im.wgsl": col2im },
  buffers: { col: "texel Element", bias: "texel Element", x: "read_write Element" },
  params: { ...sizes, ...window, ...u32("first") },
});
