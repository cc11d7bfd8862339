import { type Parameter, UNIFORM_SLOT } from "./pipelines.ts";

/** Dispatches of one submit, each with a slot of the uniform arena. */
export const DISPATCHES_PER_SUBMIT = 512;

/** Object that the values in a slot were taken from, and their order. */
interface Slot {
  params: Readonly<Record<string, number>> | undefined;
  fields: readonly Parameter[] | undefined;
}

/** Parameters of all dispatches of a submit, in one uniform buffer: a slot each. */
export class UniformArena {
  /** The uniform buffer. */
  readonly buffer: GPUBuffer;
  readonly #queue: GPUQueue;
  readonly #bytes = new ArrayBuffer(DISPATCHES_PER_SUBMIT * UNIFORM_SLOT);
  readonly #u32 = new Uint32Array(this.#bytes);
  readonly #f32 = new Float32Array(this.#bytes);
  readonly #slots = Array.from(
    { length: DISPATCHES_PER_SUBMIT },
    (): Slot => ({ params: undefined, fields: undefined }),
  );
  /** The one dynamic offset of a dispatch. */
  readonly #offset = new Uint32Array(1);

  /** Makes the buffer. */
  constructor(device: GPUDevice) {
    this.#queue = device.queue;
    this.buffer = device.createBuffer({
      size: this.#bytes.byteLength,
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
  }

  /**
   * Fills a slot. Plans that are made once for a shape give the same `params` object step after step,
   * mostly for the same slot, which then holds its values already.
   */
  set(
    index: number,
    fields: readonly Parameter[],
    params: Readonly<Record<string, number>>,
  ): void {
    const slot = this.#slots[index];
    if (slot.params === params && slot.fields === fields) return;
    slot.params = params;
    slot.fields = fields;
    let word = index * (UNIFORM_SLOT / 4);
    for (let i = 0; i < fields.length; i++) {
      const { name, isFloat } = fields[i];
      if (isFloat) this.#f32[word++] = params[name];
      else this.#u32[word++] = params[name]; // an i32 wraps to its bits
    }
  }

  /** Dynamic offsets of a slot, in an array that the next call overwrites. */
  offset(index: number): Uint32Array<ArrayBuffer> {
    this.#offset[0] = index * UNIFORM_SLOT;
    return this.#offset;
  }

  /** Brings the first `count` slots to the device, before the commands of the next submit. */
  upload(count: number): void {
    this.#queue.writeBuffer(this.buffer, 0, this.#bytes, 0, count * UNIFORM_SLOT);
  }
}
