import prelude from "./prelude.wgsl" with { type: "text" };
import { type Constants, specialize } from "./specialize.ts";
import type { BufferType, ElementType, Kernel } from "./spec.ts";

/** Resource that a kernel's buffer is bound as. */
export type Place = "read" | "read_write" | "texture";

/** Texels of a buffer in each row of a texture that holds it: 16 KiB. */
export const TEXTURE_WIDTH = 1024;

/**
 * Texels that each such row is longer: a cache line. Rows of a matrix are mostly a multiple of 512 bytes long, and
 * lines of cache that lie a multiple of 4 KiB apart share the 8 places of one set. So moved, the 80 rows that a product
 * reads at a time lie in enough sets: on Zen 4 a product of 1024³ takes two thirds of its time without.
 */
export const TEXTURE_PADDING = 4;

/** WGSL of a kernel, ready to be compiled. */
export interface ComposedKernel {
  /** Directives, declarations, prelude and the kernel's files. */
  readonly code: string;
  /** The kernel's buffers in binding order, each with its place; one that is updated may have two. */
  readonly bindings: readonly { readonly name: string; readonly place: Place }[];
  /** Turns a compiler's message into one that shows the file, line and place that it is about. */
  explain(message: string): string;
}

/** Element i of a buffer that lies in texels of four f32, by the element's type. */
const TEXEL_ELEMENTS: Readonly<Record<string, (texel: (i: string) => string) => string>> = {
  "vec4<f32>": (texel) => `return ${texel("i")};`,
  "vec2<f32>": (texel) => `let t = ${texel("i >> 1")}; return select(t.xy, t.zw, (i & 1) == 1);`,
  "f32": (texel) =>
    `let t = ${texel("i >> 2")}; let pair = select(t.xy, t.zw, (i & 2) == 2); ` +
    "return select(pair.x, pair.y, (i & 1) == 1);",
};

/**
 * Puts a kernel together: what the device's shaders begin with, the declarations that follow from the
 * kernel's row, the prelude and its files, specialized by `constants` if they are given.
 *
 * With `textures`, `texel` buffers lie in rgba32float textures of 1024 texels a row
 * (lib/gpu/staging.ts). llvmpipe loads from a storage buffer lane by lane, in a loop that stores each scalar
 * into a vector on the stack and reads the whole vector again, which no processor forwards: a vec4 costs 240 ns
 * for 8 lanes (AMD Zen 3), a texel 24.
 */
export function compose(
  kernel: Kernel,
  { directives = "", textures = false, constants }: {
    directives?: string;
    textures?: boolean;
    constants?: Constants;
  } = {},
): ComposedKernel {
  const bindings: { name: string; place: Place }[] = [];
  const buffers = Object.entries<BufferType>(kernel.buffers).flatMap(([name, buffer]) => {
    const [access, type] = buffer.split(" ");
    const bind = (place: Place) => `@group(0) @binding(${bindings.push({ name, place })}) var`;
    return declare({ kernel: kernel.name, name, access, type, bind, textures });
  });
  const declarations = [
    ...Object.entries(kernel.types ?? {}).map(([name, type]) => `alias ${name} = ${type};`),
    ...Object.entries(kernel.consts ?? {}).map(([name, value]) =>
      `const ${name.toUpperCase()} = ${value}${typeof value === "number" ? "u" : ""};`
    ),
    `struct Params {${Object.entries(kernel.params).map((field) => ` ${field.join(": ")}`)} }`,
    "@group(0) @binding(0) var<uniform> params: Params;",
    ...buffers,
    ...Object.entries<ElementType>(kernel.optional ?? {}).flatMap(([name, type]) => {
      const access = kernel.buffers[name]?.split(" ")[0];
      return [
        ...access === "texel" ? [] : [`fn load_${name}(i: u32) -> ${type} { return ${type}(); }`],
        ...access === "write" ? [] : [`fn store_${name}(i: u32, value: ${type}) {}`],
      ];
    }),
  ];
  const parts = {
    [`declarations of ${kernel.name}`]: `${directives}${needsF16(kernel) ? "enable f16;\n" : ""}${
      declarations.join("\n")
    }\n`,
    "prelude.wgsl": prelude,
    ...kernel.files,
  };
  const text = Object.values(parts).map(withNewline).join("");
  return {
    code: constants ? specialize(text, constants) : text,
    bindings,
    explain: (message) => explain(message, parts),
  };
}

/** True if a kernel needs a device with shader-f16. */
export function needsF16({ types = {} }: Kernel): boolean {
  return Object.values(types).some((type) => type.includes("f16"));
}

/** Declares a buffer, with the functions through which its kernel reads or writes it. */
function declare({ kernel, name, access, type, bind, textures }: {
  kernel: string;
  name: string;
  access: string;
  type: string;
  bind: (place: Place) => string;
  textures: boolean;
}): string[] {
  const array = (place: "read" | "read_write") =>
    `${bind(place)}<storage, ${place}> ${name}: array<${type}>;`;
  const load = (body: string) => `fn load_${name}(i: u32) -> ${type} { ${body} }`;
  const store = `fn store_${name}(i: u32, value: ${type}) { ${name}[i] = value; }`;
  const texels = () => {
    if (!(type in TEXEL_ELEMENTS)) throw new Error(`kernel ${kernel}: no ${type} lies in texels`);
    const row = Math.log2(TEXTURE_WIDTH);
    const texel = (i: string) =>
      `textureLoad(${name}_texels, vec2<u32>((${i}) & ${TEXTURE_WIDTH - 1}, (${i}) >> ${row}))`;
    return [
      `${bind("texture")} ${name}_texels: texture_storage_2d<rgba32float, read>;`,
      load(TEXEL_ELEMENTS[type](texel)),
    ];
  };
  const elements = load(`return ${name}[i];`);
  switch (access) {
    case "texel":
      return textures ? texels() : [array("read"), elements];
    case "write":
      return [array("read_write"), store];
    case "update":
      return [...textures ? texels() : [elements], array("read_write"), store];
    default:
      return [array(access as "read" | "read_write")];
  }
}

/**
 * Finds the line and column of a compiler's message (`:12:5`; naga draws the line of an expression in a function
 * below that of the function), and shows the line in the part where it stands, counted from that part's first line.
 */
function explain(message: string, parts: Readonly<Record<string, string>>): string {
  const place = /:(\d+):(\d+)/.exec(message);
  if (!place) return message.trim();
  const drawn = /(\d+) │ (.*)\n.*?│ ([^\n^]*)\^+ (?!naga::ir::Function)/.exec(message);
  let line = Number((drawn ?? place)[1]);
  for (const [file, text] of Object.entries(parts)) {
    const lines = withNewline(text).split("\n").slice(0, -1);
    if (line > lines.length) {
      line -= lines.length;
      continue;
    }
    const source = lines[line - 1];
    const column = drawn ? 1 + drawn[3].length - drawn[2].length + source.length : Number(place[2]);
    const number = `${line} | `;
    return `${file}:${line}:${column}: ${reasonOf(message)}\n${number}${source}\n` +
      `${" ".repeat(number.length + column - 1)}^`;
  }
  return message.trim();
}

/** A compiler's words without its own picture of the line. */
function reasonOf(message: string): string {
  const [, tint] = /:\d+:\d+ error: (.*)/.exec(message) ?? [];
  if (tint) return tint;
  const lines = message.split("\n").map((line) => line.trim());
  return lines.filter((line) => line && !/[│┌]|^:/.test(line))
    .map((line) => line.replace(/^(?:= |Shader .*?error: )/, "")).join("; ");
}

function withNewline(text: string): string {
  return text.endsWith("\n") ? text : text + "\n";
}
