// Runs the tests of the engine on a chosen implementation of WebGPU, which its first line names:
//   ./run test:kernels [--webgpu deno|dawn|chromium] [--driver llvmpipe|swiftshader|FILE.json] [--family cpu|gpu]
//     [--lanes 4|8|16] [--short] [--json FILE]
// --lanes sets the width of llvmpipe's registers. --short leaves out what repeats a kernel; Chromium runs no
// other tests. A WGSL file of the family that no test ran is a failure.
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
  "ops/half_precision",
  "ops/layer_norm",
  "ops/losses",
  "ops/movement",
  "ops/optimizer_steps",
  "ops/resize",
  "ops/softmax",
  "ops/window",
  "tensor/half",
].map((name) => `tests/${name}.test.ts`);

/**
 * Tests of these files that the GPU family runs in the short form: CPU drivers compile each of its kernels for
 * attention for half a minute.
 */
const FEW: Readonly<Record<string, string>> = {
  "tests/ops/attention.test.ts":
    "^attention with 2 x 2 heads of 4|^qkvAttention with 2 x 2 heads of 4 over 5 rows, thirds",
  "tests/ops/decomposed_attention.test.ts":
    "^decomposedAttention with (2 x 1 heads of 4|1 x 2 heads of 3) ",
};

/** WGSL files that the other family alone has. */
const OTHER = { cpu: /tiled/, gpu: /subgroup|walk_/ };

/** Result of a run, as --json writes it. */
export interface Outcome {
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
if (!["deno", "dawn", "chromium"].includes(webgpu)) usage("--webgpu is deno, dawn or chromium");
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

/** Tests' result, the WGSL files that they ran, and the largest error. */
interface Tested {
  readonly passed: number;
  readonly failed: number;
  readonly files: readonly string[];
  readonly error: number;
  readonly what: string;
}

/** Test files to run, with the expression that the names of their tests must match. */
function testsOf(family: "cpu" | "gpu"): [filter: string, files: string[]][] {
  if (webgpu !== "chromium" && !short) return [["", ALL]];
  const filters = Map.groupBy(SHORT, (file) => family === "gpu" ? FEW[file] ?? "" : "");
  return [...filters];
}

/** Runs tests in processes of `deno test`. */
async function runInDeno(family: "cpu" | "gpu"): Promise<Tested> {
  const record = await Deno.makeTempFile();
  const preload = join(ROOT, "tests/webgpu/preload.ts");
  const sums = { passed: 0, failed: 0 };
  for (const [filter, files] of testsOf(family)) {
    const child = new Deno.Command(Deno.execPath(), {
      args: [
        "test",
        "-A",
        "--no-check",
        `--preload=${preload}`,
        ...filter ? [`--filter=/${filter}/`] : [],
        ...files,
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
    const [, passed = 0, failed = 0] = /\| (\d+) passed.* \| (\d+) failed/.exec(summary) ?? [];
    sums.passed += Number(passed);
    sums.failed += Math.max(Number(failed), success ? 0 : 1); // one that ended badly after its tests counts
  }
  const lines = (await Deno.readTextFile(record)).split("\n").filter((line) => line !== "");
  const records: Tested[] = lines.map((line) => JSON.parse(line));
  await Deno.remove(record);
  const none = { error: 0, what: "no comparison was made" };
  const { error, what } = records.reduce((a, b) => a.error > b.error ? a : b, none);
  return { ...sums, files: records.flatMap(({ files }) => files), error, what };
}

/** The implementation that {@linkcode runInDeno} uses, and the family of kernels for its device. */
async function implementationInDeno(): Promise<{ name: string; type: "CPU" | "GPU" }> {
  for (const [name, value] of Object.entries(environment())) Deno.env.set(name, value);
  const { devices, chosen } = await listDevices();
  if (chosen < 0) usage("there is no WebGPU adapter: ./run devices says why");
  const { name, type, version } = devices[chosen];
  const of = webgpu === "deno" ? `Deno ${Deno.version.deno} (wgpu)` : "Dawn (npm webgpu)";
  return { name: [of, name, ...version ? [version] : []].join(", "), type };
}

const start = performance.now();
// Its packages are not everywhere where the other implementations are.
const chromium = webgpu === "chromium" ? await import("./webgpu/chromium.ts") : null;
const { name: implementation, type } = chromium
  ? { name: `${await chromium.chromiumVersion()}, SwiftShader`, type: "CPU" as const }
  : await implementationInDeno();
const family = forced ?? (type === "CPU" ? "cpu" : "gpu");
console.log(`WebGPU: ${implementation}; kernels for ${family === "cpu" ? "CPUs" : "GPUs"}`);
const { passed, failed, files, error, what } = chromium
  ? await chromium.runInChromium(testsOf(family), family)
  : await runInDeno(family);
const run = new Set(files);
const outcome: Outcome = {
  implementation,
  family,
  passed,
  failed,
  largestError: error,
  at: what,
  notRun: [...wgslFiles()].map(([name]) => name)
    .filter((name) => !run.has(name) && !OTHER[family].test(name)),
  seconds: (performance.now() - start) / 1000,
};
const of = `largest error ${error.toFixed(2)} of its tolerance (${what})`;
console.log(`${passed} passed, ${failed} failed on ${implementation}; ${of}`);
if (outcome.notRun.length > 0) console.log(`WGSL that no test ran: ${outcome.notRun.join(", ")}`);
if (json) await Deno.writeTextFile(json, `${JSON.stringify(outcome, null, 2)}\n`);
Deno.exit(failed === 0 && passed > 0 && outcome.notRun.length === 0 ? 0 : 1);
