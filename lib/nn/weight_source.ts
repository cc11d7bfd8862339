import type { Shape } from "../tensor/shape.ts";
import type { HostState } from "./host_state.ts";

/** A tensor that stays where it is until it is read. */
export interface LazyTensor {
  /** The length of each axis; [] for a scalar. */
  readonly shape: Shape;
  /** The element type it is stored in, such as "F32" or "BF16"; reading converts to float32. */
  readonly dtype: string;
  /**
   * Its elements in C order.
   *
   * @throws {InputError} if they cannot be read or are damaged.
   */
  read(): Promise<Float32Array>;
}

/**
 * Weights by name that are read one at a time, so that a model can be filled without ever holding all
 * of them in host memory. Dispose it when done: it may keep a file open.
 */
export interface WeightSource extends Disposable {
  /** Origin of the weights in error messages, such as a path. */
  readonly source: string;
  /** The tensors by name. */
  readonly tensors: ReadonlyMap<string, LazyTensor>;
}

/** Weights that are in host memory already, as a source of weights. */
export function hostWeights(state: HostState, source: string): WeightSource {
  const tensors = [...state].map(([name, { shape, data }]): [string, LazyTensor] => [
    name,
    { shape, dtype: "F32", read: () => Promise.resolve(data) },
  ]);
  return { source, tensors: new Map(tensors), [Symbol.dispose]: () => {} };
}

/** Reads all tensors into host memory. */
export async function readWeights({ tensors }: WeightSource): Promise<HostState> {
  const state = new Map();
  for (const [name, tensor] of tensors) {
    state.set(name, { shape: tensor.shape, data: await tensor.read() });
  }
  return state;
}
