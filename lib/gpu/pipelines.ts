import type { Kernel } from "../../kernels/spec.ts";
import type { PooledBuffer } from "./buffer_pool.ts";
import { Trie } from "./trie.ts";
import prelude from "../../kernels/prelude.wgsl" with { type: "text" };

/** Values of a kernel's `override` declarations. */
export type Constants = Readonly<Record<string, number | boolean>>;

/** What kernels with the same modes of access share. */
interface Layout {
  /** Uniforms at binding 0, then the kernel's buffers in order. */
  readonly layout: GPUBindGroupLayout;
  /** Bind groups by the ids of their buffers in order. */
  readonly groups: Trie<number, GPUBindGroup>;
}

/** A compiled kernel, and what its dispatches need to know of it in a form that is quick to read. */
export interface CompiledKernel extends Layout {
  /** The kernel with its constants set. */
  readonly pipeline: GPUComputePipeline;
  /** Names of its buffers in binding order. */
  readonly buffers: readonly string[];
  /** Names of its parameters in order. */
  readonly params: readonly string[];
  /** For each parameter whether it is an f32 rather than an integer. */
  readonly isFloat: readonly boolean[];
}

/** Bytes that a kernel's parameters may take: the alignment of dynamic uniform offsets. */
export const UNIFORM_SLOT = 256;

/** Bind groups kept; beyond it the cache starts anew. */
const MAXIMUM_GROUPS = 20_000;

/** Compiles kernels once for each set of constants, and makes bind groups once for each set of buffers. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #onError: (error: Error) => void;
  readonly #modules = new Map<Kernel, GPUShaderModule>();
  readonly #layouts = new Map<string, Layout>();
  readonly #compiled = new Map<Kernel, Trie<number | boolean, CompiledKernel>>();
  #groups = 0;

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
    let variant = this.#compiled.get(kernel);
    if (!variant) this.#compiled.set(kernel, variant = new Trie());
    for (const name in constants) variant = variant.at(constants[name]);
    return variant.value ??= this.#compile(kernel, constants);
  }

  /** The bind group of a kernel's buffers by name, made at the first call. */
  bindGroup(
    compiled: CompiledKernel,
    uniforms: GPUBuffer,
    buffers: Readonly<Record<string, PooledBuffer>>,
  ): GPUBindGroup {
    let place = compiled.groups;
    for (const name of compiled.buffers) place = place.at(buffers[name].id);
    return place.value ??= this.#makeGroup(compiled, uniforms, buffers);
  }

  /** Forgets all bind groups: some of their buffers are about to be destroyed. */
  dropBindGroups(): void {
    for (const { groups } of this.#layouts.values()) groups.clear();
    this.#groups = 0;
  }

  #makeGroup(
    { layout, buffers: names }: CompiledKernel,
    uniforms: GPUBuffer,
    buffers: Readonly<Record<string, PooledBuffer>>,
  ): GPUBindGroup {
    if (this.#groups === MAXIMUM_GROUPS) this.dropBindGroups();
    this.#groups++;
    return this.#device.createBindGroup({
      layout,
      entries: [
        { binding: 0, resource: { buffer: uniforms, size: UNIFORM_SLOT } },
        ...names.map((name, i) => ({
          binding: i + 1,
          resource: { buffer: buffers[name].buffer },
        })),
      ],
    });
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
      shared = { layout: this.#device.createBindGroupLayout({ entries }), groups: new Trie() };
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
    return {
      pipeline,
      ...shared,
      buffers: Object.keys(kernel.buffers),
      params: Object.keys(kernel.params),
      isFloat: Object.values(kernel.params).map((type) => type === "f32"),
    };
  }
}
