import { InputError } from "../errors.ts";

/** Hardware and driver that a result was computed on; recorded with every result. */
export interface GpuAdapter {
  /** Name given by the driver, such as "NVIDIA H100" or "llvmpipe (LLVM 15.0.6, 256 bits)". */
  readonly name: string;
  /** Vendor name or PCI number, as far as the driver tells. */
  readonly vendor: string;
  /** Driver or architecture, as far as the driver tells. */
  readonly driver: string;
  /** "CPU" for a software driver. */
  readonly type: "GPU" | "CPU";
  /** Features the device was opened with. */
  readonly features: readonly string[];
}

/** An open device, and its hardware. */
export interface OpenDevice {
  /** The device, to be destroyed by whoever opened it. */
  readonly device: GPUDevice;
  /** Hardware and driver. */
  readonly info: GpuAdapter;
  /** Lanes of a subgroup, if shaders may rely on their number; otherwise 0. */
  readonly subgroupSize: number;
  /** True if reading a texture, the copy to it included, is faster than reading a storage buffer. */
  readonly texels: boolean;
  /** WGSL directives that shaders must begin with to use the device's features. */
  readonly directives: string;
}

/** Fields of GPUAdapterInfo that WebGPU implementations have and the type package may lack. */
interface Info {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  readonly isFallbackAdapter?: boolean;
  readonly subgroupMinSize?: number;
  readonly subgroupMaxSize?: number;
}

/**
 * Opens the best adapter of a WebGPU implementation: a GPU before a CPU driver, with its largest
 * limits, and with subgroups and timestamps where it has them.
 *
 * @throws {InputError} if there is no adapter.
 */
export async function openDevice(gpu: GPU | undefined): Promise<OpenDevice> {
  const adapter = await gpu?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new InputError(
      "no WebGPU adapter was found: install a Vulkan driver (for a machine without a GPU, Debian's package mesa-vulkan-drivers)",
    );
  }
  const info = adapter.info as Info;
  const { limits } = adapter;
  const requiredLimits = {
    maxBufferSize: limits.maxBufferSize,
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxStorageBuffersPerShaderStage: limits.maxStorageBuffersPerShaderStage,
    maxStorageTexturesPerShaderStage: limits.maxStorageTexturesPerShaderStage,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
  };
  const features = (["timestamp-query", "shader-f16"] as const).filter((name) =>
    adapter.features.has(name)
  );
  const open = (names: readonly string[]) =>
    adapter.requestDevice({ requiredLimits, requiredFeatures: names as GPUFeatureName[] });
  // Some implementations leave "subgroups" out of adapter.features although their devices have them:
  // ask, and do without if refused.
  let subgroups = true;
  const device = await open([...features, "subgroups"]).catch(() => {
    subgroups = false;
    return open(features);
  });
  // Browsers' compilers want subgroups to be enabled by a line that naga, wgpu's, does not know.
  const line = "enable subgroups;\n";
  const directives = subgroups && await compiles(device, line) ? line : "";
  const lanes = info.subgroupMinSize === info.subgroupMaxSize ? info.subgroupMinSize ?? 0 : 0;
  const software = info.isFallbackAdapter ??
    /llvmpipe|swiftshader|lavapipe/i.test(info.device + info.description);
  return {
    device,
    info: {
      name: (/[a-z]/i.test(info.device) ? info.device : "") || info.description || info.vendor,
      vendor: info.vendor,
      driver: info.description || info.architecture,
      type: software ? "CPU" : "GPU",
      features: subgroups ? [...features, "subgroups"] : features,
    },
    subgroupSize: subgroups ? lanes : 0,
    texels: /llvmpipe/i.test(info.device + info.description),
    directives,
  };
}

/** True if the device's compiler accepts a piece of WGSL. */
async function compiles(device: GPUDevice, code: string): Promise<boolean> {
  device.pushErrorScope("validation");
  device.createShaderModule({ code });
  return await device.popErrorScope() === null;
}
