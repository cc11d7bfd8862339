import { defineKernel } from "./spec.ts";
import dropoutSource from "./dropout.wgsl" with { type: "text" };
import pcgSource from "./pcg.wgsl" with { type: "text" };

/** out = x with random elements set to 0 and the others scaled. */
export const dropoutKernel = defineKernel({
  name: "dropout",
  source: pcgSource + dropoutSource,
  buffers: { x: "read", out: "read_write" },
  params: { count4: "u32", seed: "u32", threshold: "u32", factor: "f32" },
});
