import type { Gpu } from "../gpu/gpu.ts";
import { InputError } from "../errors.ts";
import type { Random } from "../random.ts";
import { add } from "../tensor/ops/arithmetic.ts";
import { dropout } from "../tensor/ops/dropout.ts";
import { gemm } from "../tensor/ops/gemm.ts";
import { loraLinear } from "../tensor/ops/lora_linear.ts";
import { linear } from "../tensor/ops/matmul.ts";
import { scale } from "../tensor/ops/unary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Linear } from "./linear.ts";
import type { Module } from "./module.ts";

/** What to adapt and how, by PEFT's names where it has one. */
export interface LoraOptions {
  /** Rank r of the updates. */
  readonly rank: number;
  /** Numerator of the scaling alpha / r; by default the rank, so that the scaling is 1. */
  readonly alpha?: number;
  /** Chance by which an element of the adapters' input is zeroed in training. Default 0. */
  readonly dropout?: number;
  /**
   * The Linears to adapt: a suffix of the path (`"attn.qkv"`), several, or a regular expression that
   * matches the whole path. Default `"attn.qkv"`.
   */
  readonly targets?: string | readonly string[] | RegExp;
  /**
   * Which of the modules that the targets name are adapted, by their order among the model's blocks
   * (0 is the first block that holds a target). Default: all.
   */
  readonly blocks?: readonly number[];
}

/**
 * A Linear with a low-rank update beside its frozen weight: y = x Wᵀ + b + (alpha / r) x Aᵀ Bᵀ.
 *
 * Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", eq. 3.
 */
export class LoraLinear extends Linear {
  /** A: [r, in]. Kaiming-uniform at first, as PEFT's default. */
  readonly lora_A: Linear;
  /** B: [out, r]. Zero at first, so that nothing changes before training. */
  readonly lora_B: Linear;
  /** alpha / r. */
  readonly scaling: number;
  /** Chance by which an element of the update's input is zeroed in training. */
  readonly dropout: number;
  /** Whether dropout is on. */
  training = false;
  readonly #seed: number;
  #merged = false;
  #dropouts = 0;

  /** Wraps a layer; it shares the layer's weights. */
  constructor(
    gpu: Gpu,
    base: Linear,
    options: { rank: number; alpha: number; dropout: number; random: Random },
  ) {
    super(gpu, base);
    const { rank, alpha, random } = options;
    this.lora_A = new Linear(gpu, {
      inFeatures: base.inFeatures,
      outFeatures: rank,
      bias: false,
    });
    this.lora_B = new Linear(gpu, {
      inFeatures: rank,
      outFeatures: base.outFeatures,
      bias: false,
    });
    this.scaling = alpha / rank;
    this.dropout = options.dropout;
    // torch.nn.init.kaiming_uniform_(A, a = sqrt 5): bound 1 / sqrt(fan in).
    const bound = 1 / Math.sqrt(base.inFeatures);
    const a = Float32Array.from(
      { length: rank * base.inFeatures },
      () => random.uniformIn(-bound, bound),
    );
    this.lora_A.weight.write(a);
    this.lora_B.weight.write(new Float32Array(base.outFeatures * rank));
    this.lora_A.setTrainable(true);
    this.lora_B.setTrainable(true);
    this.#seed = random.int(2 ** 31);
  }

  /** Whether the update is folded into the weight. */
  get merged(): boolean {
    return this.#merged;
  }

  /** [..., in] -> [..., out] */
  override forward(x: Tensor): Tensor {
    if (this.#merged) return super.forward(x);
    const { weight, bias, scaling } = this;
    if (this.training && this.dropout > 0) {
      const seed = (this.#seed + 7919 * this.#dropouts++) >>> 0;
      const dropped = dropout(x, { p: this.dropout, seed });
      const update = this.lora_B.forward(this.lora_A.forward(dropped));
      return add(linear(x, weight, bias), scale(update, scaling));
    }
    const loraA = this.lora_A.weight;
    const loraB = this.lora_B.weight;
    return loraLinear(x, { weight, bias, loraA, loraB, scaling });
  }

  /** Folds the update into the weight, W + s B A: inference costs nothing extra. */
  merge(): void {
    if (this.#merged) return;
    this.#addUpdate(this.scaling);
    this.#merged = true;
  }

  /** Takes the update out of the weight again, up to rounding in the last bits. */
  unmerge(): void {
    if (!this.#merged) return;
    this.#addUpdate(-this.scaling);
    this.#merged = false;
  }

  #addUpdate(factor: number): void {
    const rank = this.lora_A.outFeatures;
    gemm({
      m: this.outFeatures,
      n: this.inFeatures,
      k: rank,
      a: { tensor: this.lora_B.weight, ld: rank },
      b: { tensor: this.lora_A.weight, ld: this.inFeatures },
      c: { tensor: this.weight, ld: this.inFeatures },
      alpha: factor,
      accumulate: true,
    });
  }
}

/** Whether a path is among the targets. */
function isTarget(path: string, targets: string | readonly string[] | RegExp): boolean {
  if (targets instanceof RegExp) {
    return new RegExp(`^(?:${targets.source})$`, targets.flags.replace("g", "")).test(path);
  }
  return [targets].flat().some((suffix) => path === suffix || path.endsWith(`.${suffix}`));
}

/**
 * Freezes a model and puts low-rank adapters into the Linears that the targets name.
 *
 * A rank above the smaller side of a layer is taken as it is, as PEFT takes it: the update can then
 * not be of that rank, but the adapter is trained and saved in the size asked for.
 *
 * @param model The model, or the part of it, to adapt.
 * @param options.random Draws the initial A.
 * @returns the adapted layers by path.
 * @throws {InputError} if the rank is not a positive integer, no Linear is a target or the model has
 *   adapters already.
 */
export function injectLora(
  model: Module,
  options: LoraOptions & { readonly random: Random },
): Map<string, LoraLinear> {
  const { rank, alpha = rank, targets = "attn.qkv", random, blocks } = options;
  if (!Number.isInteger(rank) || rank < 1) {
    throw new InputError(`a LoRA rank of ${rank} is not possible: give a whole number from 1 on`);
  }
  const linears = [...model.namedModules()].filter(([, module]) => module instanceof Linear);
  if (linears.some(([, module]) => module instanceof LoraLinear)) {
    throw new InputError("the model has adapters already: build it anew for others");
  }
  let chosen = linears.filter(([path]) => isTarget(path, targets));
  if (chosen.length === 0) {
    const known = [...new Set(linears.map(([path]) => path.split(".").slice(-2).join(".")))];
    throw new InputError(
      `no Linear is named ${targets}: the model has ${known.join(", ")}`,
    );
  }
  if (blocks) {
    const order = [...new Set(chosen.map(([path]) => blockOf(path)))];
    const beyond = blocks.find((block) => order[block] === undefined);
    if (beyond !== undefined) {
      throw new InputError(
        `there is no block ${beyond}: the targets lie in ${order.length} blocks`,
      );
    }
    chosen = chosen.filter(([path]) => blocks.includes(order.indexOf(blockOf(path))));
    if (chosen.length === 0) throw new InputError("no block is chosen: leave blocks out for all");
  }
  model.setTrainable(false);
  const adapters = new Map<string, LoraLinear>();
  for (const [path, base, place] of chosen) {
    const adapter = new LoraLinear(model.gpu, base as Linear, {
      rank,
      alpha,
      dropout: options.dropout ?? 0,
      random: random.fork(path),
    });
    place!(adapter);
    adapters.set(path, adapter);
  }
  return adapters;
}

/** The block a module lies in: its path up to the last number. */
function blockOf(path: string): string {
  return path.replace(/^(.*\.\d+)\..*$/, "$1");
}
