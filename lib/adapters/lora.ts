import * as v from "valibot";
import { excerpt, InputError } from "../errors.ts";
import { toFloat32 } from "../formats/raw_tensor.ts";
import type { StateDict } from "../formats/state_dict.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Linear } from "../nn/linear.ts";
import type { Module } from "../nn/module.ts";
import { type QkvPart, qkvParts } from "../nn/qkv_linear.ts";
import type { Random } from "../random.ts";
import { noGrad } from "../tensor/autograd.ts";
import { add, div, mul, sub } from "../tensor/ops/arithmetic.ts";
import { dropout } from "../tensor/ops/dropout.ts";
import { loraLinear } from "../tensor/ops/lora_linear.ts";
import { linear } from "../tensor/ops/matmul.ts";
import { reshape } from "../tensor/ops/movement.ts";
import { times } from "../tensor/ops/products.ts";
import { sum } from "../tensor/ops/sum.ts";
import { scale, sqrt } from "../tensor/ops/unary.ts";
import { tidy } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import { AdapterLayer, overwrite } from "./adapter_layer.ts";
import { injectAdapter } from "./inject.ts";
import type { AdapterMethod, AdapterOptions, Summand } from "./method.ts";
import { largestSingularTriplets } from "./svd.ts";

/**
 * Start values of A and B, by PEFT's names: `true` (A uniform, B zero), `"gaussian"` (A normal, B zero),
 * `"pissa"` (the weight's principal directions, which leave the weight; `"pissa_niter_n"` is
 * PEFT's fast approximation of it and computed like it here), `false` (A and B uniform: the model
 * changes at once; for tests).
 */
export type LoraInit = boolean | "gaussian" | "pissa" | `pissa_niter_${number}`;

/** Options of {@linkcode injectLora}: PEFT's LoraConfig by its names and with its defaults, and `qkv_parts`. */
export interface LoraOptions extends AdapterOptions {
  /** The update is scaled by lora_alpha / r. Default 8. */
  readonly lora_alpha?: number;
  /** Chance by which an element of the adapters' input is zeroed in training. Default 0. */
  readonly lora_dropout?: number;
  /** Scale by lora_alpha / sqrt(r) (Kalajdzievski 2023). Default false. */
  readonly use_rslora?: boolean;
  /** Train the length of each row of the weight apart from its direction. Default false. */
  readonly use_dora?: boolean;
  /** Start values of A and B. Default `true`. */
  readonly init_lora_weights?: LoraInit;
  /**
   * Adapt only some of the queries, keys and values that targets named `qkv` make together, each with
   * an A and a B of rank r of its own, as Sam_LoRA and SAMed do with `["q", "v"]`. The layer's A is
   * [A_q; A_v] and its B is zero where a part's rows meet another part's columns, so that it is an
   * ordinary adapter of rank 2 r. PEFT has no name for this.
   */
  readonly qkv_parts?: readonly QkvPart[];
}

/** Sizes and kind of one adapter. */
export interface LoraLinearOptions extends Omit<LoraOptions, keyof AdapterOptions | "qkv_parts"> {
  /** Rank of A and B. */
  readonly rank: number;
  /** Numerator of the scaling. */
  readonly alpha: number;
  /** [out, rank] ones and zeros: B stays zero where it is zero. */
  readonly mask?: Float32Array | null;
  /** Draws the initial A. */
  readonly random: Random;
}

/**
 * A Linear with a low-rank update beside its frozen weight: y = x Wᵀ + b + s x Aᵀ Bᵀ, where s is
 * alpha / r. With DoRA the rows of W + s B A are scaled to the lengths in `lora_magnitude_vector`.
 *
 * Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", eq. 3; Liu et al.
 * 2024, "DoRA: Weight-Decomposed Low-Rank Adaptation", eq. 5 and section 4.3.
 */
export class LoraLinear extends AdapterLayer {
  /** PEFT's name of the method. */
  readonly peftType = "LORA";
  /** A: [r, in]. */
  readonly lora_A: Linear;
  /** B: [out, r]. */
  readonly lora_B: Linear;
  /** DoRA's lengths of the weight's rows, [out]; null without DoRA. */
  readonly lora_magnitude_vector: Tensor | null;
  /** Chance by which an element of the update's input is zeroed in training. */
  readonly dropout: number;
  readonly #seed: number;
  readonly #mask: Tensor | null;
  /** DoRA's factors of the rows while they are in the weight, [out]. */
  #mergedFactor: Tensor | null = null;

  /** Wraps a layer; it shares the layer's weights. */
  constructor(gpu: Gpu, base: Linear, options: LoraLinearOptions) {
    const { inFeatures, outFeatures } = base;
    const { rank, alpha, use_rslora, random, mask = null, init_lora_weights: init = true } =
      options;
    super(gpu, base, { rank, alpha, scaling: scalingOf({ rank, alpha, use_rslora }) });
    this.dropout = options.lora_dropout ?? 0;
    this.lora_A = new Linear(gpu, { inFeatures, outFeatures: rank, bias: false });
    this.lora_B = new Linear(gpu, { inFeatures: rank, outFeatures, bias: false });
    const sizes = { rank, inFeatures, outFeatures, random };
    const { a, b } = initialLora(isPissa(init) ? true : init, sizes);
    this.lora_A.weight.write(a);
    this.lora_B.weight.write(mask ? b.map((value, i) => value * mask[i]) : b);
    this.lora_A.setTrainable(true);
    this.lora_B.setTrainable(true);
    this.#seed = random.int(2 ** 31);
    this.#mask = mask && Tensor.from(gpu, mask, [outFeatures, rank]).keep();
    this.lora_magnitude_vector = options.use_dora
      ? Tensor.empty(gpu, [outFeatures]).keep().setParameter(true)
      : null;
    this.#resetMagnitude();
  }

  /** [..., in] -> [..., out] */
  /** [..., in] -> [..., out] with the update; see {@linkcode AdapterLayer}. */
  protected override adapted(x: Tensor): Tensor {
    const { weight, bias, scaling } = this;
    const loraA = this.lora_A.weight;
    // Masking a B whose masked elements are zero changes its gradient alone: they stay zero.
    const loraB = this.#mask ? mul(this.lora_B.weight, this.#mask) : this.lora_B.weight;
    const factor = this.#rowFactor();
    if (!this.training || this.dropout === 0) {
      if (!factor) return loraLinear(x, { weight, bias, loraA, loraB, scaling });
      const y = mul(loraLinear(x, { weight, bias: null, loraA, loraB, scaling }), factor);
      return bias ? add(y, bias) : y;
    }
    const dropped = dropout(x, { p: this.dropout, seed: this.nextDropoutSeed(this.#seed) });
    const plain = linear(x, weight, bias);
    if (!factor) {
      return add(plain, scale(linear(linear(dropped, loraA), loraB), scaling));
    }
    // PEFT lets DoRA's change, but not the frozen layer, see the thinned input.
    const scaled = mul(loraLinear(dropped, { weight, bias: null, loraA, loraB, scaling }), factor);
    return add(plain, sub(scaled, linear(dropped, weight)));
  }

  /**
   * Moves the weight's principal directions into A and B: W becomes what they leave of it, and the
   * layer computes what it did.
   */
  async startAsPissa(random: Random): Promise<void> {
    const { rank, inFeatures, outFeatures, scaling } = this;
    const weight = await this.weight.data();
    const { a, b, residual } = pissa(weight, { rank, inFeatures, outFeatures, scaling, random });
    this.lora_A.weight.write(a);
    this.lora_B.weight.write(b);
    this.weight.write(residual);
    this.#resetMagnitude();
  }

  /** Folds the update into the weight. */
  protected override fold(): void {
    const factor = noGrad(this.gpu, () => this.#rowFactor())?.keep() ?? null;
    this.#mergedFactor = factor;
    if (!factor) return super.fold();
    overwrite(this.weight, () => mul(this.#updatedWeight(), reshape(factor, [-1, 1])));
  }

  /** Takes the update out of the weight. */
  protected override unfold(): void {
    const factor = this.#mergedFactor;
    if (factor) {
      overwrite(this.weight, () => div(this.weight, reshape(factor, [-1, 1])));
      factor.dispose();
      this.#mergedFactor = null;
    }
    super.unfold();
  }

  /** Adds the update, or takes it away, in a weight [out, in]. */
  protected override addUpdate(weight: Tensor, sign: 1 | -1): void {
    const alpha = sign * this.scaling;
    times(this.lora_B.weight, this.lora_A.weight, { alpha, addTo: weight });
  }

  /** Frees the weights and what is kept beside them. */
  override dispose(): void {
    super.dispose();
    this.#mask?.dispose();
    this.#mergedFactor?.dispose();
    this.#mergedFactor = null;
  }

  /** DoRA's factor of each row, [out]: its magnitude over its present length, which is a constant. */
  #rowFactor(): Tensor | null {
    const magnitude = this.lora_magnitude_vector;
    return magnitude && div(magnitude, this.#rowLengths());
  }

  /** The lengths of the rows of W + s B A: [out], without history. */
  #rowLengths(): Tensor {
    return noGrad(this.gpu, () =>
      tidy(this.gpu, () => {
        const updated = this.#updatedWeight();
        return sqrt(sum(mul(updated, updated), { axes: [1] }));
      }));
  }

  /** Magnitudes that change nothing. */
  #resetMagnitude(): void {
    if (this.lora_magnitude_vector) overwrite(this.lora_magnitude_vector, () => this.#rowLengths());
  }

  /** W + s B A: [out, in]. */
  #updatedWeight(): Tensor {
    const updated = scale(this.weight.detach(), 1);
    this.addUpdate(updated, 1);
    return updated;
  }
}

/** s: alpha / r, or alpha / sqrt(r) with rsLoRA. */
export function scalingOf(
  { rank, alpha, use_rslora }: { rank: number; alpha: number; use_rslora?: unknown },
): number {
  return alpha / (use_rslora ? Math.sqrt(rank) : rank);
}

/** {@linkcode injectAdapter} with LoRA. */
export function injectLora(
  model: Module,
  options: LoraOptions & { readonly random: Random },
): Promise<Map<string, LoraLinear>> {
  return injectAdapter(model, lora, options);
}

/** Starts that leave the base weight as it is, so that they do not matter once A and B are loaded. */
const HARMLESS_STARTS = ["gaussian", "eva", "orthogonal"];

/** Targets whose output is queries, keys and values. */
const FUSED_QKV = /(^|\.)qkv$/;

/** Elements of a matrix of a sum: those of rank 1024 on the widest Linear of SAM are 2^23. */
const MAXIMUM_ELEMENTS = 2 ** 26;

/** LoRA with its variants rsLoRA, DoRA, PiSSA and parts of a fused qkv. */
export const lora: AdapterMethod<LoraLinear, LoraOptions> = {
  peftType: "LORA",
  label: "LoRA",
  prefix: "lora_",
  tensors: [
    { name: "lora_A.weight", shape: ["r", "in"], start: "random" },
    { name: "lora_B.weight", shape: ["out", "r"], start: "zero" },
    { name: "lora_magnitude_vector", shape: ["out"], start: "weight", when: "use_dora" },
  ],
  alphaField: "lora_alpha",
  fields: {
    lora_alpha: v.pipe(v.number(), v.finite()),
    lora_dropout: v.optional(v.pipe(v.number(), v.minValue(0), v.ltValue(1)), 0),
    use_rslora: v.optional(v.boolean(), false),
    use_dora: v.optional(v.boolean(), false),
    init_lora_weights: v.optional(v.union([v.boolean(), v.string()]), true),
  },
  defaults: {
    bias: "none",
    fan_in_fan_out: false,
    init_lora_weights: true,
    lora_alpha: 8,
    lora_dropout: 0,
    use_dora: false,
    use_rslora: false,
  },
  unsupported: [
    ["bias", ["none"]],
    ["fan_in_fan_out", [false]],
    ["lora_bias", [false]],
    ["layer_replication", []],
    ["target_parameters", []],
    ["trainable_token_indices", []],
    ["alora_invocation_tokens", []],
    ["arrow_config", []],
    ["kasa_config", []],
    ["monteclora_config", []],
    ["velora_config", []],
    ["use_bdlora", [false]],
    ["use_qalora", [false]],
  ],

  options: ({ rank, alpha, dropout, variants, init, qkvParts }) => ({
    r: rank,
    lora_alpha: alpha,
    lora_dropout: dropout,
    qkv_parts: qkvParts ?? undefined,
    use_rslora: variants.includes("rslora"),
    use_dora: variants.includes("dora"),
    init_lora_weights: init === "default" ? true : init as LoraInit,
  }),

  trainedOptions(config) {
    const { lora_dropout, use_rslora, use_dora, init_lora_weights: init } = config as LoraOptions;
    const changesWeight = typeof init === "string" && !HARMLESS_STARTS.includes(init.toLowerCase());
    if (changesWeight && !isPissa(init)) {
      throw new InputError(
        `init_lora_weights "${excerpt(init)}" changes the base weights in a way that is not ` +
          `supported: convert the adapter to plain LoRA with PEFT first`,
      );
    }
    // A and B are overwritten, but PiSSA's base is what its start leaves of the weight.
    return { lora_dropout, use_rslora, use_dora, init_lora_weights: isPissa(init) ? init : true };
  },

  check({ init_lora_weights: init = true, lora_dropout = 0, qkv_parts, use_dora }, paths) {
    if (typeof init !== "boolean" && init !== "gaussian" && !isPissa(init)) {
      throw new InputError(
        `there is no initialisation "${init}": choose true, false, "gaussian" or "pissa"`,
      );
    }
    if (!(lora_dropout >= 0 && lora_dropout < 1)) {
      throw new InputError(
        `a dropout of ${lora_dropout} is not possible: give a number from 0 to 1`,
      );
    }
    if (!qkv_parts) return;
    const sound = qkv_parts.length > 0 && new Set(qkv_parts).size === qkv_parts.length &&
      qkv_parts.every((part) => ["q", "k", "v"].includes(part));
    if (!sound) {
      throw new InputError(`qkv_parts cannot be [${qkv_parts}]: name some of q, k and v, once`);
    }
    if (use_dora || isPissa(init)) {
      throw new InputError(
        "DoRA and PiSSA change all rows of a weight: leave qkv_parts out, or them",
      );
    }
    if (!paths.some((path) => FUSED_QKV.test(path))) {
      throw new InputError(`qkv_parts needs a target named qkv: the targets are ${paths}`);
    }
  },

  plan(layer, { path, rank, alpha, options }) {
    const { qkv_parts, init_lora_weights: init = true, use_rslora } = options;
    const mask = qkv_parts && FUSED_QKV.test(path) ? partMask(layer, rank, qkv_parts) : null;
    // Several parts of one rank and one scaling are an adapter of their sum with that scaling.
    const parts = mask ? qkv_parts!.length : 1;
    const sizes = {
      rank: rank * parts,
      alpha: alpha * (use_rslora ? Math.sqrt(parts) : parts),
    };
    return async (random) => {
      const adapter = new LoraLinear(layer.gpu, layer, { ...options, ...sizes, mask, random });
      if (isPissa(init)) await adapter.startAsPissa(random);
      return adapter;
    };
  },

  sum: weightedSum,
};

/** True if A and B take over a part of the base weight. */
function isPissa(init: unknown): init is "pissa" | `pissa_niter_${number}` {
  return init === "pissa" || /^pissa_niter_\d+$/.test(String(init));
}

/** Initial A [r, in] and B [out, r] of a start that leaves the base weight alone. */
function initialLora(
  init: boolean | "gaussian",
  sizes: { rank: number; inFeatures: number; outFeatures: number; random: Random },
): { a: Float32Array; b: Float32Array } {
  const { rank, inFeatures, outFeatures, random } = sizes;
  const draw = (count: number, next: () => number) => Float32Array.from({ length: count }, next);
  // torch.nn.init.kaiming_uniform_(weight, a = sqrt 5): bound 1 / sqrt(fan in).
  const uniform = (count: number, fanIn: number) =>
    draw(count, () => random.uniformIn(-1 / Math.sqrt(fanIn), 1 / Math.sqrt(fanIn)));
  switch (init) {
    case true:
      return { a: uniform(rank * inFeatures, inFeatures), b: new Float32Array(outFeatures * rank) };
    case false:
      return { a: uniform(rank * inFeatures, inFeatures), b: uniform(outFeatures * rank, rank) };
    case "gaussian":
      return {
        a: draw(rank * inFeatures, () => random.normal() / rank),
        b: new Float32Array(outFeatures * rank),
      };
  }
}

/**
 * A [r, in] and B [out, r] of a weight's r principal directions, and the residual weight
 * W - s B A that the base keeps.
 *
 * Source: Meng et al. 2024, "PiSSA: Principal Singular Values and Singular Vectors Adaptation".
 */
function pissa(
  weight: Float32Array,
  sizes: {
    rank: number;
    inFeatures: number;
    outFeatures: number;
    scaling: number;
    random: Random;
  },
): { a: Float32Array; b: Float32Array; residual: Float32Array } {
  const { rank, inFeatures: n, outFeatures: m, scaling, random } = sizes;
  const { values, left, right } = largestSingularTriplets(weight, { m, n, r: rank, random });
  const a = new Float32Array(rank * n);
  const b = new Float32Array(m * rank);
  for (const [k, value] of values.entries()) {
    const root = Math.sqrt(value / scaling);
    for (let j = 0; j < n; j++) a[k * n + j] = root * right[k][j];
    for (let i = 0; i < m; i++) b[i * rank + k] = root * left[k][i];
  }
  const residual = new Float32Array(m * n);
  const row = new Float64Array(n);
  for (let i = 0; i < m; i++) {
    row.fill(0);
    for (let k = 0; k < rank; k++) {
      const factor = scaling * b[i * rank + k];
      for (let j = 0; j < n; j++) row[j] += factor * a[k * n + j];
    }
    for (let j = 0; j < n; j++) residual[i * n + j] = weight[i * n + j] - row[j];
  }
  return { a, b, residual };
}

/** [out, parts r]: one where a row's part is that of the column. */
function partMask(layer: Linear, rank: number, parts: readonly QkvPart[]): Float32Array {
  const rows = qkvParts(layer);
  if (!rows) {
    throw new InputError(
      `${layer.outFeatures} rows do not fall into queries, keys and values: leave qkv_parts out`,
    );
  }
  const columns = parts.flatMap((part) => new Array<QkvPart>(rank).fill(part));
  return Float32Array.from(rows.flatMap((row) => columns.map((column) => Number(row === column))));
}

/** PEFT's `add_weighted_adapter`: a sum of scaling 1, of updates (`"cat"`) or of A and B (`"linear"`). */
function weightedSum(
  summands: readonly Summand[],
  { combination_type }: { combination_type: "cat" | "linear" },
): { rank: number; alpha: number; tensors: StateDict } {
  for (const { config, source } of summands) {
    if (config.use_dora) {
      throw new InputError(
        `${source} is a DoRA adapter, whose update is no sum: give LoRA adapters`,
      );
    }
    if (isPissa(config.init_lora_weights)) {
      throw new InputError(
        `${source} is a PiSSA adapter, whose base is not the model: convert it to LoRA with PEFT`,
      );
    }
  }
  // Of the tensors, not of the config: a config may name any rank.
  const ranks = summands.map(({ layers }) =>
    [...layers.values()].reduce((most, { rank }) => Math.max(most, rank), 1)
  );
  if (combination_type === "linear" && new Set(ranks).size > 1) {
    throw new InputError(
      `adapters of the ranks ${ranks.join(", ")} have no linear sum: combine them with "cat"`,
    );
  }
  const rank = combination_type === "cat" ? ranks.reduce((a, b) => a + b) : ranks[0];
  const tensors: StateDict = new Map();
  for (const path of new Set(summands.flatMap(({ layers }) => [...layers.keys()]))) {
    const { a, b, inFeatures, outFeatures } = layerSum(path, summands, { rank, combination_type });
    tensors.set(`${path}.lora_A.weight`, { shape: [rank, inFeatures], data: a });
    tensors.set(`${path}.lora_B.weight`, { shape: [outFeatures, rank], data: b });
  }
  return { rank, alpha: rank, tensors };
}

/** A [rank, in] and B [out, rank] of the weighted sum of one layer's adapters. */
function layerSum(
  path: string,
  summands: readonly Summand[],
  { rank, combination_type }: { rank: number; combination_type: "cat" | "linear" },
): { a: Float32Array; b: Float32Array; inFeatures: number; outFeatures: number } {
  const own = summands.filter(({ layers }) => layers.has(path));
  const { inFeatures, outFeatures } = own[0].layers.get(path)!;
  if (rank * Math.max(inFeatures, outFeatures) > MAXIMUM_ELEMENTS) {
    throw new InputError(
      `${own[0].source} has a ${excerpt(path)} of ${inFeatures} to ${outFeatures} features, too ` +
        `many for the sum's rank of ${rank}: sum adapters of one model`,
    );
  }
  const a = new Float32Array(rank * inFeatures);
  const b = new Float32Array(outFeatures * rank);
  let start = 0;
  for (const { layers, config, weight, source } of own) {
    const layer = layers.get(path)!;
    if (layer.inFeatures !== inFeatures || layer.outFeatures !== outFeatures) {
      throw new InputError(
        `${source} has a ${
          excerpt(path)
        } of ${layer.inFeatures} to ${layer.outFeatures} features, ` +
          `the others ${inFeatures} to ${outFeatures}: sum adapters of one model`,
      );
    }
    const factor = weight * scalingOf({ ...layer, use_rslora: config.use_rslora });
    const root = Math.sqrt(Math.abs(factor));
    const [toA, toB] = combination_type === "cat" ? [factor, 1] : [Math.sign(factor) * root, root];
    toFloat32(layer.tensors.get("lora_A.weight")!).forEach((value, i) => {
      a[start * inFeatures + i] += toA * value;
    });
    toFloat32(layer.tensors.get("lora_B.weight")!).forEach((value, i) => {
      b[Math.floor(i / layer.rank) * rank + start + i % layer.rank] += toB * value;
    });
    if (combination_type === "cat") start += layer.rank;
  }
  return { a, b, inFeatures, outFeatures };
}
