import type { GenericSchema } from "valibot";
import type { Linear } from "../nn/linear.ts";
import type { QkvPart } from "../nn/qkv_linear.ts";
import type { Random } from "../random.ts";
import type { RawTensor } from "../formats/raw_tensor.ts";
import type { StateDict } from "../formats/state_dict.ts";
import type { AdapterLayer } from "./adapter_layer.ts";
import type { AdapterTargets } from "./targets.ts";

/**
 * The content of PEFT's `adapter_config.json`. Fields that all methods share are named here; the
 * method's own and unknown ones are kept beside them.
 */
export interface AdapterConfig extends AdapterTargets {
  /** PEFT's name of the method, such as `"LORA"`. */
  readonly peft_type: string;
  /** Rank. */
  readonly r: number;
  /** Any other field. */
  readonly [field: string]: unknown;
}

/** Options of an injection that all methods share. */
export interface AdapterOptions extends Partial<AdapterTargets> {
  /** Rank of the updates. Default 8. */
  readonly r?: number;
  /**
   * Blocks whose targets are adapted, by their order in the model (0 is the first block that holds a
   * target); PEFT has no name for this. Default: all.
   */
  readonly blocks?: readonly number[];
}

/** Values of an experiment that each method spells in its own way. */
export interface AdapterSettings {
  /** Rank of the updates. */
  readonly rank: number;
  /** The update is scaled by alpha / rank. */
  readonly alpha: number;
  /** Dropout in training, from 0 to below 1. */
  readonly dropout: number;
  /** Names of the method's variants. */
  readonly variants: readonly string[];
  /** Start values: `"default"`, or a name that the method knows. */
  readonly init: string;
  /** Parts of a fused qkv that are adapted; null for the whole. */
  readonly qkvParts: readonly QkvPart[] | null;
}

/** One tensor of an adapted layer. */
export interface AdapterTensor {
  /** Name after the layer's path, such as `lora_A.weight`. */
  readonly name: string;
  /** Axes, by sizes of the layer. */
  readonly shape: readonly ("r" | "in" | "out")[];
  /**
   * Value before training: `"zero"` (the update is proportional to the tensor, and nothing at first),
   * `"random"`, or `"weight"` (computed from the pretrained weight).
   */
  readonly start: "zero" | "random" | "weight";
  /** Field of the config that says if the layer has the tensor; without one it always has. */
  readonly when?: string;
}

/** The tensors of one adapted layer, as a file holds them. */
export interface LayerTensors {
  /** Rank of the factors. */
  readonly rank: number;
  /** Size of the layer's input. */
  readonly inFeatures: number;
  /** Size of the layer's output. */
  readonly outFeatures: number;
  /** The tensors by {@linkcode AdapterTensor.name}. */
  readonly tensors: ReadonlyMap<string, RawTensor>;
}

/** One adapter of a weighted sum. */
export interface Summand {
  /** Its factor. */
  readonly weight: number;
  /** Its config. */
  readonly config: AdapterConfig;
  /** Its origin, for messages. */
  readonly source: string;
  /** Its layers by segment_anything's paths. */
  readonly layers: ReadonlyMap<string, LayerTensors & { readonly alpha: number }>;
}

/** A method of adapting a Linear: all that is particular to one of PEFT's `peft_type`s. */
export interface AdapterMethod<
  L extends AdapterLayer = AdapterLayer,
  O extends AdapterOptions = AdapterOptions,
> {
  /** PEFT's name. */
  readonly peftType: string;
  /** Name in tables, such as "LoRA". */
  readonly label: string;
  /** Beginning of the names of its tensors; others with it are refused. */
  readonly prefix: string;
  /** Tensors of an adapted layer. */
  readonly tensors: readonly AdapterTensor[];
  /** Field of the config that holds alpha. */
  readonly alphaField: string;
  /**
   * Checks of the config's fields that are the method's own, with PEFT's defaults.
   *
   * @internal
   */
  readonly fields: Readonly<Record<string, GenericSchema<unknown, unknown>>>;
  /** The method's own fields of a new config. */
  readonly defaults: Readonly<Record<string, unknown>>;
  /** Fields that change the computation in ways not known here, unless they hold these values. */
  readonly unsupported: readonly (readonly [field: string, harmless: readonly unknown[]])[];

  /**
   * PEFT's options for an experiment's values.
   *
   * @throws {InputError} if the method has no such variant or start.
   */
  options(settings: AdapterSettings): O;

  /**
   * Options by which the layers of a trained adapter are made before its tensors are written to them.
   *
   * @throws {InputError} if the config asks for what is not supported.
   */
  trainedOptions(config: AdapterConfig): O;

  /**
   * Checks options before anything changes.
   *
   * @param paths The layers that are to be adapted.
   * @throws {InputError} if they are not possible.
   */
  check(options: O, paths: readonly string[]): void;

  /**
   * Plans the adaptation of one layer, which the returned function then carries out.
   *
   * @throws {InputError} if the layer does not allow it.
   */
  plan(
    layer: Linear,
    target: { path: string; rank: number; alpha: number; options: O },
  ): (random: Random) => L | Promise<L>;

  /**
   * The weighted sum of adapters as one adapter; absent if the method's updates have no such sum.
   *
   * @returns rank, alpha and tensors by segment_anything's paths.
   * @throws {InputError} if the adapters cannot be summed.
   */
  sum?(
    summands: readonly Summand[],
    options: { combination_type: "cat" | "linear" },
  ): { rank: number; alpha: number; tensors: StateDict };
}
