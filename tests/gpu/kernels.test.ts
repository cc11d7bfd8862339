import { assert, assertEquals } from "@std/assert";
import type { Kernel } from "../../kernels/spec.ts";

/** Every kernel that a value exports: itself, or the forms it comes in. */
function* kernelsOf(value: unknown): Generator<Kernel> {
  if (typeof value !== "object" || value === null) return;
  if ("source" in value && "buffers" in value) yield value as Kernel;
  else for (const part of Object.values(value)) yield* kernelsOf(part);
}

const kernels: Kernel[] = [];
const folder = new URL("../../kernels/", import.meta.url);
for (const { name: family, isDirectory } of Deno.readDirSync(folder)) {
  if (!isDirectory || family === "library") continue;
  for (const value of Object.values(await import(new URL(`${family}/mod.ts`, folder).href))) {
    kernels.push(...kernelsOf(value));
  }
}

/** WGSL without comments. */
function code({ source }: Kernel): string {
  return source.replaceAll(/\/\/.*$/gm, "").replaceAll(/\/\*[\s\S]*?\*\//g, "");
}

/** Name and type of each field of `struct Params`. */
function paramsOf(kernel: Kernel): [name: string, type: string][] {
  const structs = [...code(kernel).matchAll(/struct\s+Params\s*\{([^}]*)\}/g)];
  assertEquals(structs.length, 1, `${kernel.name} has ${structs.length} structs Params`);
  return structs[0][1].split(",").map((field) => field.trim()).filter(Boolean).map((field) => {
    const [name, type] = field.split(":").map((part) => part.trim());
    return [name, type];
  });
}

Deno.test("the kernels are found, each under a name of its own", () => {
  assert(kernels.length >= 35, `only ${kernels.length} kernels`);
  const distinct = new Set(kernels);
  assertEquals(new Set([...distinct].map(({ name }) => name)).size, distinct.size);
});

Deno.test("the params of every kernel are the fields of its struct Params, in order", () => {
  for (const kernel of kernels) {
    assertEquals(Object.entries(kernel.params), paramsOf(kernel), kernel.name);
  }
});

Deno.test("the buffers of every kernel are its bindings, in order", () => {
  for (const kernel of kernels) {
    const bindings = [
      ...code(kernel).matchAll(
        /@group\(0\)\s*@binding\((\d+)\)\s*var(?:<(storage|uniform)(?:,\s*(\w+))?>)?\s+(\w+)\s*:/g,
      ),
    ].map(([, binding, space, access, name]) => ({
      binding: Number(binding),
      space,
      access,
      name,
    }))
      .sort((a, b) => a.binding - b.binding);
    assertEquals(bindings.map(({ binding }) => binding), bindings.map((_, i) => i), kernel.name);
    assertEquals(bindings[0]?.space, "uniform", `${kernel.name}: binding 0 holds the params`);
    assertEquals(
      bindings.slice(1).map(({ name, access }) => [name, access]),
      Object.entries<string>(kernel.buffers).map(([name, access]) => [
        name,
        access === "texel" ? "read" : access,
      ]),
      kernel.name,
    );
  }
});

Deno.test("the params of every kernel fit a slot of the uniform arena", () => {
  for (const { name, params } of kernels) {
    assert(4 * Object.keys(params).length <= 256, name);
  }
});
