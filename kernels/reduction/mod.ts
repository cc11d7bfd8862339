import { defineKernel, f32, u32 } from "../spec.ts";
import fingerprint from "./fingerprint.wgsl" with { type: "text" };
import sum from "./sum.wgsl" with { type: "text" };

/** Sums over the middle axis of [outer, n, inner], in chunks. */
export const sumKernel = defineKernel({
  name: "sum",
  files: { "reduction/sum.wgsl": sum },
  buffers: { x: "read f32", out: "read_write f32" },
  params: { ...u32("outputs", "n", "inner", "chunk", "chunks"), ...f32("scale") },
});

/** A hash of the bits of each row. */
export const fingerprintKernel = defineKernel({
  name: "fingerprint",
  files: { "reduction/fingerprint.wgsl": fingerprint },
  buffers: { x: "read u32", out: "read_write f32" },
  params: u32("length"),
});
