import { InputError } from "../errors.ts";
import { DAWN, type WEBGPU_NAMES } from "./schema.ts";
import { Gpu, type GpuOptions } from "../gpu/gpu.ts";
import { describeAdapter } from "./environment.ts";
import type { Interruption } from "./interruption.ts";

/** Implementation of WebGPU that a command uses. */
export type WebgpuName = typeof WEBGPU_NAMES[number];

/** The part of that package that is used. */
interface DawnModule {
  create(options: string[]): GPU;
}

/**
 * Opens the best adapter of a WebGPU implementation.
 *
 * @throws {InputError} if there is none, or the implementation cannot be loaded.
 */
export async function openGpu(
  name: WebgpuName,
  options: Omit<GpuOptions, "gpu"> = {},
): Promise<Gpu> {
  if (name === "deno") return await Gpu.open(options);
  const dawn = await loadDawn();
  const adapter = await dawn.requestAdapter();
  if (!adapter) {
    throw new InputError(
      "--webgpu dawn found no adapter: it needs a newer Vulkan driver (of Mesa's, later than 22.3), so leave the option out",
    );
  }
  return await Gpu.open({ ...options, gpu: dawn });
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
  return lost && `the GPU device was lost (${lost.message || "no reason given"})`;
}

/**
 * Works with a device, which is closed afterwards. Signals are heard between any two kernels that are
 * compiled: the first step compiles for seconds.
 *
 * @throws {InputError} in a sentence if the device is lost meanwhile.
 */
export async function withGpu<T>(
  name: WebgpuName,
  { poll }: Interruption,
  work: (gpu: Gpu) => Promise<T>,
): Promise<T> {
  await using gpu = await openGpu(name, { beforeCompile: poll });
  console.log(describeAdapter(gpu.info));
  try {
    return await work(gpu);
  } catch (error) {
    const lost = error instanceof InputError ? null : await lossOf(gpu);
    throw lost === null ? error : new InputError(`${lost}: start the study again`);
  }
}
