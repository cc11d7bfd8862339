import { InputError } from "../errors.ts";
import { DAWN, type WEBGPU_NAMES } from "./schema.ts";
import { Gpu, type GpuOptions } from "../gpu/gpu.ts";
import type { GpuAdapter, KernelFamily } from "../gpu/gpu_adapter.ts";
import { describeAdapter } from "./environment.ts";
import type { Interruption } from "./interruption.ts";

/** Implementation of WebGPU that a command uses. */
export type WebgpuName = typeof WEBGPU_NAMES[number];

/** The part of that package that is used. */
interface DawnModule {
  create(options: string[]): GPU;
}

/** Variable in which the launcher tells a command what it found out about this machine's devices. */
export const DEVICE_NOTE = "SAMLORA_DEVICE";

/** Content of {@linkcode DEVICE_NOTE}, as JSON. */
export interface DeviceNote {
  /** Versions of the drivers by their makers' PCI number. */
  readonly versions: Readonly<Record<string, string>>;
  /** Device file of a GPU that should compute; null if there is none, or another device was named. */
  readonly gpu: string | null;
}

/** The launcher's note; null for a program that it did not start. */
function deviceNote(): DeviceNote | null {
  const { state } = Deno.permissions.querySync({ name: "env", variable: DEVICE_NOTE });
  const text = state === "granted" ? Deno.env.get(DEVICE_NOTE) : undefined;
  return text === undefined ? null : JSON.parse(text);
}

/** Hardware and driver of a device, the driver with its version where that is known. */
export function withVersion(info: GpuAdapter): GpuAdapter {
  return { ...info, driver: deviceNote()?.versions[info.vendor] ?? info.driver };
}

/** Options that choose what computes. */
export interface DeviceOptions {
  readonly webgpu: WebgpuName;
  readonly family: KernelFamily | null;
}

/**
 * Opens the best adapter of a WebGPU implementation.
 *
 * @throws {InputError} if there is none, or it is a CPU's where a GPU should compute, or the implementation
 * cannot be loaded.
 */
export async function openGpu(
  { webgpu, family }: DeviceOptions,
  options: Omit<GpuOptions, "gpu" | "family"> = {},
): Promise<Gpu> {
  const implementation = webgpu === "deno" ? navigator.gpu : await loadDawn();
  if (webgpu === "dawn" && !await implementation.requestAdapter()) {
    throw new InputError(
      "--webgpu dawn found no adapter: it needs a newer Vulkan driver (of Mesa's, later than 22.3), so leave the option out",
    );
  }
  const gpu = await Gpu.open({
    ...options,
    gpu: implementation,
    family: family ?? undefined,
    compileAhead: mayReadCode(),
  });
  if (webgpu === "dawn" && /llvmpipe/i.test(gpu.info.name)) {
    console.log(
      "note: Dawn over Mesa's CPU driver compiles each kernel for about ten seconds, ten times what Deno's WebGPU takes",
    );
  }
  const unused = deviceNote()?.gpu ?? null;
  if (gpu.info.type === "GPU" || unused === null) return gpu;
  await gpu[Symbol.asyncDispose]();
  throw new InputError(noDriver(unused, gpu.info));
}

/** True if threads can be started: Deno reads the modules of a thread as it reads data. */
function mayReadCode(): boolean {
  const path = import.meta.dirname;
  return path !== undefined &&
    Deno.permissions.querySync({ name: "read", path }).state === "granted";
}

/** Sentence on a GPU that WebGPU does not find. */
export function noDriver(file: string, { name }: Pick<GpuAdapter, "name">): string {
  const remedy = file.startsWith("/dev/nvidia")
    ? "libnvidia-gl of the driver's version, or the graphics capability of its container (NVIDIA_DRIVER_CAPABILITIES=all)"
    : "Debian's mesa-vulkan-drivers, and the right to open the file";
  return `${file} is a GPU's, but WebGPU finds only ${name}, a CPU driver: install the GPU's Vulkan driver (${remedy}), or compute on the CPU on purpose by --device cpu`;
}

async function loadDawn(): Promise<GPU> {
  const { state } = await Deno.permissions.query({ name: "ffi" });
  if (state === "denied" || (state === "prompt" && !Deno.stdin.isTerminal())) {
    throw new InputError(
      "--webgpu dawn runs native code from npm: start the script by deno run with --allow-ffi beside the permissions of its task in deno.json",
    );
  }
  try {
    // A name that is known at run time alone keeps the package out of every other run.
    const { create }: DawnModule = await import(DAWN);
    return create([]);
  } catch (error) {
    throw new InputError(
      `--webgpu dawn cannot load ${DAWN} (${(error as Error).message}): leave the option out`,
    );
  }
}

/** Milliseconds in which the loss of a device is told after it made something else fail. */
const LOSS_MILLISECONDS = 200;

/** Sentence on the loss of a device; null if it is there. */
export async function lossOf(gpu: Gpu): Promise<string | null> {
  const lost = await Promise.race([
    gpu.device.lost,
    new Promise<null>((done) => setTimeout(done, LOSS_MILLISECONDS, null)),
  ]);
  return lost &&
    `the GPU device was lost (${
      lost.message || "no reason given"
    }; where it happens again, a smaller --batch-size or --side makes a step smaller)`;
}

/**
 * Works with a device, which is closed afterwards. Signals are heard between kernels that are compiled, too: the
 * first step compiles for seconds. Threads that compile ahead take half of them from the device, and what is left is
 * compiled at once.
 *
 * @throws {InputError} in a sentence if the device is lost meanwhile.
 */
export async function withGpu<T>(
  device: DeviceOptions,
  { poll }: Interruption,
  work: (gpu: Gpu) => Promise<T>,
): Promise<T> {
  await using gpu = await openGpu(device, { beforeCompile: poll });
  console.log(describeAdapter(withVersion(gpu.info)));
  try {
    return await work(gpu);
  } catch (error) {
    const lost = error instanceof InputError ? null : await lossOf(gpu);
    throw lost === null ? error : new InputError(`${lost}: start the study again`);
  }
}
