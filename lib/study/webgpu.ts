import { InputError } from "../errors.ts";
import type { WEBGPU_NAMES } from "./schema.ts";
import { Gpu, type GpuOptions } from "../gpu/gpu.ts";

/** Implementation of WebGPU that a command uses. */
export type WebgpuName = typeof WEBGPU_NAMES[number];

/** npm's build of Dawn, Chromium's WebGPU. Not a dependency: it is fetched when it is asked for. */
const DAWN = "npm:webgpu@0.6.2";

/** What is used of that package. */
interface DawnModule {
  create(options: string[]): GPU;
}

/** Dawn ends with its instance, so that has to outlive its devices. */
let dawn: GPU | undefined;

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
  dawn ??= await loadDawn();
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
