import type { DeviceErrors } from "./device_errors.ts";

/** A GPU buffer with a number of its own, by which bind groups are cached. */
export interface PooledBuffer {
  /** Unique within its pool; grows with every buffer made. */
  readonly id: number;
  /** The WebGPU buffer. */
  readonly buffer: GPUBuffer;
  /** Bytes, a multiple of 16 so that any tensor can be read as vec4s to its end. */
  readonly size: number;
  /** Number of the last submit with a command that uses it, 0 before the first. */
  lastUse: number;
  /** Grows with every command that may change the content. */
  version: number;
  /** Purpose it was made for, as far as it is known: a weight's path, or the kernel first given it. */
  use?: string;
  /** Shape of the tensor that it was lent for last. */
  shape?: readonly number[];
}

/** Figures of a pool. */
export interface PoolStatistics {
  /** Buffers that exist, lent out or idle. */
  readonly buffers: number;
  /** Buffers lent out. */
  readonly live: number;
  /** Bytes of all buffers that exist. */
  readonly bytes: number;
  /** Bytes lent out. */
  readonly liveBytes: number;
  /** Largest `bytes` since the start, or since the last `forgetPeak`. */
  readonly peakBytes: number;
}

/**
 * Lends storage buffers by exact size, of the idle ones always the oldest. So the buffers lent to a step
 * depend on *which* are idle when it begins, not on the order in which they came back; and a step that
 * returns all it borrowed leaves the same ones idle for the next. Steps that ask for the same sizes in
 * the same order get the same buffers: from the second step on nothing is allocated and every bind group
 * is found in its cache.
 */
export class BufferPool {
  readonly #device: GPUDevice;
  readonly #errors: DeviceErrors;
  /** By size, the oldest last. */
  readonly #idle = new Map<number, PooledBuffer[]>();
  #idleBytes = 0;
  #buffers = 0;
  #live = 0;
  #bytes = 0;
  #liveBytes = 0;
  #peakBytes = 0;
  #nextId = 0;

  /**
   * Makes an empty pool.
   *
   * @param device The device whose memory is lent.
   * @param errors Takes, later, that the device had no memory for a buffer.
   */
  constructor(device: GPUDevice, errors: DeviceErrors) {
    this.#device = device;
    this.#errors = errors;
  }

  /** Bytes that the pool allocates for a size. */
  static size(bytes: number): number {
    return Math.max(16, Math.ceil(bytes / 16) * 16);
  }

  /** True if a buffer of `bytes` is idle, so that lending it allocates nothing. */
  has(bytes: number): boolean {
    return (this.#idle.get(BufferPool.size(bytes))?.length ?? 0) > 0;
  }

  /**
   * Lends a buffer of at least `bytes`; its content is undefined.
   *
   * @param shape Shape of the tensor it is to hold, for error messages.
   */
  acquire(bytes: number, shape?: readonly number[]): PooledBuffer {
    const size = BufferPool.size(bytes);
    let lent = this.#idle.get(size)?.pop();
    if (lent) this.#idleBytes -= size;
    else lent = this.#create(size, shape);
    lent.shape = shape;
    this.#live++;
    this.#liveBytes += size;
    return lent;
  }

  /** Returns a buffer. Commands already encoded may still use it: the queue runs in order. */
  release(buffer: PooledBuffer): void {
    const { id, size } = buffer;
    this.#live--;
    this.#liveBytes -= size;
    let idle = this.#idle.get(size);
    if (!idle) this.#idle.set(size, idle = []);
    let place = idle.length;
    while (place > 0 && idle[place - 1].id < id) {
      idle[place] = idle[place - 1];
      place--;
    }
    idle[place] = buffer;
    this.#idleBytes += size;
  }

  #create(size: number, shape: readonly number[] | undefined): PooledBuffer {
    const held = this.#bytes;
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = this.#errors.allocate(
      () => ({ size, held, content: contentText(shape, made.use) }),
      () => this.#device.createBuffer({ size, usage }),
    );
    const made: PooledBuffer = { id: this.#nextId++, buffer, size, lastUse: 0, version: 0 };
    this.#buffers++;
    this.#bytes += size;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    return made;
  }

  /** Destroys the idle buffers. No command that uses them may be left unsubmitted. */
  trim(): void {
    for (const idle of this.#idle.values()) {
      for (const { buffer } of idle) buffer.destroy();
      this.#buffers -= idle.length;
    }
    this.#bytes -= this.#idleBytes;
    this.#idleBytes = 0;
    this.#idle.clear();
  }

  /** Sets the peak to the present bytes. */
  forgetPeak(): void {
    this.#peakBytes = this.#bytes;
  }

  /** Bytes of the idle buffers. */
  get idleBytes(): number {
    return this.#idleBytes;
  }

  /** Present figures. */
  get statistics(): PoolStatistics {
    return {
      buffers: this.#buffers,
      live: this.#live,
      bytes: this.#bytes,
      liveBytes: this.#liveBytes,
      peakBytes: this.#peakBytes,
    };
  }
}

/** Content of a buffer in error messages: `a tensor [2, 3] (image)`. */
export function contentText(shape: readonly number[] | undefined, use?: string): string {
  const content = shape ? `a tensor [${shape.join(", ")}]` : "a buffer";
  return use ? `${content} (${use})` : content;
}
