import { assert, assertEquals, assertMatch } from "@std/assert";
import { attentionKernels } from "../../kernels/attention/mod.ts";
import { compose, needsF16 } from "../../kernels/compose.ts";
import { byElement } from "../../kernels/element.ts";
import { defineKernel, type Kernel, u32 } from "../../kernels/spec.ts";
import { gpu } from "../gpu.ts";
import { wgslFiles } from "./wgsl_files.ts";

const folder = new URL("../../kernels/", import.meta.url);

/** Every kernel that a value exports: itself, or the forms it comes in. */
function* kernelsOf(value: unknown): Generator<Kernel> {
  if (typeof value !== "object" || value === null) return;
  if ("files" in value && "buffers" in value) yield value as Kernel;
  else for (const part of Object.values(value)) yield* kernelsOf(part);
}

/** Variants of attention: its channels, and lanes for CPUs or a tile's blocks for GPUs. */
const attention = [
  [32, { lanes: 0, blocks: 8 }],
  [32, { lanes: 0, blocks: 16 }],
  [32, { lanes: 0, blocks: 32 }],
  [32, { lanes: 8, blocks: 8 }],
  [80, { lanes: 16, blocks: 16 }],
  [7, { lanes: 0, blocks: 16 }],
  [7, { lanes: 8, blocks: 8 }],
  [32, { lanes: 0, blocks: 16, operands: "rounded" }],
  [7, { lanes: 0, blocks: 16, operands: "f16" }],
  [32, { lanes: 8, blocks: 8, operands: "rounded" }],
] as const;

const { f16 } = gpu.target;

const kernels: Kernel[] = attention.flatMap(([depth, tile]) =>
  [false, true].flatMap((linear) => [...kernelsOf(attentionKernels({ depth, ...tile, linear }))])
);
for (const { name: family, isDirectory } of Deno.readDirSync(folder)) {
  if (!isDirectory || family === "library") continue;
  for (const value of Object.values(await import(new URL(`${family}/mod.ts`, folder).href))) {
    kernels.push(...kernelsOf(value));
  }
}

/** Browsers' compilers want subgroups to be enabled by a line that naga, wgpu's, does not know. */
const directives = await accepts("enable subgroups;\n") ? "enable subgroups;\n" : "";

async function accepts(code: string): Promise<boolean> {
  const { device } = gpu;
  device.pushErrorScope("validation");
  device.createShaderModule({ code });
  return await device.popErrorScope() === null;
}

/** The compiler's message about a kernel, null if there is none. */
async function complaint(kernel: Kernel, textures: boolean): Promise<string | null> {
  const { device } = gpu;
  if (needsF16(kernel) && !f16) return null;
  device.pushErrorScope("validation");
  const { code, explain } = compose(kernel, { textures, directives });
  device.createShaderModule({ code });
  const error = await device.popErrorScope();
  return error && explain(error.message);
}

Deno.test("kernels have names of their own, and parameters that fit a slot of the uniform arena", () => {
  assert(kernels.length >= 80, `only ${kernels.length} kernels`);
  const distinct = new Set(kernels);
  const names = new Set([...distinct].map(({ name }) => name));
  // Those of attention are named by what differs, of which lanes are not a part.
  assertEquals(names.size, distinct.size);
  for (const { name, params } of kernels) assert(4 * Object.keys(params).length <= 256, name);
});

Deno.test("every WGSL file belongs to a kernel, under its own name", () => {
  const used = new Map(kernels.flatMap(({ files }) => Object.entries(files)));
  used.delete("text of attention/registers.ts"); // written for each size of heads
  const there = new Map(wgslFiles());
  there.delete("prelude.wgsl");
  assertEquals(used, there);
});

Deno.test("the comments that open a kernel's files name every buffer", () => {
  for (const { name, files, buffers } of kernels) {
    const heads = Object.values(files).map((text) => /^(?:\/\/.*\n)+/.exec(text)?.[0]).join();
    for (const buffer of Object.keys(buffers)) {
      assertMatch(heads, new RegExp(`\\b${buffer}\\b`), `${name} does not explain ${buffer}`);
    }
  }
});

Deno.test("every kernel compiles, with its buffers in memory and in textures", async () => {
  for (const kernel of kernels) {
    for (const textures of [false, true]) {
      assertEquals(await complaint(kernel, textures), null, kernel.name);
    }
  }
});

const sound = defineKernel({
  name: "sound",
  files: {
    "library.wgsl": "// Squares.\nfn square(x: f32) -> f32 {\n  return x * x;\n}\n",
    "sound.wgsl":
      "// out = x^2.\n@compute @workgroup_size(1)\nfn main() {\n  out[0] = square(load_x(0u));\n}",
  },
  buffers: { x: "texel f32", out: "read_write f32" },
  params: u32("count"),
});

Deno.test("a compile error shows the line in the file that it stands in, and the place in it", async () => {
  assertEquals(await complaint(sound, true), null);
  const { "library.wgsl": library, "sound.wgsl": source } = sound.files;
  const broken = source.replace("load_x", "load_y");
  // The words are the implementation's, as is the place in an expression that it points to.
  assertMatch(
    (await complaint({ ...sound, files: { ...sound.files, "sound.wgsl": broken } }, true))!,
    /^sound\.wgsl:4:19: .*\bload_y\b.*\n4 \| {3}out\[0\] = square\(load_y\(0u\)\);\n {22}\^$/,
  );
  const wrong = library.replace("x * x", "x * vec2<u32>()");
  const files = { ...sound.files, "library.wgsl": wrong };
  assertMatch(
    (await complaint({ ...sound, files }, false))!,
    /^library\.wgsl:3:1\d: .*\n3 \| {3}return x \* vec2<u32>\(\);\n {13,16}\^$/,
  );
  const elements = { ...sound, buffers: { ...sound.buffers, out: "write u32" as const } };
  assertMatch(
    (await complaint(elements, false))!,
    /^sound\.wgsl:4:\d+: .*\n4 \| {3}out\[0\] = square\(load_x\(0u\)\);\n {6,20}\^/,
  );
  const parameter = { ...sound, params: { count: "u33" as "u32" } };
  assertMatch((await complaint(parameter, true))!, /^declarations of sound:[12]:24: .*u33/);
});

Deno.test("messages of other compilers are explained alike, and those without a line are left alone", () => {
  const { code, explain } = compose(sound);
  const line = code.split("\n").findIndex((text) => text.includes("out[0]")) + 1;
  assertEquals(
    explain(`Error while parsing WGSL: :${line}:3 error: unresolved value 'out'\n  out[0] = ...`),
    "sound.wgsl:4:3: unresolved value 'out'\n4 |   out[0] = square(load_x(0u));\n      ^",
  );
  assertEquals(
    explain(" Pipeline constant error: Division by zero\n"),
    "Pipeline constant error: Division by zero",
  );
});

Deno.test("constants, forms and buffers that a kernel has not are declared for its files", () => {
  const both = byElement({
    ...sound,
    consts: { relu: 1, flip: false },
    buffers: { x: "texel Element", out: "write Element" },
    optional: { x: "Element", kept: "Element" },
  });
  const declared = compose(both.vec4, { directives: "enable subgroups;\n" }).code;
  assert(declared.startsWith("enable subgroups;\nconst RELU = 1u;\nconst FLIP = false;\n"));
  for (
    const line of [
      "fn load_x(i: u32) -> vec4<f32> { return x[i]; }",
      "fn store_x(i: u32, value: vec4<f32>) {}",
      "fn store_out(i: u32, value: vec4<f32>) { out[i] = value; }",
      "fn load_kept(i: u32) -> vec4<f32> { return vec4<f32>(); }",
    ]
  ) assert(declared.includes(line + "\n"), line);
  const { bindings, code } = compose(both.scalar, { textures: true });
  assertEquals(bindings.map(({ place }) => place), ["texture", "read_write"]);
  assert(code.includes("var x_texels: texture_storage_2d<rgba32float, read>;"));
});

Deno.test("a buffer that is updated is read from a texture and written by itself, or is one buffer", () => {
  const kernel = { ...sound, buffers: { x: "update vec4<f32>" } } as const;
  const load = "fn load_x(i: u32) -> vec4<f32> { return x[i]; }";
  const plain = compose(kernel);
  assertEquals(plain.bindings, [{ name: "x", place: "read_write" }]);
  assert(plain.code.includes(load));
  const staged = compose(kernel, { textures: true });
  assertEquals(staged.bindings, [
    { name: "x", place: "texture" },
    { name: "x", place: "read_write" },
  ]);
  assert(!staged.code.includes(load));
  for (const { code } of [plain, staged]) {
    assert(code.includes("fn store_x(i: u32, value: vec4<f32>) { x[i] = value; }"));
  }
});
