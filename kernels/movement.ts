import { defineKernel } from "./spec.ts";
import insertSource from "./insert.wgsl" with { type: "text" };
import permuteSource from "./permute.wgsl" with { type: "text" };
import repeatSource from "./repeat.wgsl" with { type: "text" };

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
