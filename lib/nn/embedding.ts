import type { Gpu } from "../gpu/gpu.ts";
import { Tensor } from "../tensor/tensor.ts";
import { Module } from "./module.ts";

/** A table of learned vectors, as torch.nn.Embedding. */
export class Embedding extends Module {
  /** [count, dim] */
  readonly weight: Tensor;

  /** Makes an empty table. */
  constructor(gpu: Gpu, options: { count: number; dim: number }) {
    super(gpu);
    this.weight = Tensor.empty(gpu, [options.count, options.dim]).keep();
  }
}
