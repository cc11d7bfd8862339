import * as v from "valibot";
import { InputError } from "../errors.ts";
import type { Linear } from "../nn/linear.ts";
import { Random } from "../random.ts";
import { add, mul } from "../tensor/ops/arithmetic.ts";
import { linear, matmul } from "../tensor/ops/matmul.ts";
import { scale } from "../tensor/ops/unary.ts";
import { Tensor } from "../tensor/tensor.ts";
import { AdapterLayer, overwrite } from "./adapter_layer.ts";
import type { AdapterMethod, AdapterOptions } from "./method.ts";

/** Options of LoHa: PEFT's LoHaConfig by its names and with its defaults. */
export interface LohaOptions extends AdapterOptions {
  /** The update is scaled by alpha / r. Default 8. */
  readonly alpha?: number;
  /** Chance by which a row of the update is zero in a training step. Default 0. */
  readonly rank_dropout?: number;
  /** Chance by which the whole update is left out of a training step. Default 0. */
  readonly module_dropout?: number;
  /** Start without an update; `false`, for tests, starts with a random one. Default true. */
  readonly init_weights?: boolean;
}

/** The factors of an update. */
export interface LohaFactors {
  /** [out, r] */
  readonly hada_w1_a: Tensor;
  /** [r, in] */
  readonly hada_w1_b: Tensor;
  /** [out, r] */
  readonly hada_w2_a: Tensor;
  /** [r, in] */
  readonly hada_w2_b: Tensor;
}

/** s (w1_a w1_b) ∘ (w2_a w2_b): [out, in], of rank r² at most. */
export function lohaUpdate(factors: LohaFactors, scaling: number): Tensor {
  const { hada_w1_a, hada_w1_b, hada_w2_a, hada_w2_b } = factors;
  return scale(mul(matmul(hada_w1_a, hada_w1_b), matmul(hada_w2_a, hada_w2_b)), scaling);
}

/**
 * A Linear whose frozen weight is updated by the Hadamard product of two low-rank matrices:
 * y = x (W + s (w1_a w1_b) ∘ (w2_a w2_b))ᵀ + b, where s is alpha / r. The updated weight, [out, in], is
 * computed in each pass.
 *
 * Source: Hyeon-Woo et al. 2022, "FedPara: Low-Rank Hadamard Product for Communication-Efficient
 * Federated Learning", section 2.1.
 */
export class LohaLinear extends AdapterLayer implements LohaFactors {
  /** PEFT's name of the method. */
  readonly peftType = "LOHA";
  /** [out, r] */
  readonly hada_w1_a: Tensor;
  /** [r, in] */
  readonly hada_w1_b: Tensor;
  /** [out, r] */
  readonly hada_w2_a: Tensor;
  /** [r, in]; zero at first. */
  readonly hada_w2_b: Tensor;
  readonly #options: LohaOptions;
  readonly #seed: number;

  /** Wraps a layer; it shares the layer's weights. */
  constructor(
    base: Linear,
    sizes: { rank: number; alpha: number },
    { options, random }: { options: LohaOptions; random: Random },
  ) {
    const { rank, alpha } = sizes;
    super(base.gpu, base, { rank, alpha, scaling: alpha / rank });
    // torch.nn.init.kaiming_uniform_(weight, a = sqrt 5): bound 1 / sqrt(columns).
    const uniform = (rows: number, columns: number, start: "random" | "zero" = "random") => {
      const bound = start === "zero" ? 0 : 1 / Math.sqrt(columns);
      const values = Float32Array.from(
        { length: rows * columns },
        () => random.uniformIn(-bound, bound),
      );
      return Tensor.from(base.gpu, values, [rows, columns]).keep().setParameter(true);
    };
    this.hada_w1_a = uniform(this.outFeatures, rank);
    this.hada_w1_b = uniform(rank, this.inFeatures);
    this.hada_w2_a = uniform(this.outFeatures, rank);
    this.hada_w2_b = uniform(
      rank,
      this.inFeatures,
      options.init_weights === false ? "random" : "zero",
    );
    this.#options = options;
    this.#seed = random.int(2 ** 31);
  }

  /** [..., in] -> [..., out] with the update; see {@linkcode AdapterLayer}. */
  protected override adapted(x: Tensor): Tensor {
    const update = lohaUpdate(this, this.scaling);
    const rows = this.#rowFactors();
    return linear(x, add(this.weight, rows ? mul(update, rows) : update), this.bias);
  }

  /** Adds the update, or takes it away, in a weight [out, in]. */
  protected override addUpdate(weight: Tensor, sign: 1 | -1): void {
    overwrite(weight, () => add(weight, lohaUpdate(this, sign * this.scaling)));
  }

  /** Dropout of the update's rows, [out, 1], those that stay raised to a mean of 1; null without. */
  #rowFactors(): Tensor | null {
    const { rank_dropout = 0, module_dropout = 0 } = this.#options;
    if (!this.training || (rank_dropout === 0 && module_dropout === 0)) return null;
    const random = new Random(this.nextDropoutSeed(this.#seed));
    const isOut = random.uniform() < module_dropout;
    const stays = Array.from(
      { length: this.outFeatures },
      () => Number(!isOut && random.uniform() >= rank_dropout),
    );
    const count = stays.reduce((sum, one) => sum + one, 0);
    const factors = Float32Array.from(stays, (one) => count && one * this.outFeatures / count);
    return Tensor.from(this.gpu, factors, [this.outFeatures, 1]);
  }
}

/** A dropout that PEFT would accept. */
const chance = v.optional(v.pipe(v.number(), v.minValue(0), v.ltValue(1)), 0);

/** LoHa (LyCORIS). */
export const loha: AdapterMethod<LohaLinear, LohaOptions> = {
  peftType: "LOHA",
  label: "LoHa",
  prefix: "hada_",
  tensors: [
    { name: "hada_w1_a", shape: ["out", "r"], start: "random" },
    { name: "hada_w1_b", shape: ["r", "in"], start: "random" },
    { name: "hada_w2_a", shape: ["out", "r"], start: "random" },
    { name: "hada_w2_b", shape: ["r", "in"], start: "zero" },
  ],
  alphaField: "alpha",
  fields: {
    alpha: v.optional(v.pipe(v.number(), v.finite()), 8),
    rank_dropout: chance,
    module_dropout: chance,
    init_weights: v.optional(v.boolean(), true),
  },
  // Only convolutions would mind use_effective_conv2d.
  defaults: {
    alpha: 8,
    init_weights: true,
    module_dropout: 0,
    rank_dropout: 0,
    use_effective_conv2d: false,
  },
  unsupported: [],

  options({ rank, alpha, dropout, variants, init, qkvParts }) {
    const other = variants[0] ?? (init === "default" ? qkvParts && "qkv parts" : init);
    if (other) throw new InputError(`LoHa has no ${other}: leave it out, or use LoRA`);
    return { r: rank, alpha, rank_dropout: dropout };
  },

  trainedOptions({ rank_dropout, module_dropout }) {
    return { rank_dropout, module_dropout } as LohaOptions;
  },

  check({ rank_dropout = 0, module_dropout = 0 }) {
    for (const dropout of [rank_dropout, module_dropout]) {
      if (dropout >= 0 && dropout < 1) continue;
      throw new InputError(`a dropout of ${dropout} is not possible: give a number from 0 to 1`);
    }
  },

  plan: (layer, { rank, alpha, options }) => (random) =>
    new LohaLinear(layer, { rank, alpha }, { options, random }),
};
