import type { Kernel } from "../../kernels/spec.ts";
import type { PooledBuffer } from "./buffer_pool.ts";
import prelude from "../../kernels/prelude.wgsl" with { type: "text" };

/** Values of a kernel's `override` declarations. */
export type Constants = Readonly<Record<string, number | boolean>>;

/** A compiled kernel: its pipeline and the layout its bind groups follow. */
export interface CompiledKernel {
  /** The kernel with its constants set. */
  readonly pipeline: GPUComputePipeline;
  /** Uniforms at binding 0, then the kernel's buffers in order. */
  readonly layout: GPUBindGroupLayout;
  /** Bind groups by the ids of their buffers; shared by all kernels of the same layout. */
  readonly groups: Map<string, GPUBindGroup>;
}

/** Bytes that a kernel's parameters may take: the alignment of dynamic uniform offsets. */
export const UNIFORM_SLOT = 256;

/** Bind groups kept for one layout; beyond it the cache starts anew. */
const MAXIMUM_GROUPS = 20_000;

/** Compiles kernels once for each set of constants, and makes bind groups once for each set of buffers. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #onError: (error: Error) => void;
  readonly #modules = new Map<Kernel, GPUShaderModule>();
  readonly #layouts = new Map<string, Omit<CompiledKernel, "pipeline">>();
  readonly #compiled = new Map<Kernel, Map<string, CompiledKernel>>();

  /**
   * Makes an empty cache.
   *
   * @param onError Is told, later, of a kernel that does not compile.
   */
  constructor(device: GPUDevice, onError: (error: Error) => void) {
    this.#device = device;
    this.#onError = onError;
  }

  /** The kernel specialised by `constants`, compiled at the first call. */
  get(kernel: Kernel, constants: Constants | undefined): CompiledKernel {
    let variants = this.#compiled.get(kernel);
    if (!variants) this.#compiled.set(kernel, variants = new Map());
    const key = constants ? Object.values(constants).join() : "";
    let compiled = variants.get(key);
    if (!compiled) variants.set(key, compiled = this.#compile(kernel, constants));
    return compiled;
  }

  /** The bind group of these buffers, made at the first call. */
  bindGroup(compiled: CompiledKernel, uniforms: GPUBuffer, buffers: PooledBuffer[]): GPUBindGroup {
    let key = "";
    for (const buffer of buffers) key += buffer.id + ",";
    let group = compiled.groups.get(key);
    if (!group) {
      if (compiled.groups.size >= MAXIMUM_GROUPS) compiled.groups.clear();
      group = this.#device.createBindGroup({
        layout: compiled.layout,
        entries: [
          { binding: 0, resource: { buffer: uniforms, size: UNIFORM_SLOT } },
          ...buffers.map(({ buffer }, i) => ({ binding: i + 1, resource: { buffer } })),
        ],
      });
      compiled.groups.set(key, group);
    }
    return group;
  }

  /** Forgets all bind groups: some of their buffers are about to be destroyed. */
  dropBindGroups(): void {
    for (const { groups } of this.#layouts.values()) groups.clear();
  }

  #compile(kernel: Kernel, constants: Constants | undefined): CompiledKernel {
    const access = Object.values(kernel.buffers);
    const signature = access.join();
    let shared = this.#layouts.get(signature);
    if (!shared) {
      const entries: GPUBindGroupLayoutEntry[] = [
        {
          binding: 0,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: "uniform", hasDynamicOffset: true },
        },
        ...access.map((mode, i): GPUBindGroupLayoutEntry => ({
          binding: i + 1,
          visibility: GPUShaderStage.COMPUTE,
          buffer: { type: mode === "read" ? "read-only-storage" : "storage" },
        })),
      ];
      shared = { layout: this.#device.createBindGroupLayout({ entries }), groups: new Map() };
      this.#layouts.set(signature, shared);
    }
    this.#device.pushErrorScope("validation");
    let module = this.#modules.get(kernel);
    if (!module) {
      module = this.#device.createShaderModule({
        label: kernel.name,
        code: prelude + kernel.source,
      });
      this.#modules.set(kernel, module);
    }
    const values = Object.entries(constants ?? {}).map(([name, value]) => [name, Number(value)]);
    const pipeline = this.#device.createComputePipeline({
      label: kernel.name,
      layout: this.#device.createPipelineLayout({ bindGroupLayouts: [shared.layout] }),
      compute: { module, entryPoint: "main", constants: Object.fromEntries(values) },
    });
    this.#device.popErrorScope().then((error) => {
      if (error) {
        this.#onError(new Error(`kernel ${kernel.name} does not compile: ${error.message}`));
      }
    });
    return { pipeline, ...shared };
  }
}
