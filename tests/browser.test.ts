import { assert, assertEquals } from "@std/assert";
import { build, stop } from "esbuild";
import { fileURLToPath } from "node:url";
import { trainStep } from "./browser_step.ts";
import { gpu } from "./gpu.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** Folders whose files run in a browser as they are. */
const FOLDERS = [
  "kernels",
  "lib/gpu",
  "lib/tensor",
  "lib/nn",
  "lib/formats",
  "lib/sam",
  "lib/adapters",
];

/** Modules of a folder, relative to the root. */
function modules(folder: string): string[] {
  return [...Deno.readDirSync(ROOT + folder)].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    return isDirectory ? modules(path) : name.endsWith(".ts") ? [path] : [];
  });
}

/**
 * Bundles a module and all it imports for a browser, which fails on an import of `node:`. It begins by
 * removing the globals that a browser does not have.
 */
async function bundle(contents: string): Promise<string> {
  try {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: ROOT, loader: "ts" },
      bundle: true,
      platform: "browser",
      format: "esm",
      target: "es2022",
      treeShaking: false,
      write: false,
      loader: { ".wgsl": "text" },
      banner: { js: "delete globalThis.Deno; delete globalThis.process;" },
    });
    return outputFiles[0].text;
  } finally {
    await stop();
  }
}

/** Runs a module in a worker. */
async function inBrowser(code: string): Promise<unknown> {
  const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
  const worker = new Worker(url, { type: "module" });
  try {
    return await new Promise((done, fail) => {
      worker.onmessage = ({ data }) => done(data);
      worker.onerror = (event) => {
        event.preventDefault();
        fail(new Error(event.message));
      };
    });
  } finally {
    worker.terminate();
    URL.revokeObjectURL(url);
  }
}

/** Fails if a bundle names what a browser does not have. */
function assertNoDeno(code: string): void {
  assertEquals(code.match(/\bDeno\.\w+|"node:\w+"/g), null);
}

Deno.test("the engine is bundled for a browser, and trains without Deno", async () => {
  const all = FOLDERS.flatMap(modules);
  const code = await bundle(`
    ${all.map((path, i) => `import * as module${i} from "./${path}";`).join("\n")}
    import { Gpu } from "./lib/gpu/gpu.ts";
    import { Linear } from "./lib/nn/linear.ts";
    import { mean } from "./lib/tensor/ops/sum.ts";
    import { mul } from "./lib/tensor/ops/arithmetic.ts";
    import { Scope } from "./lib/tensor/scope.ts";
    import { Tensor } from "./lib/tensor/tensor.ts";

    using gpu = await Gpu.open();
    using _ = new Scope(gpu);
    const layer = new Linear(gpu, { inFeatures: 2, outFeatures: 1 }).setTrainable(true);
    layer.weight.write(Float32Array.of(1, 2));
    layer.bias.write(Float32Array.of(3));
    const y = layer.forward(Tensor.from(gpu, [1, 1, 2, 0], [2, 2]));
    mean(mul(y, y)).backward();
    postMessage([[...await y.data()], [...await layer.weight.grad.data()]]);
  `);
  assert(all.length > 50, `${all.length} modules`);
  assertNoDeno(code);
  // y = (6, 5); the gradient of their mean square is yᵀ x.
  assertEquals(await inBrowser(code), [[6, 5], [16, 6]]);
});

Deno.test("MobileSAM with LoRA trains in a bundle to the losses that it has here", async () => {
  const code = await bundle(`
    import { Gpu } from "./lib/gpu/gpu.ts";
    import { trainStep } from "./tests/browser_step.ts";
    using gpu = await Gpu.open();
    postMessage(await trainStep(gpu));
  `);
  assertNoDeno(code);
  const here = await trainStep(gpu);
  assert(here.losses[1] < here.losses[0] && here.bytes > 0, `losses ${here.losses}`);
  assertEquals(await inBrowser(code), here);
});

Deno.test("the worker of the page, with the readers of scans and adapters, needs nothing of Deno", async () => {
  assertNoDeno(await bundle(`import "./lib/view/worker.ts";`));
});
