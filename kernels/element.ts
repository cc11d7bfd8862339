import type { Kernel } from "./spec.ts";

/** A kernel over channels-last data for any number of channels and, faster, for multiples of 4. */
export interface ElementKernels<Buffers extends string, Parameters extends string> {
  /** Works on single channels. */
  readonly scalar: Kernel<Buffers, Parameters>;
  /** Works on four neighbouring channels at a time. */
  readonly vec4: Kernel<Buffers, Parameters>;
}

/** Declares a kernel in both forms: its source speaks of `Element`, which is f32 or vec4<f32>. */
export function byElement<Buffers extends string, Parameters extends string>(
  kernel: Kernel<Buffers, Parameters>,
): ElementKernels<Buffers, Parameters> {
  const form = (name: string, type: string) => ({
    ...kernel,
    name: `${kernel.name}_${name}`,
    source: `alias Element = ${type};\n${kernel.source}`,
  });
  return { scalar: form("scalar", "f32"), vec4: form("vec4", "vec4<f32>") };
}

/** The form that suits a number of channels, and that number in its Elements. */
export function forChannels<Buffers extends string, Parameters extends string>(
  kernels: ElementKernels<Buffers, Parameters>,
  channels: number,
): { kernel: Kernel<Buffers, Parameters>; elements: number } {
  return channels % 4 === 0
    ? { kernel: kernels.vec4, elements: channels / 4 }
    : { kernel: kernels.scalar, elements: channels };
}
