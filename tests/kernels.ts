// Runs the tests of the engine on a chosen implementation of WebGPU:
//   ./run test:kernels [--webgpu deno|dawn|chromium] [--driver llvmpipe|swiftshader|FILE.json]
//     [--family cpu|gpu] [--lanes 4|8|16] [--short] [--json FILE]
// It says which on its first line. --short leaves out what repeats a kernel at another size, and fails if a
// WGSL file was not run.
import { parseArgs } from "@std/cli/parse-args";
import { join } from "node:path";
import { kernelFiles } from "./webgpu/kernel_files.ts";
import { runInChromium } from "./webgpu/chromium.ts";

const ROOT = join(import.meta.dirname!, "..");

/** Vulkan drivers by name: where Debian puts the files that describe them. */
const DRIVERS: Readonly<Record<string, string>> = {
  llvmpipe: "/usr/share/vulkan/icd.d/lvp_icd.x86_64.json",
  swiftshader: "/usr/lib/chromium/vk_swiftshader_icd.json",
};

/** Tests of the engine. */
const ALL = ["tests/gpu", "tests/ops", "tests/tensor", "tests/layers.test.ts"];
