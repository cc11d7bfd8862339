/**
 * Runs test files in headless Chromium: each is bundled with a stand-in for `Deno.test` and opened as a page.
 *
 * @module
 */
import { build, stop } from "esbuild";
import { join } from "node:path";
import { launch } from "puppeteer-core";
import { wgslFiles } from "../gpu/wgsl_files.ts";

const ROOT = join(import.meta.dirname!, "..", "..");

/** WebGPU on SwiftShader, which Chromium takes without a GPU if it is told to. */
const FLAGS = [
  "--enable-unsafe-webgpu",
  "--enable-features=Vulkan,WebGPU",
  "--use-webgpu-adapter=swiftshader",
  "--no-sandbox",
];

/** Result of the test files: as the preload of `deno test` writes it down, and the tests that failed. */
export interface PageResult {
  readonly passed: number;
  readonly failures: readonly string[];
  readonly files: readonly string[];
  readonly error: number;
  readonly what: string;
}

/** Code before a bundle: collects tests, WGSL and errors, and runs the tests when it is told to. */
function banner(family: "cpu" | "gpu"): string {
  return `
const tests = [], after = [], shaders = [];
const page = { passed: 0, failures: [], shaders, error: 0, what: "" };
const test = (name, options, fn) => {
  const all = typeof name === "object" ? name : { name, fn: fn ?? options };
  if (!all.ignore) tests.push(all);
};
test.afterAll = (fn) => after.push(fn);
globalThis.Deno = { test, build: { os: "linux" } };
globalThis.onError = (error, what) => { if (error > page.error) Object.assign(page, { error, what }); };
const create = GPUDevice.prototype.createShaderModule;
GPUDevice.prototype.createShaderModule = function (descriptor) {
  shaders.push(descriptor.code);
  return create.call(this, descriptor);
};
Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => ${family === "cpu"} });
const step = async (_, fn) => (await fn({ step }), true);
globalThis.runTests = async () => {
  for (const { name, fn } of tests) {
    try {
      await fn({ step });
      page.passed++;
      console.log(name + " ... ok");
    } catch (error) {
      page.failures.push(name);
      console.log(name + " ... FAILED " + error.stack);
    }
  }
  for (const fn of after) await fn();
  return page;
};
`;
}

/** A module with all that it imports, for a page. */
async function bundle(file: string, family: "cpu" | "gpu"): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(ROOT, file)],
    bundle: true,
    platform: "browser",
    format: "esm",
    target: "es2024",
    write: false,
    loader: { ".wgsl": "text" },
    banner: { js: banner(family) },
    alias: { "@std/assert": join(ROOT, "lib/std/assert/mod.ts") },
    tsconfigRaw: {},
  });
  return outputFiles[0].text;
}

/**
 * Runs test files one after the other.
 *
 * @param told Gets each line that the pages print, and the name of the adapter first.
 */
export async function runInChromium(
  files: readonly string[],
  family: "cpu" | "gpu",
  told: (line: string) => void,
): Promise<PageResult> {
  let code = "";
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    ({ url }) =>
      url.endsWith(".js")
        ? new Response(code, { headers: { "content-type": "text/javascript" } })
        : new Response("<!doctype html><title>tests</title>", {
          headers: { "content-type": "text/html" },
        }),
  );
  const browser = await launch({ executablePath: "/usr/bin/chromium", args: FLAGS });
  const result = { passed: 0, failures: [] as string[], error: 0, what: "" };
  const left = new Map(wgslFiles());
  const run: string[] = [];
  try {
    told(`${await browser.version()}, SwiftShader; kernels for ${family === "cpu" ? "CPUs" : "GPUs"}`);
    for (const file of files) {
      code = await bundle(file, family);
      const page = await browser.newPage();
      page.setDefaultTimeout(0);
      page.on("console", (message) => told(message.text()));
      page.on("pageerror", (error) => told(`${file}: ${error}`));
      await page.goto(`http://127.0.0.1:${server.addr.port}/`);
      const found = await page.evaluate(`import("/tests.js").then(() => runTests())`) as {
        passed: number;
        failures: string[];
        shaders: string[];
        error: number;
        what: string;
      };
      await page.close();
      result.passed += found.passed;
      result.failures.push(...found.failures);
      if (found.error > result.error) Object.assign(result, { error: found.error, what: found.what });
      for (const [name, text] of left) {
        if (!found.shaders.some((shader) => shader.includes(text))) continue;
        run.push(name);
        left.delete(name);
      }
    }
  } finally {
    await browser.close();
    await server.shutdown();
    await stop();
  }
  return { ...result, files: run };
}
