/**
 * The machine's WebGPU as if its devices had no subgroups: what runs there are the kernels for GPUs, on
 * whatever adapter there is.
 */
export const withoutSubgroups = {
  async requestAdapter(options?: GPURequestAdapterOptions): Promise<GPUAdapter | null> {
    const adapter = await navigator.gpu.requestAdapter(options);
    return adapter && new Proxy(adapter, {
      get(adapter, name) {
        if (name === "requestDevice") {
          return (descriptor: GPUDeviceDescriptor) =>
            [...descriptor.requiredFeatures ?? []].includes("subgroups" as GPUFeatureName)
              ? Promise.reject(new TypeError("no subgroups"))
              : adapter.requestDevice(descriptor);
        }
        const value = Reflect.get(adapter, name, adapter);
        return typeof value === "function" ? value.bind(adapter) : value;
      },
    });
  },
} as GPU;
