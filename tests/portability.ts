// deno task portability [--short]: the engine's tests and a tiny study on every implementation of WebGPU that is
// here, into results/portability.md. Drivers are those of Debian's mesa-vulkan-drivers and chromium.
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { tinyDataset } from "./experiments/tiny_dataset.ts";

const ROOT = join(import.meta.dirname!, "..");
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json";

/** Options of test:kernels for each row. */
const KERNELS: readonly string[] = [
  "--driver llvmpipe",
  "--driver llvmpipe --lanes 4",
  "--driver llvmpipe --lanes 16",
  "--driver llvmpipe --family gpu",
  "--driver swiftshader",
  "--driver swiftshader --family gpu",
  "--webgpu dawn --driver swiftshader",
  "--webgpu chromium",
  "--webgpu chromium --family gpu",
];

/** A tiny study's options and variables for each row; the first is what the others are compared with. */
const STUDIES: readonly (readonly [name: string, options: string, env: Record<string, string>])[] =
  [
    ["Deno (wgpu), llvmpipe, kernels for CPUs", "", {}],
    ["Deno (wgpu), llvmpipe, kernels for GPUs", "--family gpu", {}],
    ["Deno (wgpu), SwiftShader, kernels for CPUs", "", { VK_DRIVER_FILES: SWIFTSHADER }],
    ["Dawn, SwiftShader, kernels for CPUs", "--webgpu dawn", { VK_DRIVER_FILES: SWIFTSHADER }],
  ];

const { short } = parseArgs(Deno.args, { boolean: ["short"] });

/** Runs Deno, and fails with what it said unless it may fail. */
async function run(args: string[], options: { cwd: string; env?: Record<string, string> }) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, ...options })
    .output();
  const text = new TextDecoder();
  return { code, said: text.decode(stdout) + text.decode(stderr) };
}

/** Every number of a JSON value by its path, but for times and device memory. */
function* numbersOf(value: unknown, path = ""): Generator<[string, number]> {
  if (/seconds|bytes|date|environment|command/i.test(path)) return;
  if (typeof value === "number") yield [path, value];
  else if (typeof value === "object" && value !== null) {
    for (const [key, part] of Object.entries(value)) yield* numbersOf(part, `${path}/${key}`);
  }
}

const kernelRows: string[] = [];
for (const options of KERNELS) {
  const json = await Deno.makeTempFile();
  const script = join(ROOT, "tests/kernels.ts");
  const flags = [...options.split(" "), ...short ? ["--short"] : [], "--json", json];
  const { said } = await run(["run", "-A", script, ...flags], { cwd: ROOT });
  const text = await Deno.readTextFile(json);
  if (text === "") {
    kernelRows.push(`| \`${options}\` | ${said.trim().split("\n").at(-1)} | | | | |`);
  } else {
    const { implementation, family, passed, failed, largestError, notRun } = JSON.parse(text);
    kernelRows.push(
      `| \`${options}\` | ${implementation} | ${family} | ${passed} | ${failed} | ${
        largestError.toFixed(3)
      } | ${notRun.length} |`,
    );
  }
  console.log(kernelRows.at(-1));
}

const folder = await tinyDataset(6);
const studyRows: string[] = [];
let reference: Map<string, number> | null = null;
for (const [i, [name, options, env]] of STUDIES.entries()) {
  const out = join(folder, `study_${i}`);
  const sizes = "--side 64 --epochs 2 --batch-size 2 --ranks 2 --wise-ft 0.5,1";
  const command = `experiments --data data --out ${out} ${sizes} ${options}`.trim().split(" ");
  const launcher = ["run", "-q", "-P=launcher", `--config=${join(ROOT, "deno.json")}`];
  const { code, said } = await run(
    [...launcher, join(ROOT, "experiments/launch.ts"), ...command],
    { cwd: folder, env: { INIT_CWD: folder, SAMLORA_CACHE: join(folder, `cache_${i}`), ...env } },
  );
  if (code !== 0) {
    studyRows.push(`| ${name} | ${said.trim().split("\n").at(-1)} | | |`);
  } else {
    const figures = new Map<string, number>();
    for (const file of ["runs.json", "table.json"]) {
      const value = JSON.parse(await Deno.readTextFile(join(out, file)));
      for (const [path, number] of numbersOf(value, file)) figures.set(path, number);
    }
    reference ??= figures;
    const differ = [...reference].filter(([path, number]) => figures.get(path) !== number);
    const largest = Math.max(
      0,
      ...differ.map(([path, number]) =>
        Math.abs((figures.get(path) ?? NaN) - number) / Math.max(Math.abs(number), 1e-3)
      ),
    );
    studyRows.push(
      `| ${name} | ${reference.size - differ.length} of ${reference.size} | ${
        largest === 0 ? "–" : largest.toExponential(1)
      } |`,
    );
  }
  console.log(studyRows.at(-1));
}
await Deno.remove(folder, { recursive: true });

await Deno.writeTextFile(
  join(ROOT, "results/portability.md"),
  `# The engine on other implementations of WebGPU

Made by \`deno task portability${
    short ? " --short" : ""
  }\`. No row is of a GPU: none has run this program yet.

The engine's tests, by the options of \`./run test:kernels\`${
    short ? " with \`--short\` (every WGSL file, not every test)" : ""
  }. Errors are in units of each comparison's tolerance
(most: 2e-5 + 2e-4 of the float64 reference), the largest of all.

| options | implementation | kernels for | passed | failed | largest error | WGSL files not run |
| --- | --- | --- | ---: | ---: | ---: | ---: |
${kernelRows.join("\n")}

A tiny study (side 64, two epochs, LoRA-2 on drawn volumes): figures of \`runs.json\` and \`table.json\` that equal those of
the first row to the last bit, times and device memory aside, and the largest relative difference of the others.

| implementation | equal figures | largest difference |
| --- | ---: | ---: |
${studyRows.join("\n")}
`,
);
console.log("Written: results/portability.md");
