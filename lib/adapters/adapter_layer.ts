import type { Gpu } from "../gpu/gpu.ts";
import { Linear } from "../nn/linear.ts";
import type { Module } from "../nn/module.ts";
import { noGrad } from "../tensor/autograd.ts";
import { drawOnce } from "../tensor/checkpoint.ts";
import { tidy } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/**
 * A Linear with a trainable update beside its frozen weight. Its trainable tensors are fields with
 * PEFT's names.
 */
export abstract class AdapterLayer extends Linear {
  /** PEFT's name of the method, such as `"LORA"`. */
  abstract readonly peftType: string;
  /** Rank of the update's factors. */
  readonly rank: number;
  /** Numerator of the scaling. */
  readonly alpha: number;
  /** Factor of the update. */
  readonly scaling: number;
  /** True while dropout is on. */
  training = false;
  /** Dropout masks drawn so far; the next one depends on this number. */
  dropouts = 0;
  #merged = false;

  /** Wraps a layer; it shares the layer's weights. */
  constructor(gpu: Gpu, base: Linear, sizes: { rank: number; alpha: number; scaling: number }) {
    super(gpu, base);
    this.rank = sizes.rank;
    this.alpha = sizes.alpha;
    this.scaling = sizes.scaling;
  }

  /** True while the update is folded into the weight. */
  get merged(): boolean {
    return this.#merged;
  }

  /** True while the update is in the weight. */
  override get plain(): boolean {
    return this.#merged;
  }

  /** [..., in] -> [..., out] */
  override forward(x: Tensor): Tensor {
    return this.#merged ? super.forward(x) : this.adapted(x);
  }

  /** Folds the update into the weight: inference then costs what it cost without. */
  merge(): void {
    if (!this.#merged) this.fold();
    this.#merged = true;
  }

  /** Takes the update out of the weight again, up to rounding in the last bits. */
  unmerge(): void {
    if (this.#merged) this.unfold();
    this.#merged = false;
  }

  /** Output of the layer with its update apart: [..., in] -> [..., out]. */
  protected abstract adapted(x: Tensor): Tensor;

  /** Adds `sign` times the scaled update to `weight` [out, in], in place. */
  protected abstract addUpdate(weight: Tensor, sign: 1 | -1): void;

  /** Puts the update into the weight. */
  protected fold(): void {
    this.addUpdate(this.weight, 1);
  }

  /** Takes the update out of the weight. */
  protected unfold(): void {
    this.addUpdate(this.weight, -1);
  }

  /** Seed of the next dropout mask; a forward pass that is run again for its gradient gets the same. */
  protected nextDropoutSeed(seed: number): number {
    return drawOnce(this.gpu, () => (seed + 7919 * this.dropouts++) >>> 0);
  }
}

/** Overwrites `target` with a tensor of its shape, computed without history. */
export function overwrite(target: Tensor, compute: () => Tensor): void {
  tidy(target.gpu, () => {
    const computed = noGrad(target.gpu, compute);
    target.gpu.copy(computed.buffer, target.buffer, 4 * target.size);
    return [];
  });
}

/** The adapted layers of a model, by path. */
export function adapterLayers(model: Module): Map<string, AdapterLayer> {
  const layers = new Map<string, AdapterLayer>();
  for (const [path, module] of model.namedModules()) {
    if (module instanceof AdapterLayer) layers.set(path, module);
  }
  return layers;
}

/** Folds all adapters of a model into its weights. */
export function mergeAdapters(model: Module): void {
  for (const layer of adapterLayers(model).values()) layer.merge();
}

/**
 * Largest difference that merging and unmerging makes to a weight, over all adapted layers, which have
 * their weights back afterwards bit for bit.
 *
 * @throws {Error} if an adapter is merged at present.
 */
export async function unmergeResidual(model: Module): Promise<number> {
  let largest = 0;
  for (const [path, layer] of adapterLayers(model)) {
    if (layer.merged) throw new Error(`${path} is merged: unmerge it before measuring`);
    const before = await layer.weight.data();
    layer.merge();
    layer.unmerge();
    const after = await layer.weight.data();
    for (let i = 0; i < before.length; i++) {
      largest = Math.max(largest, Math.abs(after[i] - before[i]));
    }
    layer.weight.write(before);
  }
  return largest;
}
