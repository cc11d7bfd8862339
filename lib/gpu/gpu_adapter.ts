import { InputError } from "../errors.ts";

/** The adapter a result was computed on; recorded with every result. */
export interface GpuAdapter {
  /** Name as the driver gives it, such as "NVIDIA H100" or "llvmpipe (LLVM 15.0.6, 256 bits)". */
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

/** An open device with what is known of its adapter. */
export interface OpenDevice {
  /** The device, to be destroyed by whoever opened it. */
  readonly device: GPUDevice;
  /** What is known of the adapter. */
  readonly info: GpuAdapter;
  /** Lanes that run in step, where shaders may rely on it: 0 without the feature `subgroups`. */
  readonly subgroupSize: number;
  /** Whether texels are read faster than storage buffers, although they must be copied there. */
  readonly texels: boolean;
  /** What shaders must begin with to use the device's features. */
  readonly directives: string;
}

/** Adapter fields that WebGPU implementations have and the type package does not list everywhere. */
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
  // Deno's adapter.features hides "subgroups" although its devices have them: ask, and do without
  // if refused.
  let subgroups = true;
  const device = await open([...features, "subgroups"]).catch(() => {
    subgroups = false;
    return open(features);
  });
  // Browsers' compilers want to be told of subgroups by a line that naga, Deno's, does not know.
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

/** Whether the device's compiler takes a piece of WGSL. */
async function compiles(device: GPUDevice, code: string): Promise<boolean> {
  device.pushErrorScope("validation");
  device.createShaderModule({ code });
  return await device.popErrorScope() === null;
}
