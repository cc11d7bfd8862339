import type { Kernel } from "../../kernels/spec.ts";
import { type KernelTarget, kernelTarget } from "../../kernels/target.ts";
import { InputError } from "../errors.ts";
import { BufferPool, contentText, type PooledBuffer, type PoolStatistics } from "./buffer_pool.ts";
import { CompileAhead } from "./compile_ahead.ts";
import { DeviceErrors } from "./device_errors.ts";
import { type GpuAdapter, type KernelFamily, type OpenDevice, openDevice } from "./gpu_adapter.ts";
import { PipelineCache, type PreparedDispatch } from "./pipelines.ts";
import type { Constants } from "../../kernels/specialize.ts";
import { type KernelTime, Profiler } from "./profiler.ts";
import { Staging } from "./staging.ts";
import { SubmitLimit } from "./submit_limit.ts";
import { UniformArena } from "./uniform_arena.ts";

/**
 * Dispatches, and milliseconds since the last submit, from which what is encoded is submitted before a kernel is
 * compiled. A submit waits for the one before it: sooner it stalls the host, which could compile meanwhile, and later
 * the device idles.
 */
const BEFORE_COMPILING = { dispatches: 8, milliseconds: 60 } as const;

/** Lanes that the kernels for CPU drivers are made for: registers of 128, 256 and 512 bits. */
const LANES = [4, 8, 16];

/** Idle bytes in the pool beyond which a new size makes room first. */
const IDLE_LIMIT = 2 ** 30;

/** Workgroups along one dimension that WebGPU guarantees. */
const MAXIMUM_WORKGROUPS = 65_535;

type Shape = readonly number[];

/** A kernel with all that one dispatch of it needs. */
export interface Dispatch<Buffers extends string, Parameters extends string> {
  /** A buffer for each name the kernel declares. */
  readonly buffers: Readonly<Record<Buffers, PooledBuffer>>;
  /** A value for each field of the kernel's `Params`; the object is not changed afterwards. */
  readonly params: Readonly<Record<Parameters, number>>;
  /**
   * Values of `override` constants, always the same names in the same order for the same kernel; the
   * object is not changed afterwards.
   */
  readonly constants?: Constants;
  /** Workgroups along x, y and z. */
  readonly workgroups: readonly [number, number?, number?];
}

/** Options of {@linkcode Gpu.open}. */
export interface GpuOptions {
  /** The WebGPU implementation; by default `navigator.gpu`. */
  readonly gpu?: GPU;
  /** Kernels to run; by default those made for the adapter's type. */
  readonly family?: KernelFamily;
  /** Measures every dispatch by timestamps (see {@linkcode Gpu.profile}); slower. */
  readonly profile?: boolean;
  /**
   * Called before each kernel is compiled, which takes a driver for CPUs up to a second and blocks the
   * event loop. An error that it throws ends the call that needs the kernel, before it encodes anything.
   */
  readonly beforeCompile?: () => void;
  /**
   * Compiles in further threads, too, where the driver compiles on one and its cache is empty (see
   * {@linkcode CompileAhead}). They need the right to read these modules; a process that does not close the Gpu lives
   * for some seconds more. Default false.
   */
  readonly compileAhead?: boolean;
}

/**
 * A device that runs kernels. Commands gather in one open compute pass and are submitted when a
 * result is read, when {@linkcode Gpu.flush} is called, before a kernel is compiled, when the uniform arena
 * is full or, on a GPU, when they may take a tenth of a second; dispatches in a pass see each other's results in order.
 *
 * @example
 * ```ts ignore
 * await using gpu = await Gpu.open();
 * console.log(gpu.info.name);
 * ```
 */
export class Gpu implements Disposable, AsyncDisposable {
  /** Hardware and driver. */
  readonly info: GpuAdapter;
  /** Kernels that run: those for CPU drivers, which work by subgroups, or those for GPUs. */
  readonly family: KernelFamily;
  /** Lanes of a subgroup that kernels may rely on, and the tiles of the GPU's class: what they are chosen by. */
  readonly target: KernelTarget;
  /** The implementation that the device is of: Dawn ends with this object, which has to outlive its devices. */
  readonly implementation: GPU;
  /** The underlying WebGPU device. */
  readonly device: GPUDevice;
  readonly #pool: BufferPool;
  readonly #pipelines: PipelineCache;
  readonly #staging: Staging;
  readonly #uniforms: UniformArena;
  readonly #profiler: Profiler | undefined;
  readonly #errors: DeviceErrors;
  readonly #largestBuffer: number;
  readonly #limit: SubmitLimit;
  readonly #ahead: CompileAhead | undefined;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  /** The pipeline that is set in the pass. */
  #pipeline: GPUComputePipeline | undefined;
  #pending = 0;
  /** Number of the submit that is being encoded. */
  #submission = 1;
  /** Kernels that the next submit runs, with the shapes each was last given, for error messages. */
  #commands = new Map<string, readonly Shape[]>();
  #dispatches = 0;
  /** True if the device is known to have done all that was submitted. */
  #isIdle = true;
  /** Time of the last submit. */
  #submitted = performance.now();

  private constructor(
    implementation: GPU,
    open: OpenDevice,
    { family, profile, beforeCompile, compileAhead }: GpuOptions,
  ) {
    this.implementation = implementation;
    this.device = open.device;
    this.info = open.info;
    this.family = family ?? (open.info.type === "CPU" ? "cpu" : "gpu");
    const { limits } = open.device;
    const known = this.family === "cpu" && LANES.includes(open.subgroupSize);
    this.target = kernelTarget({
      lanes: known ? open.subgroupSize : 0,
      f16: open.info.features.includes("shader-f16"),
      vendor: open.info.vendor,
      limits: {
        invocations: limits.maxComputeInvocationsPerWorkgroup,
        bytes: limits.maxComputeWorkgroupStorageSize,
      },
    });
    const { maxBufferSize, maxStorageBufferBindingSize } = limits;
    this.#largestBuffer = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    this.#limit = new SubmitLimit(open.info.type === "GPU");
    this.#errors = new DeviceErrors(open.device);
    this.#pool = new BufferPool(open.device, this.#errors);
    this.#uniforms = new UniformArena(open.device);
    this.#staging = new Staging(open.device, this.#errors);
    if (compileAhead && open.isLlvmpipe && implementation === navigator.gpu) {
      this.#ahead = new CompileAhead();
    }
    this.#pipelines = new PipelineCache(open.device, {
      directives: open.directives,
      uniforms: this.#uniforms.buffer,
      staging: this.#staging,
      texels: open.isLlvmpipe && this.family === "cpu",
      errors: this.#errors,
      beforeCompile: () => {
        beforeCompile?.();
        // Compiling holds the host for long: let the device do meanwhile what is encoded.
        // Unless the device is at it already: a submit waits for the one before it, and meanwhile threads that compile
        // ahead would hear of no further kernel.
        const wouldWait = this.#ahead?.isCold && !this.#isIdle;
        const isDue = this.#pending >= BEFORE_COMPILING.dispatches &&
          performance.now() - this.#submitted >= BEFORE_COMPILING.milliseconds;
        if (isDue && !wouldWait) this.flush();
      },
      ahead: this.#ahead,
    });
    if (profile) this.#profiler = new Profiler(open.device);
  }

  /**
   * Opens the best adapter, a GPU before a CPU driver.
   *
   * @throws {InputError} if there is none.
   */
  static async open(options: GpuOptions = {}): Promise<Gpu> {
    const { gpu = navigator.gpu } = options;
    return new Gpu(gpu, await openDevice(gpu), options);
  }

  /** Figures of the buffer pool, with the staging textures in its bytes. */
  get memory(): PoolStatistics {
    const { statistics } = this.#pool;
    const { bytes } = this.#staging;
    return {
      ...statistics,
      bytes: statistics.bytes + bytes,
      peakBytes: statistics.peakBytes + bytes,
    };
  }

  /** Dispatches encoded so far. */
  get dispatches(): number {
    return this.#dispatches;
  }

  /**
   * Lends a buffer of at least `bytes` with undefined content. If the device turns out to have no
   * memory left for it, later calls throw an InputError.
   *
   * @param shape Shape of the tensor it is to hold, for that message.
   * @throws {InputError} if the device has no buffers of that size.
   */
  acquire(bytes: number, shape?: readonly number[]): PooledBuffer {
    this.#errors.check();
    if (bytes > this.#largestBuffer) {
      throw new InputError(
        `${
          contentText(shape)
        } of ${bytes} bytes is more than the ${this.#largestBuffer} that a buffer of this device holds: take a smaller batch or side`,
      );
    }
    if (this.#pool.idleBytes > IDLE_LIMIT && !this.#pool.has(bytes)) this.trim();
    return this.#pool.acquire(bytes, shape);
  }

  /** Returns a buffer to the pool; work already encoded may still use it. */
  release(buffer: PooledBuffer): void {
    this.#pool.release(buffer);
  }

  /** Frees the memory of idle buffers. */
  trim(): void {
    this.flush();
    this.#pipelines.dropBindGroups();
    this.#staging.trim();
    this.#pool.trim();
  }

  /** Sets the peak of {@linkcode memory} to the present bytes, to measure one piece of work. */
  forgetPeak(): void {
    this.#pool.forgetPeak();
  }

  /** Folds `count` workgroups into two dimensions (see `flat_index` of the prelude). */
  static grid(count: number): [number, number] {
    const rows = Math.max(1, Math.ceil(count / MAXIMUM_WORKGROUPS));
    return [Math.ceil(count / rows), rows];
  }

  /**
   * Encodes one dispatch.
   *
   * @throws {Error} if it has more workgroups than WebGPU allows.
   */
  run<Buffers extends string, Parameters extends string>(
    kernel: Kernel<Buffers, Parameters>,
    dispatch: Dispatch<Buffers, Parameters>,
  ): void {
    this.#errors.check();
    const { workgroups } = dispatch;
    const x = workgroups[0], y = workgroups[1] ?? 1, z = workgroups[2] ?? 1;
    if (Math.max(x, y, z) > MAXIMUM_WORKGROUPS) {
      throw new Error(
        `kernel ${kernel.name}: ${
          workgroups.join(" x ")
        } workgroups are more than ${MAXIMUM_WORKGROUPS} along one dimension`,
      );
    }
    const prepared = this.#pipelines.prepare(kernel, dispatch.constants, dispatch.buffers);
    if (this.#ahead?.isCurious) this.#judge(prepared, dispatch.params);
    const { buffers, written } = prepared;
    for (let i = 0; i < buffers.length; i++) buffers[i].lastUse = this.#submission;
    this.#uniforms.set(this.#pending, prepared.params, dispatch.params);
    this.#encoder ??= this.device.createCommandEncoder();
    if (prepared.staged.length > 0) this.#stage(prepared);
    for (let i = 0; i < written.length; i++) written[i].version++;
    if (this.#profiler) {
      this.#endPass();
      this.#pass = this.#encoder.beginComputePass(this.#profiler.next(kernel.name));
    }
    this.#pass ??= this.#encoder.beginComputePass();
    if (this.#pipeline !== prepared.pipeline) {
      this.#pass.setPipeline(this.#pipeline = prepared.pipeline);
    }
    this.#pass.setBindGroup(0, prepared.group, this.#uniforms.offset(this.#pending), 0, 1);
    this.#pass.dispatchWorkgroups(x, y, z);
    this.#dispatches++;
    this.#commands.set(kernel.name, shapesOf(buffers));
    if (++this.#pending >= this.#limit.dispatches) this.flush();
  }

  /** Has the device compile a kernel by itself, dispatched without a workgroup, so that `#ahead` can judge it. */
  #judge(
    { pipeline, group, params }: PreparedDispatch,
    values: Readonly<Record<string, number>>,
  ): void {
    this.flush();
    this.#uniforms.set(0, params, values);
    this.#uniforms.upload(1);
    const encoder = this.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group, this.#uniforms.offset(0), 0, 1);
    pass.dispatchWorkgroups(0);
    pass.end();
    const { queue } = this.device;
    queue.submit([]); // waits for the submit before it, as each does
    const start = performance.now();
    queue.submit([encoder.finish()]);
    queue.submit([]);
    this.#ahead!.judge(performance.now() - start);
    this.#isIdle = true;
  }

  /** Copies what a dispatch reads from textures, where they do not hold it yet. */
  #stage(prepared: PreparedDispatch): void {
    let settled = false;
    for (const staged of prepared.staged) settled = this.#staging.settles(staged) || settled;
    if (settled) this.#pipelines.restage(prepared);
    for (const staged of prepared.staged) {
      if (Staging.isCurrent(staged)) continue;
      this.#endPass();
      this.#staging.copy(this.#encoder!, staged);
    }
  }

  #endPass(): void {
    this.#pass?.end();
    this.#pass = this.#pipeline = undefined;
  }

  /** Submits what has been encoded. */
  flush(): void {
    this.#errors.check();
    if (!this.#encoder) return;
    this.#endPass();
    this.#uniforms.upload(this.#pending);
    this.#profiler?.resolve(this.#encoder);
    const encoder = this.#encoder;
    const commands = this.#commands;
    this.#errors.scope(
      "validation",
      (reason) => new Error(`the GPU refused commands with ${commandsText(commands)}: ${reason}`),
      () => this.device.queue.submit([encoder.finish()]),
    );
    this.#limit.submit(this.#pending);
    this.#submitted = performance.now();
    this.#isIdle = false;
    this.#encoder = undefined;
    this.#commands = new Map();
    this.#pending = 0;
    this.#submission++;
  }

  /** Writes host data to the start of a buffer. */
  write(buffer: PooledBuffer, data: Float32Array | Uint32Array): void {
    this.#errors.check();
    // A write overtakes commands that are encoded and not submitted. Only if one of them uses the
    // buffer, perhaps on behalf of its last owner, must they go first.
    if (buffer.lastUse === this.#submission) this.flush();
    buffer.version++;
    const { shape, use } = buffer;
    this.#errors.scope(
      "validation",
      (reason) => new Error(`the GPU refused a write to ${contentText(shape, use)}: ${reason}`),
      () =>
        this.device.queue.writeBuffer(
          buffer.buffer,
          0,
          data.buffer as ArrayBuffer,
          data.byteOffset,
          data.byteLength,
        ),
    );
  }

  /** Copies the first `bytes` of one buffer to another. */
  copy(from: PooledBuffer, to: PooledBuffer, bytes: number): void {
    this.#errors.check();
    this.#encodeCopy(from, to.buffer, bytes);
    to.lastUse = this.#submission;
    to.version++;
    this.#commands.set("copy", shapesOf([from, to]));
  }

  #encodeCopy(from: PooledBuffer, to: GPUBuffer, bytes: number): void {
    this.#encoder ??= this.device.createCommandEncoder();
    this.#endPass();
    this.#encoder.copyBufferToBuffer(from.buffer, 0, to, 0, Math.ceil(bytes / 4) * 4);
    from.lastUse = this.#submission;
  }

  /**
   * Waits for all work and brings the first `bytes` of a buffer to the host. With wgpu this costs
   * about 10 ms whatever the size: read rarely.
   *
   * @throws {Error} if the device refused or lost something: the first error there was.
   */
  async read(buffer: PooledBuffer, bytes: number): Promise<ArrayBuffer> {
    return await this.readLater(buffer, bytes)();
  }

  /**
   * Encodes that the first `bytes` of a buffer, as they are now, come to the host.
   *
   * @returns A function that waits for them, to be called once: it frees the buffer that they are copied to. With wgpu
   * it holds the thread until the device has done all that was submitted, so call it before more is; what is encoded
   * meanwhile need not wait. It throws the first error there was, as {@linkcode read} does.
   */
  readLater(buffer: PooledBuffer, bytes: number): () => Promise<ArrayBuffer> {
    this.#errors.check();
    const size = Math.ceil(bytes / 4) * 4;
    const { shape, use } = buffer;
    const copy = this.#errors.allocate(
      () => ({
        size,
        held: this.memory.bytes,
        content: `reading ${contentText(shape, use)}`,
      }),
      () =>
        this.device.createBuffer({
          size,
          usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
        }),
    );
    this.#encodeCopy(buffer, copy, bytes);
    this.#commands.set("read", shapesOf([buffer]));
    const own = this.#submission;
    return async () => {
      try {
        if (own === this.#submission) this.flush();
        const submission = this.#submission;
        await copy.mapAsync(GPUMapMode.READ);
        this.#settle(submission);
        await this.#errors.settle();
        this.#errors.check();
        return copy.getMappedRange().slice(0, bytes);
      } catch (error) {
        this.#errors.check();
        throw error;
      } finally {
        copy.destroy();
      }
    };
  }

  /** Waits until the device has done all work. */
  async finish(): Promise<void> {
    this.flush();
    const submission = this.#submission;
    await this.device.queue.onSubmittedWorkDone();
    this.#settle(submission);
    await this.#errors.settle();
    this.#errors.check();
  }

  /** Notes that the device has done all before a submit, which others may have followed. */
  #settle(submission: number): void {
    this.#limit.done(this.#submission - submission);
    if (submission !== this.#submission || this.#pending > 0) return;
    this.#isIdle = true;
    this.#ahead?.pass();
  }

  /** Time by kernel since the device was opened, longest first; empty without `profile`. */
  async profile(): Promise<KernelTime[]> {
    await this.finish();
    return await this.#profiler?.times() ?? [];
  }

  /** Closes the device and frees its memory. */
  [Symbol.dispose](): void {
    this.#errors.fail(new Error("this Gpu was closed: open another"));
    this.#endPass();
    this.#ahead?.[Symbol.dispose]();
    this.device.destroy();
  }

  /**
   * Closes the device when it has done its work. A program's last one is closed so: Mesa's CPU driver,
   * which compiles in a thread of its own, may crash a process that ends meanwhile.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.device.queue.onSubmittedWorkDone().catch(() => {}); // a lost device has none
    this[Symbol.dispose]();
  }
}

/** Shapes of the tensors that buffers hold; `[]` stands for a buffer without one. */
function shapesOf(buffers: readonly PooledBuffer[]): Shape[] {
  const shapes: Shape[] = [];
  for (let i = 0; i < buffers.length; i++) shapes.push(buffers[i].shape ?? []);
  return shapes;
}

/** Commands in error messages: `binary ([2, 3], [3], [2, 3]), copy ([4], [4])`. */
function commandsText(commands: ReadonlyMap<string, readonly Shape[]>): string {
  return [...commands].map(([name, shapes]) =>
    `${name} (${shapes.map((shape) => `[${shape.join(", ")}]`).join(", ")})`
  ).join(", ");
}
