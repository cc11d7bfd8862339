import type { Gpu } from "../gpu/gpu.ts";
import { InputError } from "../errors.ts";
import type { Random } from "../random.ts";
import { noGrad } from "../tensor/autograd.ts";
import { drawOnce } from "../tensor/checkpoint.ts";
import { add, div, mul, sub } from "../tensor/ops/arithmetic.ts";
import { dropout } from "../tensor/ops/dropout.ts";
import { times } from "../tensor/ops/products.ts";
import { loraLinear } from "../tensor/ops/lora_linear.ts";
import { linear } from "../tensor/ops/matmul.ts";
import { reshape } from "../tensor/ops/movement.ts";
import { sum } from "../tensor/ops/sum.ts";
import { scale, sqrt } from "../tensor/ops/unary.ts";
import { tidy } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";
import { Linear } from "../nn/linear.ts";
import { checkLoraInit, initialLora, isPissa, type LoraInit, pissa } from "./lora_init.ts";
import { isLoraTarget, isSavedModule, type LoraTargets, patternValue } from "./lora_targets.ts";
import type { Module } from "../nn/module.ts";
import { type QkvPart, qkvParts } from "../nn/qkv_linear.ts";

/** What to adapt and how: options of PEFT's LoraConfig by its names and with its defaults. */
export interface LoraConfig extends LoraTargets {
  /** Rank of the updates. Default 8. */
  readonly r?: number;
  /** The update is scaled by lora_alpha / r. Default 8. */
  readonly lora_alpha?: number;
  /** Chance by which an element of the adapters' input is zeroed in training. Default 0. */
  readonly lora_dropout?: number;
  /** Scale by lora_alpha / sqrt(r) (Kalajdzievski 2023). Default false. */
  readonly use_rslora?: boolean;
  /** Train the length of each row of the weight apart from its direction. Default false. */
  readonly use_dora?: boolean;
  /** How A and B start. Default `true`. */
  readonly init_lora_weights?: LoraInit;
}

/** Options of {@linkcode injectLora}: PEFT's, and two that PEFT has no name for. */
export interface LoraOptions extends Partial<LoraConfig> {
  /**
   * Adapt only some of the queries, keys and values that targets named `qkv` make together, each with
   * an A and a B of rank r of its own, as Sam_LoRA and SAMed do with `["q", "v"]`. The layer's A is
   * [A_q; A_v] and its B is zero where a part's rows meet another part's columns, so that it is an
   * ordinary adapter of rank 2 r.
   */
  readonly qkv_parts?: readonly QkvPart[];
  /**
   * Which of the modules that the targets name are adapted, by their order among the model's blocks
   * (0 is the first block that holds a target). Default: all.
   */
  readonly blocks?: readonly number[];
}

/** Sizes and kind of one adapter. */
export interface LoraLinearOptions {
  /** Rank of A and B. */
  readonly rank: number;
  /** Numerator of the scaling. */
  readonly alpha: number;
  /** Chance by which an element of the update's input is zeroed in training. Default 0. */
  readonly dropout?: number;
  /** Scale by alpha / sqrt(rank) instead of alpha / rank. Default false. */
  readonly useRslora?: boolean;
  /** Weight-decomposed: a magnitude for each row of the weight. Default false. */
  readonly useDora?: boolean;
  /** How A and B start, but for PiSSA, which {@linkcode LoraLinear.startAsPissa} brings. */
  readonly init?: LoraInit;
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
export class LoraLinear extends Linear {
  /** A: [r, in]. */
  readonly lora_A: Linear;
  /** B: [out, r]. */
  readonly lora_B: Linear;
  /** DoRA's lengths of the weight's rows, [out]; null without DoRA. */
  readonly lora_magnitude_vector: Tensor | null;
  /** r: rows of A. */
  readonly rank: number;
  /** Numerator of the scaling. */
  readonly alpha: number;
  /** alpha / r, or alpha / sqrt(r). */
  readonly scaling: number;
  /** Chance by which an element of the update's input is zeroed in training. */
  readonly dropout: number;
  /** Whether dropout is on. */
  training = false;
  readonly #seed: number;
  readonly #mask: Tensor | null;
  #merged = false;
  /** DoRA's factors of the rows while they are in the weight, [out]. */
  #mergedFactor: Tensor | null = null;
  #dropouts = 0;

  /** Wraps a layer; it shares the layer's weights. */
  constructor(gpu: Gpu, base: Linear, options: LoraLinearOptions) {
    super(gpu, base);
    const { inFeatures, outFeatures } = base;
    const { rank, alpha, random, mask = null, init = true } = options;
    this.rank = rank;
    this.alpha = alpha;
    this.scaling = alpha / (options.useRslora ? Math.sqrt(rank) : rank);
    this.dropout = options.dropout ?? 0;
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
    this.lora_magnitude_vector = options.useDora
      ? Tensor.empty(gpu, [outFeatures]).keep().setParameter(true)
      : null;
    this.#resetMagnitude();
  }

  /** Dropout masks drawn so far; the next one depends on this number. */
  get dropouts(): number {
    return this.#dropouts;
  }

  /** Goes on as after so many masks. */
  set dropouts(count: number) {
    this.#dropouts = count;
  }

  /** Whether the update is folded into the weight. */
  get merged(): boolean {
    return this.#merged;
  }

  /** Whether the update is in the weight. */
  override get plain(): boolean {
    return this.#merged;
  }

  /** [..., in] -> [..., out] */
  override forward(x: Tensor): Tensor {
    if (this.#merged) return super.forward(x);
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
    const seed = drawOnce(this.gpu, () => (this.#seed + 7919 * this.#dropouts++) >>> 0);
    const dropped = dropout(x, { p: this.dropout, seed });
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

  /** Folds the update into the weight, W + s B A: inference costs nothing extra. */
  merge(): void {
    if (this.#merged) return;
    this.#mergedFactor = noGrad(this.gpu, () => this.#rowFactor())?.keep() ?? null;
    if (this.#mergedFactor) {
      const factor = this.#mergedFactor;
      this.#replaceWeight(() => mul(this.#updatedWeight(1), reshape(factor, [-1, 1])));
    } else {
      this.#addUpdate(this.weight, 1);
    }
    this.#merged = true;
  }

  /** Takes the update out of the weight again, up to rounding in the last bits. */
  unmerge(): void {
    if (!this.#merged) return;
    const factor = this.#mergedFactor;
    if (factor) {
      this.#replaceWeight(() => div(this.weight, reshape(factor, [-1, 1])));
      factor.dispose();
      this.#mergedFactor = null;
    }
    this.#addUpdate(this.weight, -1);
    this.#merged = false;
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
        const updated = this.#updatedWeight(1);
        return sqrt(sum(mul(updated, updated), { axes: [1] }));
      }));
  }

  /** Magnitudes that change nothing. */
  #resetMagnitude(): void {
    const magnitude = this.lora_magnitude_vector;
    if (!magnitude) return;
    tidy(this.gpu, () => {
      const lengths = this.#rowLengths();
      this.gpu.copy(lengths.buffer, magnitude.buffer, 4 * magnitude.size);
      return [];
    });
  }

  /** W + sign s B A: [out, in]. */
  #updatedWeight(sign: number): Tensor {
    const updated = scale(this.weight.detach(), 1);
    this.#addUpdate(updated, sign);
    return updated;
  }

  #addUpdate(weight: Tensor, sign: number): void {
    const alpha = sign * this.scaling;
    times(this.lora_B.weight, this.lora_A.weight, { alpha, addTo: weight });
  }

  #replaceWeight(compute: () => Tensor): void {
    tidy(this.gpu, () => {
      const weight = noGrad(this.gpu, compute);
      this.gpu.copy(weight.buffer, this.weight.buffer, 4 * weight.size);
      return [];
    });
  }
}

/**
 * Freezes a model, puts low-rank adapters into the Linears that the targets name and unfreezes the
 * modules to save.
 *
 * A rank above the smaller side of a layer is taken as it is, as PEFT takes it: the update can then
 * not be of that rank, but the adapter is trained and saved in the size asked for.
 *
 * @param model The model, or the part of it, to adapt.
 * @param options Options by PEFT's names; `target_modules` is `["attn.qkv"]` by default.
 * @param options.random Draws the initial A.
 * @returns the adapted layers by path.
 * @throws {InputError} if a value is not possible, a name matches nothing or the model has adapters
 *   already.
 */
export async function injectLora(
  model: Module,
  options: LoraOptions & { readonly random: Random },
): Promise<Map<string, LoraLinear>> {
  const { target_modules = ["attn.qkv"], random, blocks, qkv_parts } = options;
  const config: LoraConfig = { ...options, target_modules };
  checkOptions(config, qkv_parts);
  const modules = [...model.namedModules()];
  const linears = modules.filter(([, module]) => module instanceof Linear);
  if (linears.some(([, module]) => module instanceof LoraLinear)) {
    throw new InputError("the model has adapters already: build it anew for others");
  }
  const saved = modules.filter(([path]) => path !== "" && isSavedModule(path, config));
  const missing = config.modules_to_save?.find((name) =>
    !saved.some(([path]) => path.endsWith(name))
  );
  if (missing !== undefined) {
    const parts = [...model.namedChildren()].map(([name]) => name);
    throw new InputError(
      `no module to save is named ${missing}: the model has ${parts.join(", ")}`,
    );
  }
  const chosen = chooseBlocks(chooseTargets(linears, config), blocks);

  // Before anything changes: what each adapter will be.
  const plans = chosen.map(([path, module, place]) => {
    const layer = module as Linear;
    const { rank, alpha } = sizesFor(path, config);
    const mask = qkv_parts && /(^|\.)qkv$/.test(path) ? partMask(layer, rank, qkv_parts) : null;
    // Several parts of one rank and one scaling are an adapter of their sum with that scaling.
    const times = mask ? qkv_parts!.length : 1;
    return {
      path,
      layer,
      place: place!,
      mask,
      rank: rank * times,
      alpha: alpha * (config.use_rslora ? Math.sqrt(times) : times),
    };
  });
  if (qkv_parts && plans.every(({ mask }) => mask === null)) {
    throw new InputError(
      `qkv_parts needs a target named qkv: the targets are ${plans.map(({ path }) => path)}`,
    );
  }

  model.setTrainable(false);
  for (const [, module] of saved) module.setTrainable(true);
  const adapters = new Map<string, LoraLinear>();
  const init = config.init_lora_weights ?? true;
  for (const { path, layer, place, ...sizes } of plans) {
    // The encoder by itself and as a part of SAM start alike.
    const own = random.fork(path.replace(/^image_encoder\./, ""));
    const adapter = new LoraLinear(model.gpu, layer, {
      ...sizes,
      dropout: config.lora_dropout,
      useRslora: config.use_rslora,
      useDora: config.use_dora,
      init,
      random: own,
    });
    if (isPissa(init)) await adapter.startAsPissa(own);
    place(adapter);
    adapters.set(path, adapter);
  }
  return adapters;
}

/** Rank and alpha of one target. */
function sizesFor(path: string, config: LoraConfig): { rank: number; alpha: number } {
  const rank = patternValue(path, config.rank_pattern, { field: "rank_pattern" }) ?? config.r ?? 8;
  if (!Number.isInteger(rank) || rank < 1) {
    throw new InputError(`a LoRA rank of ${rank} is not possible: give a whole number from 1 on`);
  }
  const alpha = patternValue(path, config.alpha_pattern, { field: "alpha_pattern" });
  return { rank, alpha: alpha ?? config.lora_alpha ?? 8 };
}

function checkOptions(config: LoraConfig, parts: readonly QkvPart[] | undefined): void {
  sizesFor("", config);
  checkLoraInit(config.init_lora_weights ?? true);
  const { lora_dropout = 0, target_modules, layers_to_transform, layers_pattern } = config;
  if (!(lora_dropout >= 0 && lora_dropout < 1)) {
    throw new InputError(`a dropout of ${lora_dropout} is not possible: give a number from 0 to 1`);
  }
  if (typeof target_modules === "string" && layers_to_transform != null) {
    throw new InputError(
      "layers_to_transform does not go with a regular expression: name target_modules in a list",
    );
  }
  if (layers_pattern?.length && layers_to_transform == null) {
    throw new InputError(
      "layers_pattern needs layers_to_transform: name the layers, or leave it out",
    );
  }
  if (!parts) return;
  const sound = parts.length > 0 && new Set(parts).size === parts.length &&
    parts.every((part) => ["q", "k", "v"].includes(part));
  if (!sound) throw new InputError(`qkv_parts cannot be [${parts}]: name some of q, k and v, once`);
  if (config.use_dora || isPissa(config.init_lora_weights ?? true)) {
    throw new InputError(
      "DoRA and PiSSA change all rows of a weight: leave qkv_parts out, or them",
    );
  }
}

type Entry = ReturnType<Module["namedModules"]> extends Iterable<infer T> ? T : never;

function chooseTargets(linears: readonly Entry[], config: LoraConfig): Entry[] {
  const chosen = linears.filter(([path]) => isLoraTarget(path, config));
  if (chosen.length > 0) return chosen;
  const { target_modules, layers_to_transform } = config;
  const known = [...new Set(linears.map(([path]) => path.split(".").slice(-2).join(".")))];
  const free = { ...config, layers_to_transform: null };
  if (layers_to_transform != null && linears.some(([path]) => isLoraTarget(path, free))) {
    throw new InputError(
      `no ${target_modules} lies in a layer ${layers_to_transform} of ` +
        `${config.layers_pattern ?? "the model"}: choose other layers_to_transform`,
    );
  }
  const hint = typeof target_modules === "string"
    ? " (a string is a regular expression for the whole path; a list holds ends of paths)"
    : "";
  throw new InputError(
    `no Linear is named ${target_modules}${hint}: the model has ${known.join(", ")}`,
  );
}

function chooseBlocks(targets: Entry[], blocks: readonly number[] | undefined): Entry[] {
  if (!blocks) return targets;
  const order = [...new Set(targets.map(([path]) => blockOf(path)))];
  const beyond = blocks.find((block) => order[block] === undefined);
  if (beyond !== undefined) {
    throw new InputError(`there is no block ${beyond}: the targets lie in ${order.length} blocks`);
  }
  const chosen = targets.filter(([path]) => blocks.includes(order.indexOf(blockOf(path))));
  if (chosen.length === 0) throw new InputError("no block is chosen: leave blocks out for all");
  return chosen;
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

/** The block a module lies in: its path up to the last number. */
function blockOf(path: string): string {
  return path.replace(/^(.*\.\d+)\..*$/, "$1");
}

/** What the path of an adapter's weight has after that of the layer it adapts. */
export const LORA_WEIGHT = /\.(lora_[AB]\.weight|lora_magnitude_vector)$/;

/** The adapted layers of a model, by path. */
export function loraLayers(model: Module): Map<string, LoraLinear> {
  const layers = new Map<string, LoraLinear>();
  for (const [path, module] of model.namedModules()) {
    if (module instanceof LoraLinear) layers.set(path, module);
  }
  return layers;
}

/** Folds all adapters of a model into its weights. */
export function mergeLora(model: Module): void {
  for (const layer of loraLayers(model).values()) layer.merge();
}

/**
 * Takes all adapters of a model out of its weights again.
 *
 * Rounding leaves a residual: what {@linkcode unmergeResidual} measures.
 */
export function unmergeLora(model: Module): void {
  for (const layer of loraLayers(model).values()) layer.unmerge();
}

/**
 * How far merging and unmerging moves the weights: the largest difference over all adapted layers,
 * which have their weights back afterwards bit for bit.
 *
 * @throws {Error} if an adapter is merged at present.
 */
export async function unmergeResidual(model: Module): Promise<number> {
  let largest = 0;
  for (const [path, layer] of loraLayers(model)) {
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
