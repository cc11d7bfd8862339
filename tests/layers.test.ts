import { assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** The folders from the bottom up; those of one line do not know each other. */
const LAYERS: string[][] = [
  ["lib", "lib/std"],
  ["lib/stats"],
  ["kernels"],
  ["lib/gpu"],
  ["lib/tensor"],
  ["lib/nn"],
  ["lib/formats"],
  ["lib/data"],
  ["lib/sam"],
  ["lib/adapters"],
  ["lib/files"],
  ["lib/metrics"],
  ["lib/evaluate"],
  ["lib/predict"],
  ["lib/train"],
  ["lib/study"],
  ["lib/report"],
  ["lib/view"],
  ["experiments"],
];

/** Data are read, and results shown, without the engine and the model. */
const FORBIDDEN: Record<string, string[]> = {
  "lib/data": ["kernels", "lib/gpu", "lib/tensor", "lib/nn"],
  "lib/report": ["kernels", "lib/gpu", "lib/tensor", "lib/nn", "lib/sam"],
};

/** The layer that a file is in: `lib/tensor/ops/add.ts` is in `lib/tensor`, `lib/fs.ts` in `lib`. */
function layerOf(file: string): string {
  const [first, second] = dirname(file).split("/");
  return first === "lib" && second ? `lib/${second}` : first;
}

/** The code that a module names in its imports and exports, relative to the root; JSON is data. */
function importsOf(file: string, source: string): string[] {
  const code = source.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "");
  const specifiers = code.matchAll(/\b(?:from|import)\s*\(?\s*["'](\.[^"']+)(?<!\.json)["']/g);
  return [...specifiers].map((match) => join(dirname(file), match[1]).replaceAll("\\", "/"));
}

/** One line for each import that a layer may not have. */
function violations(files: ReadonlyMap<string, string>): string[] {
  const faults: string[] = [];
  const rank = (layer: string) => LAYERS.findIndex((names) => names.includes(layer));
  for (const [file, source] of files) {
    const from = layerOf(file);
    if (rank(from) < 0) faults.push(`${file}: its folder is in no layer`);
    for (const target of importsOf(file, source)) {
      const to = layerOf(target);
      const allowed = from === to ||
        (rank(to) >= 0 && rank(to) < rank(from) && !FORBIDDEN[from]?.includes(to));
      if (!allowed) faults.push(`${file} imports ${target}`);
    }
  }
  return faults;
}

function sources(folder: string, found = new Map<string, string>()): Map<string, string> {
  for (const entry of Deno.readDirSync(folder)) {
    const path = join(folder, entry.name);
    if (entry.isDirectory) sources(path, found);
    else if (entry.name.endsWith(".ts")) {
      found.set(relative(ROOT, path).replaceAll("\\", "/"), Deno.readTextFileSync(path));
    }
  }
  return found;
}

Deno.test("no layer imports a higher one", () => {
  const files = new Map(
    ["kernels", "lib", "experiments"].flatMap((folder) => [...sources(join(ROOT, folder))]),
  );
  assertEquals(violations(files), []);
});

Deno.test("the layer rule sees upward, sideways and forbidden imports however they are written", () => {
  const planted = new Map([
    ["lib/tensor/ops/add.ts", 'import { Linear } from "../../nn/linear.ts";'],
    ["lib/nn/module.ts", 'export * from "../sam/sam.ts";'],
    ["lib/formats/a.ts", 'import type {\n  Volume,\n} from "../data/volume.ts";'],
    ["lib/data/b.ts", 'const gpu = await import("../gpu/gpu.ts");'],
    ["lib/report/c.ts", "import '../sam/sam.ts';"],
    ["kernels/d.ts", 'import { test } from "../tests/d.ts";'],
    ["lib/fs.ts", 'import { a } from "./gpu/a.ts";'],
    ["lib/other/e.ts", ""],
    ["experiments/f.ts", 'import metadata from "../deno.json" with { type: "json" };'],
    ["lib/train/fine.ts", '/* from "../report/x.ts" */\nimport { Sam } from "../sam/sam.ts";'],
  ]);
  assertEquals(violations(planted), [
    "lib/tensor/ops/add.ts imports lib/nn/linear.ts",
    "lib/nn/module.ts imports lib/sam/sam.ts",
    "lib/formats/a.ts imports lib/data/volume.ts",
    "lib/data/b.ts imports lib/gpu/gpu.ts",
    "lib/report/c.ts imports lib/sam/sam.ts",
    "kernels/d.ts imports tests/d.ts",
    "lib/fs.ts imports lib/gpu/a.ts",
    "lib/other/e.ts: its folder is in no layer",
  ]);
});
