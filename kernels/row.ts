import { defineKernel, type Kernel } from "./spec.ts";
import scalarElements from "./elements_scalar.wgsl" with { type: "text" };
import vec4Elements from "./elements_vec4.wgsl" with { type: "text" };

/** A kernel that takes elements by fours or one at a time. */
export interface WidthVariants<Buffers extends string, Parameters extends string> {
  /** For rows that divide into fours or are padded to do so. */
  readonly vec4: Kernel<Buffers, Parameters>;
  /** For rows of any length. */
  readonly scalar: Kernel<Buffers, Parameters>;
}

/** Declares a kernel whose source is written in terms of `Elements`, in both widths. */
export function defineByWidth<Buffers extends string, Parameters extends string>(
  kernel: Kernel<Buffers, Parameters>,
): WidthVariants<Buffers, Parameters> {
  return {
    vec4: defineKernel({ ...kernel, source: vec4Elements + kernel.source }),
    scalar: defineKernel({
      ...kernel,
      name: `${kernel.name}_scalar`,
      source: scalarElements + kernel.source,
    }),
  };
}
