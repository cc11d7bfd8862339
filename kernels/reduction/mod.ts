import { defineKernel } from "../spec.ts";
import sumSource from "./sum.wgsl" with { type: "text" };
import fingerprintSource from "./fingerprint.wgsl" with { type: "text" };

/** Sums over the middle axis of [outer, n, inner], in chunks. */
export const sumKernel = defineKernel({
  name: "sum",
  source: sumSource,
  buffers: { x: "read", out: "read_write" },
  params: { outputs: "u32", n: "u32", inner: "u32", chunk: "u32", chunks: "u32", scale: "f32" },
});

/** A hash of the bits of each row. */
export const fingerprintKernel = defineKernel({
  name: "fingerprint",
  source: fingerprintSource,
  buffers: { x: "read", out: "read_write" },
  params: { length: "u32" },
});
