import { defineKernel } from "./spec.ts";
import source from "./fingerprint.wgsl" with { type: "text" };

/** A hash of the bits of each row. */
export const fingerprintKernel = defineKernel({
  name: "fingerprint",
  source,
  buffers: { x: "read", out: "read_write" },
  params: { length: "u32" },
});
