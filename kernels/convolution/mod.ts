import { byElement, type ElementKernels } from "../element.ts";
import col2imSource from "./col2im.wgsl" with { type: "text" };
import depthwise3x3Source from "./depthwise3x3.wgsl" with { type: "text" };
import depthwise3x3WeightSource from "./depthwise3x3_weight.wgsl" with { type: "text" };
import depthwiseInputSource from "./depthwise_input.wgsl" with { type: "text" };
import depthwiseSource from "./depthwise.wgsl" with { type: "text" };
import depthwiseWeightSource from "./depthwise_weight.wgsl" with { type: "text" };
import im2colSource from "./im2col.wgsl" with { type: "text" };

/** Parameters of all convolution kernels: invocations, input and output pixels, Elements. */
export type SizeParameter = "count" | "h" | "w" | "out_h" | "out_w" | "channels";

/** The tiles that the 3 x 3 kernels walk down. */
export type TileParameter = "padding" | "columns" | "strips" | "rows";

/** The window of the general kernels; its stride is the constant `STRIDE`. */
export type WindowParameter = "kernel_h" | "kernel_w" | "padding";

const sizes = { h: "u32", w: "u32", out_h: "u32", out_w: "u32", channels: "u32" } as const;
const tiles = { padding: "i32", columns: "u32", strips: "u32", rows: "u32" } as const;
const window = { kernel_h: "u32", kernel_w: "u32", padding: "i32" } as const;

/** Output columns of a tile of the 3 x 3 kernels. */
export const TILE_COLUMNS = 4;

/** Depthwise 3 x 3 convolution at stride 1; with `FLIP`, its gradient to the input. */
export const depthwise3x3Kernels: ElementKernels<
  "x" | "weight" | "bias" | "out",
  SizeParameter | TileParameter
> = byElement({
  name: "depthwise3x3",
  source: depthwise3x3Source,
  buffers: { x: "texel", weight: "texel", bias: "texel", out: "read_write" },
  params: { count: "u32", ...sizes, ...tiles },
});

/** Gradient of a depthwise 3 x 3 convolution at stride 1 to its kernel, tile by tile. */
export const depthwise3x3WeightKernels: ElementKernels<
  "x" | "dy" | "out",
  SizeParameter | TileParameter
> = byElement({
  name: "depthwise3x3_weight",
  source: depthwise3x3WeightSource,
  buffers: { x: "texel", dy: "texel", out: "read_write" },
  params: { count: "u32", ...sizes, ...tiles },
});

/** Depthwise convolution of any kernel size and stride. */
export const depthwiseKernels: ElementKernels<
  "x" | "weight" | "bias" | "out",
  SizeParameter | WindowParameter
> = byElement({
  name: "depthwise",
  source: depthwiseSource,
  buffers: { x: "texel", weight: "texel", bias: "texel", out: "read_write" },
  params: { count: "u32", ...sizes, ...window },
});

/** Gradient of a depthwise convolution to its input. */
export const depthwiseInputKernels: ElementKernels<
  "dy" | "weight" | "dx",
  SizeParameter | WindowParameter
> = byElement({
  name: "depthwise_input",
  source: depthwiseInputSource,
  buffers: { dy: "texel", weight: "texel", dx: "read_write" },
  params: { count: "u32", ...sizes, ...window },
});

/** Gradient of a depthwise convolution to its kernel, row by row of dy. */
export const depthwiseWeightKernels: ElementKernels<
  "x" | "dy" | "out",
  SizeParameter | WindowParameter
> = byElement({
  name: "depthwise_weight",
  source: depthwiseWeightSource,
  buffers: { x: "texel", dy: "texel", out: "read_write" },
  params: { count: "u32", ...sizes, ...window },
});

/** Inputs of every output pixel side by side. */
export const im2colKernels: ElementKernels<
  "x" | "col",
  SizeParameter | WindowParameter | "first"
> = byElement({
  name: "im2col",
  source: im2colSource,
  buffers: { x: "texel", col: "read_write" },
  params: { count: "u32", first: "u32", ...sizes, ...window },
});

/** The adjoint of im2col. */
export const col2imKernels: ElementKernels<
  "col" | "bias" | "x",
  SizeParameter | WindowParameter | "first"
> = byElement({
  name: "col2im",
  source: col2imSource,
  buffers: { col: "texel", bias: "texel", x: "read_write" },
  params: { count: "u32", first: "u32", ...sizes, ...window },
});
