// Runs the tests of the engine on a chosen implementation of WebGPU, which its first line names:
//   ./run test:kernels [--webgpu deno|dawn] [--driver llvmpipe|swiftshader|FILE.json] [--family cpu|gpu]
//     [--lanes 4|8|16] [--short] [--json FILE]
// --lanes sets the width of llvmpipe's registers. --short runs each kernel, not each size of it; a WGSL file
// of the family that no test ran is a failure.
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { wgslFiles } from "./gpu/wgsl_files.ts";
import { listDevices } from "../lib/study/devices.ts";

const ROOT = join(import.meta.dirname!, "..");

/** Vulkan drivers by name: where Debian's packages put the files that describe them. */
const DRIVERS: Readonly<Record<string, string>> = {
  llvmpipe: "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json", // mesa-vulkan-drivers
  swiftshader: "/usr/lib/chromium/vk_swiftshader_icd.json", // chromium
};

const ALL = ["tests/gpu", "tests/ops", "tests/tensor", "tests/layers.test.ts"];

/** Tests in which every kernel runs. */
const SHORT = [
  "gpu/staging",
  "ops/attention",
  "ops/augment",
  "ops/conv2d",
  "ops/conv_transpose2d",
  "ops/decomposed_attention",
  "ops/dropout",
  "ops/elementwise",
  "ops/fingerprint",
  "ops/gather",
  "ops/layer_norm",
  "ops/losses",
  "ops/movement",
  "ops/optimizer_steps",
  "ops/resize",
  "ops/softmax",
  "ops/window",
  "tensor/half",
].map((name) => `tests/${name}.test.ts`);

/** WGSL files that the other family alone has. */
const OTHER = { cpu: /tiled/, gpu: /subgroup|walk_/ };

/** Result of a run. */
interface Outcome {
  readonly implementation: string;
  readonly family: "cpu" | "gpu";
  readonly passed: number;
  readonly failed: number;
  /** Largest error of a comparison, in units of its tolerance, and the comparison. */
  readonly largestError: number;
  readonly at: string;
  /** WGSL files of the family that no test ran. */
  readonly notRun: readonly string[];
  readonly seconds: number;
}

const { webgpu, driver, family: forced, lanes, short, json } = parseArgs(Deno.args, {
  string: ["webgpu", "driver", "family", "lanes", "json"],
  boolean: ["short"],
  default: { webgpu: "deno" },
  unknown: (option) => usage(`unknown option ${option}`),
});
if (webgpu !== "deno" && webgpu !== "dawn") usage("--webgpu is deno or dawn");
if (forced !== undefined && forced !== "cpu" && forced !== "gpu") usage("--family is cpu or gpu");

function usage(reason: string): never {
  console.error(`error: ${reason}`);
  Deno.exit(2);
}

/** Variables under which the tests find the implementation that was asked for. */
function environment(): Record<string, string> {
  const manifest = driver === undefined ? undefined : DRIVERS[driver] ?? driver;
  if (manifest !== undefined && !Deno.statSync(manifest).isFile) usage(`${manifest} is no file`);
  return {
    NO_COLOR: "1",
    DENO_WEBGPU_BACKEND: "vulkan",
    ...manifest !== undefined && { VK_DRIVER_FILES: manifest },
    ...lanes !== undefined && { LP_NATIVE_VECTOR_WIDTH: String(32 * Number(lanes)) },
  };
}

const env = environment();
for (const [name, value] of Object.entries(env)) Deno.env.set(name, value);
const { devices, chosen } = await listDevices();
const device = devices[chosen];
if (!device) usage("there is no WebGPU adapter");
const family = forced ?? (device.type === "CPU" ? "cpu" : "gpu");
const implementation = [
  webgpu === "deno" ? `Deno ${Deno.version.deno} (wgpu)` : "Dawn",
  device.name,
  ...device.version ? [device.version] : [],
].join(", ");
console.log(`WebGPU: ${implementation}; kernels for ${family === "cpu" ? "CPUs" : "GPUs"}`);

const record = await Deno.makeTempFile();
const start = performance.now();
const child = new Deno.Command(Deno.execPath(), {
  args: [
    "test",
    "-A",
    "--no-check",
    `--preload=${join(ROOT, "tests/webgpu/preload.ts")}`,
    ...short ? SHORT : ALL,
  ],
  cwd: ROOT,
  env: { TEST_WEBGPU: webgpu, TEST_FAMILY: family, TEST_RECORD: record },
  stdout: "piped",
}).spawn();
let summary = "";
for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
  Deno.stdout.writeSync(new TextEncoder().encode(text));
  summary = (summary + text).slice(-2000);
}
const { success } = await child.status;
const [, passed = "0", failed = "0"] = /\| (\d+) passed.* \| (\d+) failed/.exec(summary) ?? [];

const records: { files: string[]; error: number; what: string }[] =
  (await Deno.readTextFile(record)).split("\n").filter(Boolean).map((line) => JSON.parse(line));
await Deno.remove(record);
const run = new Set(records.flatMap(({ files }) => files));
const largest = records.reduce((a, b) => a.error > b.error ? a : b, {
  error: 0,
  what: "",
  files: [],
});
const outcome: Outcome = {
  implementation,
  family,
  passed: Number(passed),
  failed: Number(failed),
  largestError: largest.error,
  at: largest.what,
  notRun: [...wgslFiles()].map(([name]) => name)
    .filter((name) => !run.has(name) && !OTHER[family].test(name)),
  seconds: (performance.now() - start) / 1000,
};
console.log(
  `${passed} passed, ${failed} failed on ${implementation}; largest error ${
    largest.error.toFixed(2)
  } of the tolerance (${largest.what})`,
);
if (outcome.notRun.length > 0) console.log(`WGSL that no test ran: ${outcome.notRun.join(", ")}`);
if (json) await Deno.writeTextFile(json, `${JSON.stringify(outcome, null, 2)}\n`);
Deno.exit(success && outcome.notRun.length === 0 ? 0 : 1);
