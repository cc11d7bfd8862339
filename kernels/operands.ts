import half from "./library/half.wgsl" with { type: "text" };
import type { Kernel } from "./spec.ts";
import type { KernelTarget } from "./target.ts";

/**
 * Precision of matrix products and attention: with `f16` operands are rounded to halves. Their products are summed
 * in f32 either way, and softmax is computed in f32.
 */
export type Precision = "f32" | "f16";

/**
 * Form of a kernel's operands: as they are; rounded to halves and held in f32; or rounded and held in workgroup memory
 * as f16, which takes half of it. The two that are rounded give the same numbers.
 */
export type OperandForm = "f32" | "rounded" | "f16";

/** The form that a device's kernels take for a precision; those for CPU drivers have no workgroup memory. */
export function operandForm(precision: Precision, { lanes, f16 }: KernelTarget): OperandForm {
  if (precision === "f32") return "f32";
  return f16 && lanes === 0 ? "f16" : "rounded";
}

/** End of the name of a kernel with operands in a form. */
export function operandSuffix(form: OperandForm): string {
  return form === "f32" ? "" : `_${form}`;
}

/** A kernel with operands in one form: what `HALF`, `Operand` and `rounded` mean in its files. */
export function withOperands<Buffers extends string, Parameters extends string>(
  kernel: Kernel<Buffers, Parameters>,
  form: OperandForm,
): Kernel<Buffers, Parameters> {
  return {
    ...kernel,
    files: { "library/half.wgsl": half, ...kernel.files },
    consts: { ...kernel.consts, half: form !== "f32" },
    types: { Operand: form === "f16" ? "vec4<f16>" : "vec4<f32>" },
  };
}
