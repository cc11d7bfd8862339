// Swaps what tests run on: `deno test --preload` of this file, with
//   TEST_WEBGPU=dawn     Chromium's implementation, from npm, in place of Deno's
//   TEST_FAMILY=gpu      the kernels for GPUs, whatever the adapter is; or cpu
//   TEST_RECORD=FILE     adds the WGSL files that are compiled and the largest error, a JSON object a process
import { DAWN } from "../../lib/study/schema.ts";

import type { ErrorListener } from "../ops/check.ts";
import { filesIn } from "../gpu/wgsl_files.ts";

const [webgpu, family, record] = ["WEBGPU", "FAMILY", "RECORD"].map((name) =>
  Deno.env.get(`TEST_${name}`)
);

if (webgpu === "dawn") {
  const { create, globals } = await import(DAWN);
  Object.assign(globalThis, globals);
  replaceGpu(create([]));
}
if (family) {
  const { gpu } = navigator;
  replaceGpu(override(gpu, {
    async requestAdapter(options?: GPURequestAdapterOptions) {
      const adapter = await gpu.requestAdapter(options);
      const info = adapter && override(adapter.info, { isFallbackAdapter: family === "cpu" });
      return adapter && override(adapter, { info });
    },
  }));
}
if (record) recordInto(record);

function replaceGpu(value: object): void {
  Object.defineProperty(navigator, "gpu", { value, configurable: true });
}

/** An object of WebGPU with some members replaced. */
function override<T extends object>(original: T, members: Record<string, unknown>): T {
  return new Proxy(original, {
    get(target, name) {
      if (Object.hasOwn(members, name)) return members[String(name)];
      const value = Reflect.get(target, name, target);
      return typeof value === "function" && name !== "constructor" ? value.bind(target) : value;
    },
  });
}

/** Writes down at the end which WGSL files were part of a shader, and the largest error of a comparison. */
function recordInto(file: string): void {
  const shaders = new Set<string>();
  const found = { error: 0, what: "" };
  const create = GPUDevice.prototype.createShaderModule;
  GPUDevice.prototype.createShaderModule = function (descriptor) {
    shaders.add(descriptor.code);
    return create.call(this, descriptor);
  };
  const onError: ErrorListener = (error, what) => {
    if (error > found.error) Object.assign(found, { error, what });
  };
  Object.assign(globalThis, { onError });
  globalThis.addEventListener("unload", () => {
    const record = { files: filesIn([...shaders]), ...found };
    Deno.writeTextFileSync(file, `${JSON.stringify(record)}\n`, { append: true });
  });
}
