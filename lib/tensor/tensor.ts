import type { PooledBuffer } from "../gpu/buffer_pool.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { backward, type Node } from "./autograd.ts";
import { currentScope, type Scope } from "./scope.ts";
import { type Shape, shapeText, sizeOf } from "./shape.ts";

/** Element types: every tensor that is computed with is f32; u32 holds indices. */
export type DType = "f32" | "u32";

/** A pooled buffer with a count of the tensors and tape nodes that need it. */
class Storage {
  #references = 1;

  constructor(readonly gpu: Gpu, readonly buffer: PooledBuffer) {}

  get shared(): boolean {
    return this.#references > 1;
  }

  retain(): this {
    this.#references++;
    return this;
  }

  release(): void {
    if (--this.#references === 0) this.gpu.release(this.buffer);
  }
}

/**
 * An n-dimensional array on the GPU, contiguous with the last axis fastest.
 *
 * A tensor belongs to the innermost {@linkcode Scope} that is open when it is made and is freed with
 * it; made outside of any scope it lives until `dispose()`. Reading it after that throws.
 */
export class Tensor implements Disposable {
  /** The device that holds it. */
  readonly gpu: Gpu;
  /** Sizes of its axes; `[]` for a scalar. */
  readonly shape: Shape;
  /** Number of elements. */
  readonly size: number;
  /** Type of its elements. */
  readonly dtype: DType;
  /** True for a parameter: `backward` fills its {@linkcode grad}. */
  isParameter = false;
  /** Gradient of a parameter, summed over the backward passes since `zeroGrad`. */
  grad: Tensor | null = null;
  /** The tape node that made it, if a parameter lies upstream. */
  node: Node | null = null;
  /** The scope that will free it. */
  scope: Scope | null = null;
  /** Its place among the tensors of that scope. */
  place = 0;
  #storage: Storage | null;

  private constructor(storage: Storage, shape: Shape, dtype: DType, scoped: boolean) {
    this.gpu = storage.gpu;
    this.#storage = storage;
    this.shape = shape;
    this.size = sizeOf(shape);
    this.dtype = dtype;
    if (scoped) currentScope(this.gpu)?.adopt(this);
  }

  /** A tensor with undefined content, for a kernel to write. */
  static empty(gpu: Gpu, shape: Shape, dtype: DType = "f32"): Tensor {
    const buffer = gpu.acquire(4 * sizeOf(shape), shape);
    return new Tensor(new Storage(gpu, buffer), [...shape], dtype, true);
  }

  /**
   * A tensor with the given elements.
   *
   * @param use Name of the elements, for the error if the device has no memory for them.
   * @throws {Error} if their number does not fit the shape.
   */
  static from(
    gpu: Gpu,
    data: Float32Array | Uint32Array | readonly number[],
    shape: Shape,
    use?: string,
  ): Tensor {
    if (data.length !== sizeOf(shape)) {
      throw new Error(`${data.length} elements do not make a tensor ${shapeText(shape)}`);
    }
    const elements = data instanceof Uint32Array || data instanceof Float32Array
      ? data
      : Float32Array.from(data);
    const tensor = Tensor.empty(gpu, shape, elements instanceof Uint32Array ? "u32" : "f32");
    if (use !== undefined) tensor.buffer.use ??= use;
    if (elements.length > 0) gpu.write(tensor.buffer, elements);
    return tensor;
  }

  /** A scalar. */
  static scalar(gpu: Gpu, value: number): Tensor {
    return Tensor.from(gpu, [value], []);
  }

  /**
   * The buffer that holds the elements.
   *
   * @throws {Error} after the tensor was freed.
   */
  get buffer(): PooledBuffer {
    if (!this.#storage) throw usedAfterFree(this.shape);
    return this.#storage.buffer;
  }

  /** True if gradients flow through it: it is a parameter or was computed from one. */
  get requiresGrad(): boolean {
    return this.isParameter || this.node !== null;
  }

  /** Makes it a parameter, or an ordinary tensor again. Returns itself. */
  setParameter(parameter: boolean): this {
    this.isParameter = parameter;
    return this;
  }

  /** True if another tensor or the tape shares its memory, so that it must not be changed in place. */
  get shared(): boolean {
    return this.#storage?.shared ?? false;
  }

  /**
   * Identity of its memory: the same for views and aliases.
   *
   * @throws {Error} after the tensor was freed.
   */
  get memory(): object {
    this.buffer; // throws if freed
    return this.#storage!;
  }

  /** True after it was freed. */
  get disposed(): boolean {
    return this.#storage === null;
  }

  /** The same memory under another shape of equal size, without history. */
  view(shape: Shape): Tensor {
    return new Tensor(this.#retained(), [...shape], this.dtype, true);
  }

  /** The same memory without history: no gradient flows through it. */
  detach(): Tensor {
    return this.view(this.shape);
  }

  /** A second handle that no scope owns; the tape saves tensors through it. */
  alias(): Tensor {
    return new Tensor(this.#retained(), this.shape, this.dtype, false);
  }

  /** Moves it out of all scopes: it lives until `dispose()`. Returns itself. */
  keep(): this {
    this.scope?.disown(this);
    return this;
  }

  /** Reads its elements, flat with the last axis fastest. Waits for all queued work. */
  async data(): Promise<Float32Array> {
    return await this.dataLater()();
  }

  /**
   * Encodes that its elements, as they are now, come to the host; it may be freed at once.
   *
   * @returns A function that waits for them and all that was submitted until it is called, which must happen once.
   */
  dataLater(): () => Promise<Float32Array> {
    if (this.dtype !== "f32") throw new Error("data() reads f32 tensors");
    if (this.size === 0) return () => Promise.resolve(new Float32Array(0));
    const content = this.gpu.readLater(this.buffer, 4 * this.size);
    return async () => new Float32Array(await content());
  }

  /** The only element of a tensor of size 1. Waits for all queued work. */
  async item(): Promise<number> {
    if (this.size !== 1) throw new Error(`item() needs one element, not ${shapeText(this.shape)}`);
    return (await this.data())[0];
  }

  /** Overwrites its elements. */
  write(data: Float32Array | Uint32Array): void {
    if (data.length !== this.size) {
      throw new Error(`${data.length} elements do not fill a tensor ${shapeText(this.shape)}`);
    }
    this.gpu.write(this.buffer, data);
  }

  /** Computes the gradient of this scalar with respect to every parameter upstream. */
  backward(): void {
    backward(this);
  }

  /** Drops the gradient of a parameter. */
  zeroGrad(): void {
    this.grad?.dispose();
    this.grad = null;
  }

  /** Frees it now. */
  dispose(): void {
    this.scope?.disown(this);
    this.#storage?.release();
    this.#storage = null;
    this.node = null;
  }

  /** Frees it now. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  #retained(): Storage {
    this.buffer; // throws if freed
    return this.#storage!.retain();
  }
}

function usedAfterFree(shape: Shape): Error {
  return new Error(
    `a tensor ${shapeText(shape)} was used after it was freed: keep() it beyond its scope`,
  );
}
