import { DISPATCHES_PER_SUBMIT } from "./uniform_arena.ts";

/** Time that a kernel took on the device, summed over its dispatches. */
export interface KernelTime {
  /** Name of the kernel. */
  readonly kernel: string;
  /** Number of its dispatches. */
  readonly dispatches: number;
  /** Its time by the device's timestamps, over all dispatches. */
  readonly milliseconds: number;
}

/** Measures each dispatch by a pair of timestamps around a pass of its own. */
export class Profiler {
  readonly #device: GPUDevice;
  readonly #queries: GPUQuerySet;
  readonly #names: string[] = [];
  readonly #totals = new Map<string, { dispatches: number; milliseconds: number }>();
  #reading: Promise<void> = Promise.resolve();

  /** Makes a query set with two timestamps for each dispatch of a submit. */
  constructor(device: GPUDevice) {
    this.#device = device;
    this.#queries = device.createQuerySet({ type: "timestamp", count: 2 * DISPATCHES_PER_SUBMIT });
  }

  /** Descriptor of the pass of the next dispatch, which writes its timestamps. */
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

  /** Encodes the reading of the timestamps written since the last call. */
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

  /** Time by kernel, longest first, once all timestamps are read. */
  async times(): Promise<KernelTime[]> {
    await this.#reading;
    return [...this.#totals].map(([kernel, total]) => ({ kernel, ...total }))
      .sort((a, b) => b.milliseconds - a.milliseconds);
  }
}
