import { defineKernel } from "./spec.ts";
import packHalfSource from "./pack_half.wgsl" with { type: "text" };
import unpackHalfSource from "./unpack_half.wgsl" with { type: "text" };

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
