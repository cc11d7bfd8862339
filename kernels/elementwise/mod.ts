import pcg from "../library/pcg.wgsl" with { type: "text" };
import { defineKernel, f32, u32 } from "../spec.ts";
import addInPlace from "./add_in_place.wgsl" with { type: "text" };
import binary from "./binary.wgsl" with { type: "text" };
import binaryBroadcast from "./binary_broadcast.wgsl" with { type: "text" };
import dropout from "./dropout.wgsl" with { type: "text" };
import fill from "./fill.wgsl" with { type: "text" };
import packHalf from "./pack_half.wgsl" with { type: "text" };
import unary from "./unary.wgsl" with { type: "text" };
import unaryBackward from "./unary_backward.wgsl" with { type: "text" };
import unpackHalf from "./unpack_half.wgsl" with { type: "text" };

/** Codes of `OP` in the binary kernels. */
export const binaryOps = { add: 0, subtract: 1, multiply: 2, divide: 3 } as const;

/** Codes of `OP` in the unary kernels. */
export const unaryOps = { scale: 0, relu: 1, gelu: 2, sigmoid: 3, sqrt: 4 } as const;

/** x = value. */
export const fillKernel = defineKernel({
  name: "fill",
  files: { "elementwise/fill.wgsl": fill },
  buffers: { x: "read_write vec4<f32>" },
  params: { ...u32("count4"), ...f32("value") },
});

/** out = a OP scale b, b repeated along leading axes. */
export const binaryKernel = defineKernel({
  name: "binary",
  files: { "elementwise/binary.wgsl": binary },
  consts: binaryOps,
  buffers: { a: "texel vec4<f32>", b: "texel vec4<f32>", out: "read_write vec4<f32>" },
  params: { ...u32("count4", "b_count4"), ...f32("scale") },
});

/** out = a OP b with any broadcasting over four axes. */
export const binaryBroadcastKernel = defineKernel({
  name: "binary_broadcast",
  files: { "elementwise/binary_broadcast.wgsl": binaryBroadcast },
  consts: binaryOps,
  buffers: { a: "texel f32", b: "texel f32", out: "read_write f32" },
  params: u32("count", "d1", "d2", "d3", "a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"),
});

/** a += scale b, or with LERP a += scale (b - a). */
export const addInPlaceKernel = defineKernel({
  name: "add_in_place",
  files: { "elementwise/add_in_place.wgsl": addInPlace },
  buffers: { a: "update vec4<f32>", b: "texel vec4<f32>" },
  texturesFrom: 2 ** 15,
  params: { ...u32("count4"), ...f32("scale") },
});

/** out = f(x). */
export const unaryKernel = defineKernel({
  name: "unary",
  files: { "elementwise/unary.wgsl": unary },
  consts: unaryOps,
  buffers: { x: "texel vec4<f32>", out: "read_write vec4<f32>" },
  params: { ...u32("count4"), ...f32("factor") },
});

/** dx = f'(x) dy. */
export const unaryBackwardKernel = defineKernel({
  name: "unary_backward",
  files: { "elementwise/unary_backward.wgsl": unaryBackward },
  consts: unaryOps,
  buffers: { x: "texel vec4<f32>", dy: "texel vec4<f32>", dx: "read_write vec4<f32>" },
  params: { ...u32("count4"), ...f32("factor") },
});

/** out = x with random elements set to 0 and the others scaled. */
export const dropoutKernel = defineKernel({
  name: "dropout",
  files: { "library/pcg.wgsl": pcg, "elementwise/dropout.wgsl": dropout },
  buffers: { x: "read vec4<f32>", out: "read_write vec4<f32>" },
  params: { ...u32("count4", "seed", "threshold"), ...f32("factor") },
});

/** out = x as 16-bit floats, two in a word. */
export const packHalfKernel = defineKernel({
  name: "pack_half",
  files: { "elementwise/pack_half.wgsl": packHalf },
  buffers: { x: "read vec4<f32>", out: "read_write vec2<u32>" },
  params: u32("count4"),
});

/** out = the 32-bit floats of `x`, which holds two 16-bit floats in a word. */
export const unpackHalfKernel = defineKernel({
  name: "unpack_half",
  files: { "elementwise/unpack_half.wgsl": unpackHalf },
  buffers: { x: "read vec2<u32>", out: "read_write vec4<f32>" },
  params: u32("count4"),
});
