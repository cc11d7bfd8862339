/**
 * Runs test files in headless Chromium: each is bundled with a stand-in for `Deno.test` and opened as a page.
 *
 * @module
 */
import { build, stop } from "esbuild";
import { join } from "node:path";
import { type Browser, launch } from "puppeteer-core";
import { filesIn } from "../gpu/wgsl_files.ts";

const ROOT = join(import.meta.dirname!, "..", "..");

/** WebGPU on SwiftShader, which Chromium takes without a GPU if it is told to. */
const FLAGS = [
  "--enable-unsafe-webgpu",
  "--enable-features=Vulkan,WebGPU",
  "--use-webgpu-adapter=swiftshader",
];

/** Family of the kernels, and the expression that the names of tests must match. */
interface PageOptions {
  readonly family: "cpu" | "gpu";
  readonly filter: string;
}

/** Result of tests in a page. */
interface PageResult {
  readonly passed: number;
  readonly failed: number;
  /** WGSL of all shader modules. */
  readonly shaders: readonly string[];
  /** Largest error of a comparison, in units of its tolerance, and the comparison. */
  readonly error: number;
  readonly what: string;
}

/** Debian's Chromium. */
export const CHROMIUM = "/usr/bin/chromium";

/** Starts headless Chromium, with WebGPU on SwiftShader unless other flags are given. */
export function start(flags: readonly string[] = FLAGS): Promise<Browser> {
  return launch({
    executablePath: CHROMIUM,
    args: [...flags, "--no-sandbox"],
    protocolTimeout: 0, // kernels are compiled for minutes on a busy machine
  });
}

/** Name and version of the browser. */
export async function chromiumVersion(): Promise<string> {
  const browser = await start();
  try {
    return await browser.version();
  } finally {
    await browser.close();
  }
}

/** Code before a bundle: collects tests, WGSL and errors, and runs the tests when it is told to. */
function banner({ family, filter }: PageOptions): string {
  return `
const tests = [], after = [], shaders = [];
const page = { passed: 0, failed: 0, shaders, error: 0, what: "" };
const test = (name, options, fn) => {
  const all = typeof name === "object" ? name : { name, fn: fn ?? options };
  if (!all.ignore && new RegExp(${JSON.stringify(filter)}).test(all.name)) tests.push(all);
};
test.afterAll = (fn) => after.push(fn);
globalThis.Deno = { test, build: { os: "linux" } };
globalThis.onError = (error, what) => { if (error > page.error) Object.assign(page, { error, what }); };
const create = GPUDevice.prototype.createShaderModule;
GPUDevice.prototype.createShaderModule = function (descriptor) {
  shaders.push(descriptor.code);
  return create.call(this, descriptor);
};
Object.defineProperty(GPUAdapterInfo.prototype, "isFallbackAdapter", { get: () => ${
    family === "cpu"
  } });
const step = async (_, fn) => (await fn({ step }), true);
globalThis.runTests = async () => {
  for (const { name, fn } of tests) {
    try {
      await fn({ step });
      page.passed++;
      console.log(name + " ... ok");
    } catch (error) {
      page.failed++;
      console.log(name + " ... FAILED " + error.stack);
    }
  }
  for (const fn of after) await fn();
  return page;
};
`;
}

/** A module with all that it imports, for a page. */
async function bundle(file: string, options: PageOptions): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [join(ROOT, file)],
    bundle: true,
    platform: "browser",
    format: "esm",
    target: "es2024",
    write: false,
    loader: { ".wgsl": "text" },
    banner: { js: banner(options) },
    alias: {
      "@std/assert": join(ROOT, "lib/std/assert/mod.ts"),
      "node:assert/strict": join(import.meta.dirname!, "node_in_browser.ts"),
      "node:util": join(import.meta.dirname!, "node_in_browser.ts"),
    },
  });
  return outputFiles[0].text;
}

/** Serves a page and the module that it imports. */
function serve(code: string): Deno.HttpServer<Deno.NetAddr> {
  const answer = (body: string, type: string) =>
    new Response(body, { headers: { "content-type": type } });
  return Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    ({ url }) =>
      url.endsWith(".js")
        ? answer(code, "text/javascript")
        : answer("<!doctype html><title>tests</title>", "text/html"),
  );
}

/** Runs the tests of a file in a page of its own, and prints what it prints. */
async function runPage(browser: Browser, code: string): Promise<PageResult> {
  const server = serve(code);
  const page = await browser.newPage();
  try {
    page.setDefaultTimeout(0);
    page.on("console", (message) => console.log(message.text()));
    await page.goto(`http://127.0.0.1:${server.addr.port}/`);
    return await page.evaluate(`import("/tests.js").then(() => runTests())`) as PageResult;
  } finally {
    await page.close();
    await server.shutdown();
  }
}

/** Runs tests by the filter of their names, one file after the other; `files` of the result are the WGSL files that were part of a shader. */
export async function runInChromium(
  tests: readonly (readonly [filter: string, files: readonly string[]])[],
  family: "cpu" | "gpu",
): Promise<Omit<PageResult, "shaders"> & { files: string[] }> {
  const browser = await start();
  try {
    const pages: PageResult[] = [];
    for (const [filter, files] of tests) {
      for (const file of files) {
        pages.push(await runPage(browser, await bundle(file, { family, filter })));
      }
    }
    const shaders = pages.flatMap(({ shaders }) => shaders);
    const { error, what } = pages.reduce((a, b) => a.error > b.error ? a : b);
    return {
      passed: pages.reduce((sum, { passed }) => sum + passed, 0),
      failed: pages.reduce((sum, { failed }) => sum + failed, 0),
      files: filesIn(shaders),
      error,
      what,
    };
  } finally {
    await browser.close();
    await stop();
  }
}
