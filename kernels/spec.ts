/** Types a parameter of a kernel may have: each takes four bytes of the uniform struct. */
export type ParameterType = "u32" | "i32" | "f32";

/**
 * How a kernel uses a buffer. What it reads much is `texel`: an array of f32, vec2<f32> or vec4<f32> to read,
 * which lies in a texture where the driver reads those faster (texel.ts). The WGSL is the same.
 */
export type Access = "read" | "texel" | "read_write";

/**
 * A kernel as the engine sees it: WGSL source, its storage buffers in binding order (from binding 1
 * on) and the fields of its `Params` struct (binding 0) in order. The names make every call typed.
 */
export interface Kernel<
  Buffers extends string = string,
  Parameters extends string = string,
> {
  /** Name in error messages and profiles. */
  readonly name: string;
  /** WGSL source; the prelude is put before it. Entry point `main`. */
  readonly source: string;
  /** Storage buffers in binding order. */
  readonly buffers: Readonly<Record<Buffers, Access>>;
  /** Fields of `struct Params`, in order. */
  readonly params: Readonly<Record<Parameters, ParameterType>>;
}

/** Declares a kernel; the buffer and parameter names are inferred. */
export function defineKernel<Buffers extends string, Parameters extends string>(
  kernel: Kernel<Buffers, Parameters>,
): Kernel<Buffers, Parameters> {
  return kernel;
}
