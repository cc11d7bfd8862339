import { packHalfKernel, unpackHalfKernel } from "../../kernels/elementwise/mod.ts";
import { Gpu } from "../gpu/gpu.ts";
import { type Application, keepAsIs, type Saveable, type SavedTensor } from "./autograd.ts";
import type { Shape } from "./shape.ts";
import { Tape } from "./tape.ts";
import { Tensor } from "./tensor.ts";

/** Element type in which activations are saved for backward; computing is always in f32. */
export type ActivationStorage = "f32" | "f16";

/** Elements below which halving a tensor is not worth a dispatch. */
const SMALLEST = 4096;

/**
 * The elements as 16-bit floats (IEEE 754 binary16), two in a word: for storage, not to compute with.
 * Rounds to the nearest: relative error at most 2^-11, absolute error at most 2^-24 below 2^-14; values
 * beyond 65504 are held there.
 *
 * @returns u32 of half the size, filled up to a multiple of 2 words.
 */
export function packHalf(x: Tensor): Tensor {
  const count4 = Math.ceil(x.size / 4);
  const out = Tensor.empty(x.gpu, [2 * count4], "u32");
  x.gpu.run(packHalfKernel, {
    buffers: { x: x.buffer, out: out.buffer },
    params: { count4 },
    workgroups: Gpu.grid(Math.ceil(count4 / 64)),
  });
  return out;
}

/** The f32 elements of a tensor that {@linkcode packHalf} stored, in `shape`. */
export function unpackHalf(packed: Tensor, shape: Shape): Tensor {
  const out = Tensor.empty(packed.gpu, shape);
  const count4 = Math.ceil(out.size / 4);
  packed.gpu.run(unpackHalfKernel, {
    buffers: { x: packed.buffer, out: out.buffer },
    params: { count4 },
    workgroups: Gpu.grid(Math.ceil(count4 / 64)),
  });
  return out;
}

/**
 * Runs `compute`; with `f16` the tape keeps the activations that backward needs in 16 bits. The forward
 * pass is untouched and gradients stay f32, computed from rounded activations.
 *
 * Rounded are inputs, outputs and the `activations` of ops, if a scope would free them: weights are
 * kept anyway. Other tensors that an op saves for its backward, such as the statistics of a
 * normalisation, stay exact.
 *
 * @throws {Error} if `compute` returns a promise.
 */
export function withStorage<T>(gpu: Gpu, storage: ActivationStorage, compute: () => T): T {
  const pack = storage === "f16" ? keepHalf : null;
  return Tape.of(gpu).during("withStorage", { field: "pack", value: pack }, compute);
}

function keepHalf(
  tensor: Tensor,
  { inputs, output, activations = [] }: Application<Saveable>,
): SavedTensor {
  const { memory, shape } = tensor;
  const passes = [...inputs, output, ...activations].some((other) => other?.memory === memory);
  if (!passes || tensor.scope === null || tensor.dtype !== "f32" || tensor.size < SMALLEST) {
    return keepAsIs(tensor);
  }
  // Several ops may save the same activation: they share its halves.
  const { halves } = Tape.of(tensor.gpu);
  const known = halves.get(memory);
  const packed = known && !known.disposed ? known.alias() : packHalf(tensor).keep();
  halves.set(memory, packed);
  return { unpack: () => unpackHalf(packed, shape), dispose: () => packed.dispose() };
}
