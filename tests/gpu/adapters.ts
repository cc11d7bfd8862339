/**
 * A WebGPU, the machine's unless another is given, with adapters of which some members are others: what tests
 * and benchmarks use to run on this adapter what belongs to another.
 */
export function withAdapter(
  change: (adapter: GPUAdapter) => Partial<Pick<GPUAdapter, "info" | "requestDevice">>,
  gpu: GPU = navigator.gpu,
): GPU {
  return {
    async requestAdapter(options?: GPURequestAdapterOptions): Promise<GPUAdapter | null> {
      const adapter = await gpu.requestAdapter(options);
      if (!adapter) return null;
      const changed = change(adapter);
      return new Proxy(adapter, {
        get(adapter, name) {
          if (Object.hasOwn(changed, name)) return Reflect.get(changed, name);
          const value = Reflect.get(adapter, name, adapter);
          return typeof value === "function" ? value.bind(adapter) : value;
        },
      });
    },
  } as GPU;
}

/** Devices without subgroups: what runs there are the kernels for GPUs. */
export const withoutSubgroups: GPU = withAdapter((adapter) => ({
  requestDevice: (descriptor) =>
    [...descriptor?.requiredFeatures ?? []].includes("subgroups" as GPUFeatureName)
      ? Promise.reject(new TypeError("no subgroups"))
      : adapter.requestDevice(descriptor),
}));

/** An adapter that is not known as llvmpipe: all operands stay in buffers, as on every GPU. */
export const withoutTextures: GPU = withAdapter(({ info }) => ({
  info: {
    ...pick(info),
    device: "",
    description: "buffers alone",
    isFallbackAdapter: true,
  } as GPUAdapterInfo,
}));

/** The members of an adapter's info that the device layer reads. */
function pick({ vendor, architecture, subgroupMinSize, subgroupMaxSize }: GPUAdapterInfo) {
  return { vendor, architecture, subgroupMinSize, subgroupMaxSize };
}
