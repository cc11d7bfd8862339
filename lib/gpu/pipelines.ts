import type { Kernel } from "../../kernels/spec.ts";
import { compose, type Place } from "../../kernels/compose.ts";
import type { Constants } from "../../kernels/specialize.ts";
import type { PooledBuffer } from "./buffer_pool.ts";
import type { CompileAhead } from "./compile_ahead.ts";
import type { DeviceErrors } from "./device_errors.ts";
import type { StagedBuffer, Staging } from "./staging.ts";
import { Trie } from "./trie.ts";

/** A kernel with its constants set. */
export interface CompiledKernel {
  /** Name of the kernel. */
  readonly name: string;
  /** Pipeline of its entry point `main`. */
  readonly pipeline: GPUComputePipeline;
  /** Uniforms at binding 0, then the kernel's buffers in order. */
  readonly layout: GPUBindGroupLayout;
  /** Names of its buffers in binding order; one that is updated may be bound twice. */
  readonly buffers: readonly string[];
  /** Kind of each binding. */
  readonly places: readonly Place[];
  /** Its parameters in order. */
  readonly params: readonly Parameter[];
  /** Its dispatches by the ids of their buffers in order. */
  readonly dispatches: Trie<number, PreparedDispatch>;
}

/** A field of a kernel's `Params`. */
export interface Parameter {
  /** Name of the field. */
  readonly name: string;
  /** True for f32, false for u32 and i32. */
  readonly isFloat: boolean;
}

/** A dispatch without its parameters and workgroups: pipeline and bind group. */
export interface PreparedDispatch {
  /** Kernel that it runs. */
  readonly kernel: Kernel;
  /** That kernel with its constants set. */
  readonly compiled: CompiledKernel;
  /** Constants as last given; compared by value if the next call passes another object. */
  constants: Constants | undefined;
  /** Names of the buffers in binding order. */
  readonly names: readonly string[];
  /** The buffers in binding order. */
  readonly buffers: readonly PooledBuffer[];
  /** Buffers that it may change. */
  readonly written: readonly PooledBuffer[];
  /** Buffers that it reads from textures. */
  staged: readonly StagedBuffer[];
  /** The kernel's parameters in order. */
  readonly params: readonly Parameter[];
  /** Pipeline of the kernel. */
  readonly pipeline: GPUComputePipeline;
  /** Uniforms and buffers. */
  group: GPUBindGroup;
  /** Dispatch that came after it the last time. */
  next: PreparedDispatch | undefined;
}

/** Bytes that a kernel's parameters may take: the alignment of dynamic uniform offsets. */
export const UNIFORM_SLOT = 256;

/** Bind groups kept; beyond it all are dropped. */
const MAXIMUM_GROUPS = 20_000;

/** Cache of pipelines, one for each set of a kernel's constants, and of bind groups, one for each set of buffers. */
export class PipelineCache {
  readonly #device: GPUDevice;
  readonly #directives: string;
  readonly #uniforms: GPUBuffer;
  readonly #staging: Staging;
  readonly #texels: boolean;
  readonly #errors: DeviceErrors;
  readonly #beforeCompile: (() => void) | undefined;
  readonly #ahead: CompileAhead | undefined;
  readonly #layouts = new Map<string, GPUBindGroupLayout>();
  readonly #compiled = new Map<Kernel, Trie<number | boolean, CompiledKernel>>();
  readonly #used = new Set<CompiledKernel>();
  #groups = 0;
  #last: PreparedDispatch | undefined;

  /**
   * Makes an empty cache.
   *
   * @param options.directives WGSL directives that shaders begin with on this device.
   * @param options.uniforms Holds the parameters of all dispatches, a slot each.
   * @param options.staging Has the textures from which kernels read buffers.
   * @param options.texels Bind the buffers that a kernel declares as texels to textures.
   * @param options.errors Takes, later, that a kernel does not compile.
   * @param options.beforeCompile Is called before each kernel is compiled, and may throw.
   * @param options.ahead Takes the kernels that are to be compiled.
   */
  constructor(
    device: GPUDevice,
    options: {
      directives: string;
      uniforms: GPUBuffer;
      staging: Staging;
      texels: boolean;
      errors: DeviceErrors;
      beforeCompile?: () => void;
      ahead?: CompileAhead;
    },
  ) {
    this.#directives = options.directives;
    this.#device = device;
    this.#uniforms = options.uniforms;
    this.#staging = options.staging;
    this.#texels = options.texels;
    this.#errors = options.errors;
    this.#beforeCompile = options.beforeCompile;
    this.#ahead = options.ahead;
  }

  /**
   * Pipeline and bind group of a dispatch, created by the first call for it. Training encodes the same
   * dispatches step after step: before any look-up, the one that followed the last dispatch the last
   * time is tried.
   */
  prepare(
    kernel: Kernel,
    constants: Constants | undefined,
    buffers: Readonly<Record<string, PooledBuffer>>,
  ): PreparedDispatch {
    const last = this.#last;
    const guess = last?.next;
    if (guess && isSame(guess, { kernel, constants, buffers })) return this.#last = guess;
    const compiled = this.#compiledFor({ kernel, constants, buffers });
    let place = compiled.dispatches;
    for (const name of compiled.buffers) place = place.at(buffers[name].id);
    const found = place.value ??= this.#make(compiled, { kernel, constants, buffers });
    if (last) last.next = found;
    return this.#last = found;
  }

  /** Drops all bind groups: some of their buffers are about to be destroyed. */
  dropBindGroups(): void {
    for (const { dispatches } of this.#used) dispatches.clear();
    this.#used.clear();
    this.#groups = 0;
    this.#last = undefined;
  }

  #make(compiled: CompiledKernel, { kernel, constants, buffers }: Wanted): PreparedDispatch {
    if (this.#groups === MAXIMUM_GROUPS) this.dropBindGroups();
    this.#groups++;
    this.#used.add(compiled);
    const { pipeline, places, buffers: names, params } = compiled;
    const bound = names.map((name) => buffers[name]);
    for (const buffer of bound) buffer.use ??= `kernel ${kernel.name}`;
    return {
      kernel,
      compiled,
      constants,
      names,
      buffers: bound,
      written: bound.filter((_, i) => places[i] === "read_write"),
      params,
      pipeline,
      ...this.#bind(compiled, bound),
      next: undefined,
    };
  }

  /** Binds the textures that the buffers of a dispatch have by now. */
  restage(dispatch: PreparedDispatch): void {
    const { compiled, buffers } = dispatch;
    const { staged, group } = this.#bind(compiled, buffers);
    dispatch.staged = staged;
    dispatch.group = group;
  }

  #bind(
    { name, layout, places, buffers: names }: CompiledKernel,
    buffers: readonly PooledBuffer[],
  ): Pick<PreparedDispatch, "staged" | "group"> {
    const staged: StagedBuffer[] = [];
    const resource = (buffer: PooledBuffer, i: number): GPUBindingResource => {
      if (places[i] !== "texture") return { buffer: buffer.buffer };
      // WebGPU itself refuses this for buffers that are bound as such. One that is updated has both places.
      const isOther = (j: number) => places[j] === "read_write" && names[j] !== names[i];
      if (buffers.some((other, j) => other === buffer && isOther(j))) {
        throw new Error(`kernel ${name} reads and writes one buffer`);
      }
      const same = staged.find((other) => other.buffer === buffer);
      const placed = same ?? this.#staging.place(buffer, i);
      if (!same) staged.push(placed);
      return placed.place.texture.createView();
    };
    const entries = [
      { binding: 0, resource: { buffer: this.#uniforms, size: UNIFORM_SLOT } },
      ...buffers.map((buffer, i) => ({ binding: i + 1, resource: resource(buffer, i) })),
    ];
    const group = this.#errors.scope(
      "validation",
      (reason) => new Error(`kernel ${name} cannot use its buffers: ${reason}`),
      () => this.#device.createBindGroup({ layout, entries }),
    );
    return { staged, group };
  }

  #compiledFor({ kernel, constants, buffers }: Wanted): CompiledKernel {
    let variant = this.#compiled.get(kernel);
    if (!variant) this.#compiled.set(kernel, variant = new Trie());
    const { texturesFrom = 0 } = kernel;
    const textures = this.#texels &&
      (texturesFrom === 0 || Object.values(buffers).some(({ size }) => size >= texturesFrom));
    variant = variant.at(textures);
    for (const name in constants) variant = variant.at(constants[name]);
    return variant.value ??= this.#compile(kernel, { constants, textures });
  }

  #compile(
    kernel: Kernel,
    { constants, textures }: { constants: Constants | undefined; textures: boolean },
  ): CompiledKernel {
    this.#beforeCompile?.();
    const { code, bindings, explain } = compose(kernel, {
      directives: this.#directives,
      textures,
      constants: constants ?? {},
    });
    const places = bindings.map(({ place }) => place);
    const layout = this.#layoutFor(places);
    const { name } = kernel;
    const pipeline = this.#errors.scope(
      "validation",
      (reason) => new Error(`kernel ${name} does not compile: ${explain(reason)}`),
      () => pipelineOf(this.#device, { name, code, layout }),
    );
    this.#ahead?.add({ name, code, places });
    return {
      name,
      pipeline,
      layout,
      buffers: bindings.map(({ name }) => name),
      places,
      params: Object.entries(kernel.params).map(([name, type]) => ({
        name,
        isFloat: type === "f32",
      })),
      dispatches: new Trie(),
    };
  }

  #layoutFor(places: readonly Place[]): GPUBindGroupLayout {
    const signature = places.join();
    let layout = this.#layouts.get(signature);
    if (!layout) this.#layouts.set(signature, layout = layoutOf(this.#device, places));
    return layout;
  }
}

/** Layout of uniforms at binding 0 and buffers or textures after it. */
export function layoutOf(device: GPUDevice, places: readonly Place[]): GPUBindGroupLayout {
  const visibility = GPUShaderStage.COMPUTE;
  return device.createBindGroupLayout({
    entries: [
      { binding: 0, visibility, buffer: { type: "uniform", hasDynamicOffset: true } },
      ...places.map((place, i): GPUBindGroupLayoutEntry => ({
        binding: i + 1,
        visibility,
        ...place === "texture"
          ? { storageTexture: { access: "read-only", format: "rgba32float" } }
          : { buffer: { type: place === "read" ? "read-only-storage" : "storage" } },
      })),
    ],
  });
}

/** Pipeline of a kernel's entry point `main`. */
export function pipelineOf(
  device: GPUDevice,
  { name, code, layout }: { name: string; code: string; layout: GPUBindGroupLayout },
): GPUComputePipeline {
  return device.createComputePipeline({
    label: name,
    layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
    compute: { module: device.createShaderModule({ label: name, code }), entryPoint: "main" },
  });
}

/** Kernel, constants and buffers that a dispatch is prepared from. */
interface Wanted {
  readonly kernel: Kernel;
  readonly constants: Constants | undefined;
  readonly buffers: Readonly<Record<string, PooledBuffer>>;
}

function isSame(dispatch: PreparedDispatch, { kernel, constants, buffers }: Wanted): boolean {
  if (dispatch.kernel !== kernel) return false;
  const { names } = dispatch;
  for (let i = 0; i < names.length; i++) {
    if (buffers[names[i]] !== dispatch.buffers[i]) return false;
  }
  if (dispatch.constants === constants) return true;
  if (!sameConstants(dispatch.constants, constants)) return false;
  dispatch.constants = constants;
  return true;
}

function sameConstants(known: Constants | undefined, given: Constants | undefined): boolean {
  let more = 0;
  for (const name in given) {
    if (given[name] !== known?.[name]) return false;
    more++;
  }
  for (const _ in known) more--;
  return more === 0;
}
