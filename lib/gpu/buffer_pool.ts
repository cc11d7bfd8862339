/** A GPU buffer with a number of its own, by which bind groups are cached. */
export interface PooledBuffer {
  /** Unique within its pool. */
  readonly id: number;
  /** The WebGPU buffer. */
  readonly buffer: GPUBuffer;
  /** Bytes, a multiple of 16 so that any tensor can be read as vec4s to its end. */
  readonly size: number;
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
  /** The largest `bytes` seen. */
  readonly peakBytes: number;
}

/**
 * Lends storage buffers by exact size. A training step that asks for the same sizes in the same
 * order gets the same buffers, so that nothing is allocated, and every bind group found in its
 * cache, from the second step on.
 */
export class BufferPool {
  readonly #device: GPUDevice;
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
   */
  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Rounds a size up to what the pool allocates. */
  static size(bytes: number): number {
    return Math.max(16, Math.ceil(bytes / 16) * 16);
  }

  /** Whether a buffer of `bytes` is idle, so that lending it allocates nothing. */
  has(bytes: number): boolean {
    return (this.#idle.get(BufferPool.size(bytes))?.length ?? 0) > 0;
  }

  /** Lends a buffer of at least `bytes`; its content is undefined. */
  acquire(bytes: number): PooledBuffer {
    const size = BufferPool.size(bytes);
    let lent = this.#idle.get(size)?.pop();
    if (lent) {
      this.#idleBytes -= size;
    } else {
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
      lent = { id: this.#nextId++, buffer: this.#device.createBuffer({ size, usage }), size };
      this.#buffers++;
      this.#bytes += size;
      this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    }
    this.#live++;
    this.#liveBytes += size;
    return lent;
  }

  /** Takes a buffer back. Commands already encoded may still use it: the queue runs in order. */
  release(buffer: PooledBuffer): void {
    const idle = this.#idle.get(buffer.size);
    if (idle) idle.push(buffer);
    else this.#idle.set(buffer.size, [buffer]);
    this.#idleBytes += buffer.size;
    this.#live--;
    this.#liveBytes -= buffer.size;
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

  /** Bytes of the buffers that nobody has borrowed. */
  get idleBytes(): number {
    return this.#idleBytes;
  }

  /** Figures as they stand. */
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
