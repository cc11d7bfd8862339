import type { Kernel } from "../../kernels/spec.ts";
import { matmulKernels } from "../../kernels/matmul/mod.ts";
import { InputError } from "../errors.ts";
import { cacheDir } from "../fs.ts";
import { type AdapterInfo, type OpenDevice, openDevice } from "./adapter.ts";
import { BufferPool, type PooledBuffer, type PoolStatistics } from "./buffer_pool.ts";
import {
  type Constants,
  type Parameter,
  PipelineCache,
  type PreparedDispatch,
  UNIFORM_SLOT,
} from "./pipelines.ts";
import { Staging } from "./staging.ts";
import { Tuner, type Tuning } from "./tuner.ts";

/** Dispatches of one submit. Each has a slot of the uniform arena. */
const DISPATCHES_PER_SUBMIT = 512;

/**
 * Dispatches that are submitted before a kernel is compiled. A submit waits for the one before it: fewer
 * dispatches stall the host more often, and with more of them the device idles longer.
 */
const DISPATCHES_BEFORE_COMPILING = 32;

/** Idle bytes in the pool beyond which a new size makes room first. */
const IDLE_LIMIT = 2 ** 30;

/** Workgroups along one dimension that WebGPU guarantees. */
const MAXIMUM_WORKGROUPS = 65_535;

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

/** Time that a kernel took on the device, summed over its dispatches. */
export interface KernelTime {
  /** Name of the kernel. */
  readonly kernel: string;
  /** How often it was dispatched. */
  readonly dispatches: number;
  /** Its time by the device's timestamps, over all dispatches. */
  readonly milliseconds: number;
}

/** Options of {@linkcode Gpu.open}. */
export interface GpuOptions {
  /** The WebGPU implementation; by default `navigator.gpu`. */
  readonly gpu?: GPU;
  /** Measures every dispatch by timestamps (see {@linkcode Gpu.profile}); slower. */
  readonly profile?: boolean;
  /**
   * Measures the tiles of each matrix product that occurs when a result is next read, and takes the
   * fastest from then on, in later runs on this adapter from the start. Which it is decides in which
   * order sums are added up, so results differ in their last bits from those without; by default off,
   * unless the environment has `SAMLORA_TUNE=1`.
   */
  readonly tune?: boolean;
  /**
   * Called before each kernel is compiled, which takes a driver for CPUs up to a second and holds the
   * event loop. What it throws ends the call that wanted the kernel, before anything was encoded.
   */
  readonly beforeCompile?: () => void;
}

/**
 * A device that runs kernels. Commands gather in one open compute pass and are submitted when a
 * result is read, when {@linkcode Gpu.flush} is called, when the uniform arena is full or before a kernel
 * is compiled; dispatches in a pass see each other's results in order.
 *
 * @example
 * ```ts ignore
 * using gpu = await Gpu.open();
 * console.log(gpu.info.name);
 * ```
 */
export class Gpu implements Disposable {
  /** What the device is. */
  readonly info: AdapterInfo;
  /** Lanes that run in step, 0 where shaders cannot rely on it. */
  readonly subgroupSize: number;
  /** Chooses variants of kernels by measuring; null if the static choices hold. */
  readonly tuner: Tuner | null;
  /** The underlying WebGPU device. */
  readonly device: GPUDevice;
  readonly #pool: BufferPool;
  readonly #pipelines: PipelineCache;
  readonly #staging: Staging;
  readonly #arena: GPUBuffer;
  readonly #arenaBytes = new ArrayBuffer(DISPATCHES_PER_SUBMIT * UNIFORM_SLOT);
  readonly #arenaU32 = new Uint32Array(this.#arenaBytes);
  readonly #arenaF32 = new Float32Array(this.#arenaBytes);
  /** Whose values each slot of the arena holds already, and in which order. */
  readonly #slots = Array.from({ length: DISPATCHES_PER_SUBMIT }, emptySlot);
  /** The one dynamic offset of a dispatch. */
  readonly #offset = new Uint32Array(1);
  readonly #profiler: Profiler | undefined;
  readonly #onError: (error: Error) => void;
  readonly #largestBuffer: number;
  #encoder: GPUCommandEncoder | undefined;
  #pass: GPUComputePassEncoder | undefined;
  /** The pipeline that is set in the pass. */
  #pipeline: GPUComputePipeline | undefined;
  #pending = 0;
  /** Number of the submit that is being encoded. */
  #submission = 1;
  /** Names of the kernels that the next submit runs, for error messages. */
  #kernels = new Set<string>();
  #dispatches = 0;
  #error: Error | undefined;
  #closed = false;

  private constructor(
    open: OpenDevice,
    tuner: Tuner | null,
    { profile, beforeCompile }: GpuOptions,
  ) {
    this.tuner = tuner;
    this.device = open.device;
    this.info = open.info;
    this.subgroupSize = open.subgroupSize;
    const { maxBufferSize, maxStorageBufferBindingSize } = open.device.limits;
    this.#largestBuffer = Math.min(maxBufferSize, maxStorageBufferBindingSize);
    const onError = (error: Error) => this.#error ??= error;
    this.#onError = onError;
    this.#pool = new BufferPool(open.device, onError);
    this.#arena = open.device.createBuffer({
      size: DISPATCHES_PER_SUBMIT * UNIFORM_SLOT,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    this.#staging = new Staging(open.device);
    this.#pipelines = new PipelineCache(open.device, {
      directives: open.directives,
      uniforms: this.#arena,
      staging: this.#staging,
      texels: open.texels,
      onError,
      beforeCompile: () => {
        beforeCompile?.();
        // Compiling holds the host for long: let the device do meanwhile what is encoded.
        if (this.#pending >= DISPATCHES_BEFORE_COMPILING) this.flush();
      },
    });
    if (profile) this.#profiler = new Profiler(open.device);
    open.device.addEventListener("uncapturederror", (event) => {
      event.preventDefault();
      onError(
        new Error(`the GPU refused a command: ${(event as GPUUncapturedErrorEvent).error.message}`),
      );
    });
    open.device.lost.then(({ message }) => {
      if (!this.#closed) {
        onError(new Error(`the GPU device was lost: ${message || "no reason given"}`));
      }
    });
  }

  /**
   * Opens the best adapter, a GPU before a CPU driver.
   *
   * @throws {InputError} if there is none.
   */
  static async open(options: GpuOptions = {}): Promise<Gpu> {
    const { tune = tunedByEnvironment() } = options;
    const open = await openDevice(options.gpu ?? navigator.gpu);
    const { name, driver } = open.info;
    const tuner = tune
      ? await Tuner.open({
        folder: cacheDir("tuning"),
        adapter: `${name}, ${driver}, ${open.subgroupSize} lanes`,
        sources: matmulKernels.map(({ source }) => source),
      })
      : null;
    return new Gpu(open, tuner, options);
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

  /** What the tuner has chosen, for a run's record; null if the static choices hold. */
  get tuning(): Tuning | null {
    return this.tuner?.tuning ?? null;
  }

  /** Dispatches encoded so far. */
  get dispatches(): number {
    return this.#dispatches;
  }

  /**
   * Lends a buffer of at least `bytes` with undefined content. That the device has no memory left for
   * it is told, as an InputError, by whichever call follows when the device has said so.
   *
   * @param shape What it is to hold, for that message.
   * @throws {InputError} if the device has no buffers of that size.
   */
  acquire(bytes: number, shape?: readonly number[]): PooledBuffer {
    if (bytes > this.#largestBuffer) {
      throw new InputError(
        `a buffer of ${bytes} bytes is more than the ${this.#largestBuffer} of this device: take a smaller batch or side`,
      );
    }
    if (this.#pool.idleBytes > IDLE_LIMIT && !this.#pool.has(bytes)) this.trim();
    return this.#pool.acquire(bytes, shape);
  }

  /** Takes a buffer back; work already encoded may still use it. */
  release(buffer: PooledBuffer): void {
    this.#pool.release(buffer);
  }

  /** Frees the memory of buffers that nobody has borrowed. */
  trim(): void {
    this.flush();
    this.#pipelines.dropBindGroups();
    this.#staging.trim();
    this.#pool.trim();
  }

  /** Begins the peak of {@linkcode memory} anew, to measure what one piece of work takes. */
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
    this.#check();
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
    const { buffers, written } = prepared;
    for (let i = 0; i < buffers.length; i++) buffers[i].lastUse = this.#submission;
    this.#writeParams(prepared.params, dispatch.params);
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
    this.#offset[0] = this.#pending * UNIFORM_SLOT;
    this.#pass.setBindGroup(0, prepared.group, this.#offset, 0, 1);
    this.#pass.dispatchWorkgroups(x, y, z);
    this.#dispatches++;
    this.#kernels.add(kernel.name);
    if (++this.#pending === DISPATCHES_PER_SUBMIT) this.flush();
  }

  /**
   * Fills the dispatch's slot of the arena. Plans that are made once for a shape give the same object
   * step after step, mostly in the same slot, which then holds its values already.
   */
  #writeParams(fields: readonly Parameter[], params: Readonly<Record<string, number>>): void {
    const slot = this.#slots[this.#pending];
    if (slot.params === params && slot.fields === fields) return;
    slot.params = params;
    slot.fields = fields;
    let word = this.#pending * (UNIFORM_SLOT / 4);
    for (let i = 0; i < fields.length; i++) {
      const { name, isFloat } = fields[i];
      if (isFloat) this.#arenaF32[word++] = params[name];
      else this.#arenaU32[word++] = params[name]; // an i32 wraps to its bits
    }
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
    this.#check();
    if (!this.#encoder) return;
    this.#endPass();
    this.device.queue.writeBuffer(
      this.#arena,
      0,
      this.#arenaBytes,
      0,
      this.#pending * UNIFORM_SLOT,
    );
    this.#profiler?.resolve(this.#encoder);
    const kernels = this.#kernels;
    this.device.pushErrorScope("validation");
    this.device.queue.submit([this.#encoder.finish()]);
    this.device.popErrorScope().then((error) => {
      if (!error) return;
      const names = [...kernels].join(", ") || "copies alone";
      this.#onError(new Error(`the GPU refused commands with ${names}: ${error.message}`));
    });
    this.#encoder = undefined;
    this.#kernels = new Set();
    this.#pending = 0;
    this.#submission++;
  }

  /** Writes host data to the start of a buffer. */
  write(buffer: PooledBuffer, data: Float32Array | Uint32Array): void {
    this.#check();
    // A write overtakes commands that are encoded and not submitted. Only if one of them uses the
    // buffer, perhaps on behalf of its last owner, must they go first.
    if (buffer.lastUse === this.#submission) this.flush();
    buffer.version++;
    this.device.queue.writeBuffer(
      buffer.buffer,
      0,
      data.buffer as ArrayBuffer,
      data.byteOffset,
      data.byteLength,
    );
  }

  /** Copies the first `bytes` of one buffer to another. */
  copy(from: PooledBuffer, to: PooledBuffer, bytes: number): void {
    this.#check();
    this.#encoder ??= this.device.createCommandEncoder();
    this.#endPass();
    this.#encoder.copyBufferToBuffer(from.buffer, 0, to.buffer, 0, Math.ceil(bytes / 4) * 4);
    from.lastUse = to.lastUse = this.#submission;
    to.version++;
  }

  /**
   * Waits for all work and brings the first `bytes` of a buffer to the host. Under Deno this costs
   * about 10 ms whatever the size: read rarely.
   *
   * @throws {Error} if the device refused or lost something since the last call.
   */
  async read(buffer: PooledBuffer, bytes: number): Promise<ArrayBuffer> {
    if (this.tuner?.isPending) await this.tuner.measure();
    const size = Math.ceil(bytes / 4) * 4;
    const staging = this.device.createBuffer({
      size,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    this.#encoder ??= this.device.createCommandEncoder();
    this.#endPass();
    this.#encoder.copyBufferToBuffer(buffer.buffer, 0, staging, 0, size);
    this.flush();
    try {
      await staging.mapAsync(GPUMapMode.READ);
      this.#check();
      return staging.getMappedRange().slice(0, bytes);
    } catch (error) {
      this.#check();
      throw error;
    } finally {
      staging.destroy();
    }
  }

  /** Waits until the device has done all work. */
  async finish(): Promise<void> {
    this.flush();
    await this.device.queue.onSubmittedWorkDone();
    this.#check();
  }

  /** Time by kernel since the device was opened, longest first; empty without `profile`. */
  async profile(): Promise<KernelTime[]> {
    await this.finish();
    return await this.#profiler?.times() ?? [];
  }

  /** Closes the device and frees its memory. */
  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#pass?.end();
    this.device.destroy();
  }

  #check(): void {
    if (this.#closed) throw new Error("this Gpu was closed: open another");
    if (this.#error) {
      const error = this.#error;
      this.#error = undefined;
      throw error;
    }
  }
}

/** Whether `SAMLORA_TUNE=1` is set, as far as the process may know. */
function tunedByEnvironment(): boolean {
  const { state } = Deno.permissions.querySync({ name: "env", variable: "SAMLORA_TUNE" });
  return state === "granted" && Deno.env.get("SAMLORA_TUNE") === "1";
}

/** What a slot of the uniform arena holds. */
interface Slot {
  params: Readonly<Record<string, number>> | undefined;
  fields: readonly Parameter[] | undefined;
}

function emptySlot(): Slot {
  return { params: undefined, fields: undefined };
}

/** Measures each dispatch by a pair of timestamps around a pass of its own. */
class Profiler {
  readonly #device: GPUDevice;
  readonly #queries: GPUQuerySet;
  readonly #names: string[] = [];
  readonly #totals = new Map<string, { dispatches: number; milliseconds: number }>();
  #reading: Promise<void> = Promise.resolve();

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#queries = device.createQuerySet({ type: "timestamp", count: 2 * DISPATCHES_PER_SUBMIT });
  }

  next(kernel: string): GPUComputePassDescriptor {
    const i = this.#names.push(kernel) - 1;
    return {
      timestampWrites: {
        querySet: this.#queries,
        beginningOfPassWriteIndex: 2 * i,
        endOfPassWriteIndex: 2 * i + 1,
      },
    };
  }

  resolve(encoder: GPUCommandEncoder): void {
    const names = this.#names.splice(0);
    if (names.length === 0) return;
    const size = 16 * names.length;
    const resolved = this.#device.createBuffer({
      size,
      usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
    });
    const staging = this.#device.createBuffer({
      size,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    encoder.resolveQuerySet(this.#queries, 0, 2 * names.length, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    this.#reading = this.#reading.then(() => new Promise((done) => setTimeout(done)))
      .then(async () => {
        await staging.mapAsync(GPUMapMode.READ);
        const stamps = new BigUint64Array(staging.getMappedRange());
        names.forEach((name, i) => {
          const total = this.#totals.get(name) ?? { dispatches: 0, milliseconds: 0 };
          total.dispatches++;
          total.milliseconds += Number(stamps[2 * i + 1] - stamps[2 * i]) / 1e6;
          this.#totals.set(name, total);
        });
        staging.destroy();
        resolved.destroy();
      });
  }

  async times(): Promise<KernelTime[]> {
    await this.#reading;
    return [...this.#totals].map(([kernel, total]) => ({ kernel, ...total }))
      .sort((a, b) => b.milliseconds - a.milliseconds);
  }
}
