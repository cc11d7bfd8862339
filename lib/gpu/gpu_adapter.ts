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

/**
 * Family of kernels: `cpu` for drivers that run shaders on a CPU, where a subgroup is a vector register, or
 * `gpu`, which needs no subgroups and runs everywhere.
 */
export type KernelFamily = "cpu" | "gpu";

/** An open device, and its hardware. */
export interface OpenDevice {
  /** The device, to be destroyed by whoever opened it. */
  readonly device: GPUDevice;
  /** Hardware and driver. */
  readonly info: GpuAdapter;
  /** Lanes of a subgroup, if shaders may rely on their number; otherwise 0. */
  readonly subgroupSize: number;
  /**
   * True for Mesa's CPU driver, where reading a texture, the copy to it included, is faster than reading a storage
   * buffer, and which compiles a kernel when it first runs.
   */
  readonly isLlvmpipe: boolean;
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

/** Optional features that a device is opened with where it has them, subgroups aside. */
const FEATURES: readonly GPUFeatureName[] = ["timestamp-query", "shader-f16"];

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
    maxTextureDimension2D: limits.maxTextureDimension2D,
    maxComputeWorkgroupStorageSize: limits.maxComputeWorkgroupStorageSize,
    maxComputeInvocationsPerWorkgroup: limits.maxComputeInvocationsPerWorkgroup,
    maxComputeWorkgroupSizeX: limits.maxComputeWorkgroupSizeX,
  };
  const { features } = adapterInfo(adapter);
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
  return {
    device,
    info: { ...adapterInfo(adapter), features: subgroups ? [...features, "subgroups"] : features },
    subgroupSize: subgroups ? lanes : 0,
    isLlvmpipe: /llvmpipe/i.test(info.device + info.description),
    directives,
  };
}

/** Hardware and driver of an adapter, with the features that are used if a device is opened with them. */
export function adapterInfo(adapter: GPUAdapter): GpuAdapter {
  const { vendor, architecture, device, description, isFallbackAdapter } = adapter.info as Info;
  const software = isFallbackAdapter ?? /llvmpipe|swiftshader|lavapipe/i.test(device + description);
  return {
    name: (/[a-z]/i.test(device) ? device : "") || description ||
      [vendor, architecture].join(" ").trim(),
    vendor,
    driver: description || architecture,
    type: software ? "CPU" : "GPU",
    features: FEATURES.filter((name) => adapter.features.has(name)),
  };
}

/** True if the device's compiler accepts a piece of WGSL. */
async function compiles(device: GPUDevice, code: string): Promise<boolean> {
  device.pushErrorScope("validation");
  device.createShaderModule({ code });
  return await device.popErrorScope() === null;
}
