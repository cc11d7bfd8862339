import { defineKernel } from "./spec.ts";
import backwardSource from "./gather_backward.wgsl" with { type: "text" };
import gatherSource from "./gather.wgsl" with { type: "text" };

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
  source: backwardSource,
  buffers: { indices: "read", dout: "read", dtable: "read_write" },
  params: { count: "u32", columns: "u32", indices: "u32" },
});
