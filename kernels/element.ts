import scalarElement from "./library/element_scalar.wgsl" with { type: "text" };
import vec4Element from "./library/element_vec4.wgsl" with { type: "text" };
import type { BufferType, ElementType, Kernel } from "./spec.ts";

/** Forms of a kernel: neighbouring elements (channels, a row) one at a time or, faster, by fours. */
export type Form = "scalar" | "vec4";

/** A kernel in both forms: for any number of neighbours, and for numbers that divide into fours. */
export type ElementKernels<Buffers extends string, Parameters extends string> = Readonly<
  Record<Form, Kernel<Buffers, Parameters>>
>;

/** Declares a kernel in both forms: its files speak of `Element`, which is f32 or vec4<f32>. */
export function byElement<Buffers extends string, Parameters extends string>(
  kernel: Kernel<Buffers, Parameters>,
): ElementKernels<Buffers, Parameters> {
  const form = (form: Form) => ({ ...inForm(kernel, form), name: `${kernel.name}_${form}` });
  return { scalar: form("scalar"), vec4: form("vec4") };
}

/** One form of a kernel: what `Element` means in its files and buffers. */
export function inForm<Buffers extends string, Parameters extends string>(
  kernel: Kernel<Buffers, Parameters>,
  form: Form,
): Kernel<Buffers, Parameters> {
  const type = form === "vec4" ? "vec4<f32>" : "f32";
  const resolved = <Type extends string>(types: Readonly<Record<string, Type>> = {}) =>
    Object.fromEntries(
      Object.entries(types).map(([name, text]) => [name, text.replace("Element", type) as Type]),
    );
  const element = form === "vec4" ? vec4Element : scalarElement;
  return {
    ...kernel,
    files: { [`library/element_${form}.wgsl`]: element, ...kernel.files },
    buffers: resolved<BufferType>(kernel.buffers) as Record<Buffers, BufferType>,
    optional: resolved<ElementType>(kernel.optional),
  };
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
