// Swaps what tests run on: `deno test --preload` of this file, with
//   TEST_WEBGPU=dawn     Chromium's implementation, from npm, in place of Deno's
//   TEST_FAMILY=gpu      the kernels for GPUs, whatever the adapter is; or cpu
//   TEST_KERNELS=FILE    adds a line with the name of each kernel that is compiled
import { DAWN } from "../../lib/study/schema.ts";

const [webgpu, family, kernels] = ["WEBGPU", "FAMILY", "KERNELS"].map((name) =>
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
if (kernels) recordPipelines(kernels);

function replaceGpu(value: object): void {
  Object.defineProperty(navigator, "gpu", { value, configurable: true });
}

/** An object of WebGPU with some members replaced. */
function override<T extends object>(original: T, members: Record<string, unknown>): T {
  return new Proxy(original, {
    get(target, name) {
      if (Object.hasOwn(members, name)) return members[String(name)];
      const value = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

/** Writes down the label of each compute pipeline. */
function recordPipelines(file: string): void {
  const create = GPUDevice.prototype.createComputePipeline;
  GPUDevice.prototype.createComputePipeline = function (descriptor) {
    Deno.writeTextFileSync(file, `${descriptor.label}\n`, { append: true });
    return create.call(this, descriptor);
  };
}
