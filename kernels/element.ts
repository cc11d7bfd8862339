import { defineKernel, type Kernel } from "./spec.ts";
import scalarElement from "./library/element_scalar.wgsl" with { type: "text" };
import vec4Element from "./library/element_vec4.wgsl" with { type: "text" };

/** A kernel that takes neighbouring elements (channels, a row) one at a time or, faster, by fours. */
export interface ElementKernels<Buffers extends string, Parameters extends string> {
  /** For any number of neighbours. */
  readonly scalar: Kernel<Buffers, Parameters>;
  /** For numbers that divide into fours or are padded to do so. */
  readonly vec4: Kernel<Buffers, Parameters>;
}

/** Declares a kernel in both forms: its source speaks of `Element`, which is f32 or vec4<f32>. */
export function byElement<Buffers extends string, Parameters extends string>(
  kernel: Kernel<Buffers, Parameters>,
): ElementKernels<Buffers, Parameters> {
  const form = (name: string, element: string) =>
    defineKernel({
      ...kernel,
      name: `${kernel.name}_${name}`,
      source: element + kernel.source,
    });
  return { scalar: form("scalar", scalarElement), vec4: form("vec4", vec4Element) };
}

/** The form that suits n neighbours, and their number in its Elements. */
export function inElements<Buffers extends string, Parameters extends string>(
  kernels: ElementKernels<Buffers, Parameters>,
  n: number,
): { kernel: Kernel<Buffers, Parameters>; elements: number } {
  return n % 4 === 0
    ? { kernel: kernels.vec4, elements: n / 4 }
    : { kernel: kernels.scalar, elements: n };
}
