/** Types of a kernel's parameters: each takes four bytes of the uniform struct. */
export type ParameterType = "u32" | "i32" | "f32";

/** Types of a buffer's elements in WGSL. `Element` is f32 or vec4<f32>, by the form of the kernel (element.ts). */
export type ElementType = "u32" | "vec2<u32>" | "f32" | "vec2<f32>" | "vec4<f32>" | "Element";

/**
 * Use of a buffer by a kernel:
 *
 * - `read` and `read_write` buffers are arrays in WGSL, `NAME[i]`;
 * - `texel` buffers are read by `load_NAME(i)`, from a texture where the driver reads those faster;
 * - `write` buffers are written by `store_NAME(i, value)`;
 * - `update` buffers are both: an element is read before it is written, and by no other invocation.
 */
export type Access = "read" | "read_write" | "texel" | "write" | "update";

/** Access to a buffer and the type of its elements. */
export type BufferType = `${Access} ${ElementType}`;

/**
 * A kernel as the engine sees it: WGSL, and the buffers and parameters from which its declarations are made
 * (compose.ts), so that WGSL and the typed calls agree. Binding 0 holds `params`, the buffers follow.
 */
export interface Kernel<
  Buffers extends string = string,
  Parameters extends string = string,
> {
  /** Name in error messages and profiles. */
  readonly name: string;
  /** WGSL by the name of its file below kernels/, libraries first; the last one has the entry point `main`. */
  readonly files: Readonly<Record<string, string>>;
  /** Storage buffers in binding order. */
  readonly buffers: Readonly<Record<Buffers, BufferType>>;
  /**
   * Buffers that some kernels made of the files have: without one, or with another access to it, `load_NAME`
   * gives zeros and `store_NAME` does nothing.
   */
  readonly optional?: Readonly<Record<string, ElementType>>;
  /**
   * Bytes of the largest buffer from which textures pay: the copies to them cost as much as a small dispatch.
   * Default 0.
   */
  readonly texturesFrom?: number;
  /** Fields of `params`, in order. */
  readonly params: Readonly<Record<Parameters, ParameterType>>;
  /** WGSL constants, in capitals there: codes shared with TypeScript, and sizes a kernel is made for. */
  readonly consts?: Readonly<Record<string, number | boolean>>;
  /** WGSL types by the names that its files know them by. One with f16 needs a device with shader-f16. */
  readonly types?: Readonly<Record<string, string>>;
}

/** Declares a kernel; the buffer and parameter names are inferred. */
export function defineKernel<Buffers extends string, Parameters extends string>(
  kernel: Kernel<Buffers, Parameters>,
): Kernel<Buffers, Parameters> {
  return kernel;
}

/** Parameters of type u32 by these names. */
export function u32<Name extends string>(...names: Name[]): Record<Name, "u32"> {
  return typed(names, "u32");
}

/** Parameters of type i32 by these names. */
export function i32<Name extends string>(...names: Name[]): Record<Name, "i32"> {
  return typed(names, "i32");
}

/** Parameters of type f32 by these names. */
export function f32<Name extends string>(...names: Name[]): Record<Name, "f32"> {
  return typed(names, "f32");
}

function typed<Name extends string, Type>(names: Name[], type: Type): Record<Name, Type> {
  return Object.fromEntries(names.map((name) => [name, type])) as Record<Name, Type>;
}
