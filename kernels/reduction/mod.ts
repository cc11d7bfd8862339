import { byElement } from "../element.ts";
import { defineKernel, f32, u32 } from "../spec.ts";
import fingerprint from "./fingerprint.wgsl" with { type: "text" };
import sum from "./sum.wgsl" with { type: "text" };

/** Sums over the middle axis of [outer, n, inner], in chunks. */
export const sumKernels = byElement({
  name: "sum",
  files: { "reduction/sum.wgsl": sum },
  buffers: { x: "texel Element", out: "read_write Element" },
  texturesFrom: 2 ** 15,
  params: { ...u32("outputs", "n", "inner", "chunk", "chunks"), ...f32("scale") },
});

/** A hash of the bits of each row. */
export const fingerprintKernel = defineKernel({
  name: "fingerprint",
  files: { "reduction/fingerprint.wgsl": fingerprint },
  buffers: { x: "read u32", out: "read_write f32" },
  params: u32("length"),
});
