import type { Kernel } from "./spec.ts";

/** Where a kernel finds a buffer. */
export type Place = "read" | "read_write" | "texture";

/** A kernel's source with the places of its buffers, in binding order. */
export interface PlacedKernel {
  /** WGSL. */
  readonly source: string;
  /** Of each buffer. */
  readonly places: readonly Place[];
}

/** How an element is taken from texels of four f32, by its type. */
const ELEMENTS: Readonly<Record<string, (texel: (i: string) => string) => string>> = {
  "vec4<f32>": (texel) => `return ${texel("i")};`,
  "vec2<f32>": (texel) => `let t = ${texel("i >> 1")};\n  return select(t.xy, t.zw, (i & 1) == 1);`,
  "f32": (texel) =>
    `let t = ${texel("i >> 2")};\n  let pair = select(t.xy, t.zw, (i & 2) == 2);\n` +
    "  return select(pair.x, pair.y, (i & 1) == 1);",
};

/** A kernel whose `texel` buffers are ordinary storage buffers. */
export function inBuffers({ source, buffers }: Kernel): PlacedKernel {
  const places = Object.values(buffers).map((access) => access === "texel" ? "read" : access);
  return { source, places };
}

/**
 * A kernel whose `texel` buffers lie in textures of {@link https://www.w3.org/TR/webgpu/ | rgba32float},
 * 2048 texels a row (lib/gpu/staging.ts). llvmpipe loads from a storage buffer lane by lane, in a loop
 * that stores each scalar into a vector on the stack and reads the whole vector again, which no processor
 * forwards: a vec4 costs 240 ns for 8 lanes (AMD Zen 3), a texel 24.
 *
 * @throws {Error} if a buffer is not declared on a line of its own as an array of f32, vec2<f32>,
 * vec4<f32> or Element.
 */
export function inTextures(kernel: Kernel): PlacedKernel {
  let { source } = kernel;
  const element = /alias Element = (.+);/.exec(source)?.[1];
  const places = Object.entries(kernel.buffers).map(([name, access], i): Place => {
    if (access !== "texel") return access;
    const declaration = new RegExp(
      `(@group\\(0\\) @binding\\(${i + 1}\\) var)<storage, read> ${name}: array<(.+)>;`,
    );
    const type = declaration.exec(source)?.[2] ?? "nothing";
    const take = ELEMENTS[type === "Element" ? element ?? type : type];
    if (!take) throw new Error(`kernel ${kernel.name}: ${name} is no array of texels: ${type}`);
    const texel = (i: string) => `textureLoad(${name}, vec2<u32>((${i}) & 2047, (${i}) >> 11))`;
    source = withCalls(source, name).replace(
      declaration,
      `$1 ${name}: texture_storage_2d<rgba32float, read>;\n\n` +
        `fn texel_of_${name}(i: u32) -> ${type} {\n  ${take(texel)}\n}`,
    );
    return "texture";
  });
  return { source, places };
}

/** The source with a call where an array is indexed. */
function withCalls(source: string, name: string): string {
  const [before, ...parts] = source.split(new RegExp(`(?<![.\\w])${name}\\[`));
  let text = before;
  let open: number[] = []; // depths of brackets in which an index began
  let depth = 0;
  for (const part of parts) {
    text += `texel_of_${name}(`;
    open.push(depth++);
    for (const letter of part) {
      if (letter === "[") depth++;
      const ends = letter === "]" && --depth === open.at(-1);
      if (ends) open = open.slice(0, -1);
      text += ends ? ")" : letter;
    }
  }
  return text;
}
