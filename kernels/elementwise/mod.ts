import { defineKernel } from "../spec.ts";
import addInPlaceSource from "./add_in_place.wgsl" with { type: "text" };
import binaryBroadcastSource from "./binary_broadcast.wgsl" with { type: "text" };
import binarySource from "./binary.wgsl" with { type: "text" };
import fillSource from "./fill.wgsl" with { type: "text" };
import unaryBackwardSource from "./unary_backward.wgsl" with { type: "text" };
import unarySource from "./unary.wgsl" with { type: "text" };
import dropoutSource from "./dropout.wgsl" with { type: "text" };
import pcgSource from "../library/pcg.wgsl" with { type: "text" };
import packHalfSource from "./pack_half.wgsl" with { type: "text" };
import unpackHalfSource from "./unpack_half.wgsl" with { type: "text" };

/** Values of `OP` in the binary kernels. */
export const binaryOps = { add: 0, subtract: 1, multiply: 2, divide: 3 } as const;

/** Values of `OP` in the unary kernels; `affine` is p x + q. */
export const unaryOps = {
  affine: 0,
  relu: 1,
  gelu: 2,
  sigmoid: 3,
  exp: 4,
  sin: 5,
  cos: 6,
  sqrt: 7,
} as const;

/** x = value. */
export const fillKernel = defineKernel({
  name: "fill",
  source: fillSource,
  buffers: { x: "read_write" },
  params: { count4: "u32", value: "f32" },
});

/** out = a OP scale b, b repeated along leading axes. */
export const binaryKernel = defineKernel({
  name: "binary",
  source: binarySource,
  buffers: { a: "texel", b: "texel", out: "read_write" },
  params: { count4: "u32", b_count4: "u32", scale: "f32" },
});

/** out = a OP b with any broadcasting over four axes. */
export const binaryBroadcastKernel = defineKernel({
  name: "binary_broadcast",
  source: binaryBroadcastSource,
  buffers: { a: "texel", b: "texel", out: "read_write" },
  params: {
    count: "u32",
    d1: "u32",
    d2: "u32",
    d3: "u32",
    a0: "u32",
    a1: "u32",
    a2: "u32",
    a3: "u32",
    b0: "u32",
    b1: "u32",
    b2: "u32",
    b3: "u32",
  },
});

/** a += scale b. */
export const addInPlaceKernel = defineKernel({
  name: "add_in_place",
  source: addInPlaceSource,
  buffers: { a: "read_write", b: "texel" },
  params: { count4: "u32", scale: "f32" },
});

/** out = f(x). */
export const unaryKernel = defineKernel({
  name: "unary",
  source: unarySource,
  buffers: { x: "texel", out: "read_write" },
  params: { count4: "u32", p: "f32", q: "f32" },
});

/** dx = f'(x) dy. */
export const unaryBackwardKernel = defineKernel({
  name: "unary_backward",
  source: unaryBackwardSource,
  buffers: { x: "texel", dy: "texel", dx: "read_write" },
  params: { count4: "u32", p: "f32" },
});

/** out = x with random elements set to 0 and the others scaled. */
export const dropoutKernel = defineKernel({
  name: "dropout",
  source: pcgSource + dropoutSource,
  buffers: { x: "read", out: "read_write" },
  params: { count4: "u32", seed: "u32", threshold: "u32", factor: "f32" },
});

/** out = x as 16-bit floats, two in a word. */
export const packHalfKernel = defineKernel({
  name: "pack_half",
  source: packHalfSource,
  buffers: { x: "read", out: "read_write" },
  params: { count4: "u32" },
});

/** out = the 32-bit floats of `x`, which holds two 16-bit floats in a word. */
export const unpackHalfKernel = defineKernel({
  name: "unpack_half",
  source: unpackHalfSource,
  buffers: { x: "read", out: "read_write" },
  params: { count4: "u32" },
});
