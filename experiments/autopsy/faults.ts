/**
 * The faults of published code of the study's lineage, each put into the place of a sound part of a
 * training. Nothing but the autopsy imports them.
 *
 * @module
 */
import type { AugmentedSlice } from "../../lib/data/augment.ts";
import type { SliceRef } from "../../lib/data/slices.ts";
import type { Partition } from "../../lib/data/split.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { zeros } from "../../lib/tensor/ops/fill.ts";
import { diceLoss } from "../../lib/tensor/ops/losses.ts";
import { globalNormClip } from "../../lib/tensor/ops/optimizer_steps.ts";
import { scale } from "../../lib/tensor/ops/unary.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { evaluate } from "../../lib/evaluate/evaluate.ts";
import type { Procedure } from "../../lib/train/procedure.ts";
import { SliceModel, type SliceModelOptions } from "../../lib/evaluate/slice_model.ts";
import { onHost, rowsAsClasses, selfLoss } from "./faulty_losses.ts";

/** The labels of slices as the segmentation holds them, 0 to 3, by the slice's id. */
export type RawLabels = ReadonlyMap<string, Uint8Array>;

/** A fault, or the training without any. */
export interface Fault {
  /** Names it on the command line and in files. */
  readonly name: string;
  /** Names it in table and figure. */
  readonly title: string;
  /** The fault in a sentence. */
  readonly what: string;
  /** Rank of the adapters. Default 16. */
  readonly rank?: number;
  /** LoRA's alpha. Default 16. */
  readonly alpha?: number;
  /** True if the mask decoder is trained beside the adapters. Default: as the config has it. */
  readonly decoder?: boolean;
  /** Factor of the config's epochs. Default 1. */
  readonly times?: number;
  /** The prompt that is trained, validated and drawn with. Default: the config's. */
  readonly prompt?: "whole-image";
  /** The faulty parts of the training. */
  readonly procedure?: (sam: Sam) => Partial<Procedure>;
  /** A faulty way from slices to logits and targets. */
  readonly model?: (sam: Sam, options: SliceModelOptions & { labels: RawLabels }) => SliceModel;
  /** A faulty choice of slices. */
  readonly parts?: (parts: Partition<SliceRef>) => Partition<SliceRef>;
  /** True if the adapter of another task is loaded before scoring. */
  readonly foreignAdapter?: boolean;
}

/** Encodes and decodes as if nothing were to be learnt. */
class NoGradModel extends SliceModel {
  override encode(slices: readonly AugmentedSlice[]): Tensor {
    return noGrad(this.sam.gpu, () => super.encode(slices));
  }

  override decodeStep(...args: Parameters<SliceModel["decodeStep"]>) {
    return noGrad(this.sam.gpu, () => super.decodeStep(...args));
  }
}

/** Takes labels for masks. */
class RawLabelModel extends SliceModel {
  readonly #labels: RawLabels;

  constructor(sam: Sam, { labels, ...options }: SliceModelOptions & { labels: RawLabels }) {
    super(sam, options);
    this.#labels = labels;
  }

  override target(slices: readonly AugmentedSlice[]): Tensor {
    return super.target(slices.map(({ slice, variant }) => {
      const labels = this.#labels.get(slice.ref.id)!;
      return {
        slice: { ...slice, mask: slice.mask.map((on, i) => on && (labels[i] || 3)) },
        variant,
      };
    }));
  }
}

/** Gradients are computed, and dropped. */
const withoutStep = (sam: Sam): Partial<Procedure> => ({
  step: () => {
    const parameters = sam.trainableParameters().map(([, tensor]) => tensor);
    const { norm } = globalNormClip(parameters.flatMap(({ grad }) => grad ?? []), { maxNorm: 1 });
    for (const parameter of parameters) parameter.zeroGrad();
    return norm;
  },
});

/** Remainder of Dice + cross-entropy where the softmax of a single channel is always 1. */
const diceAlone: Procedure["criterion"] = (logits, target, { bceWeight = 1 }) =>
  scale(diceLoss(logits, target), bceWeight);

/** Scores a buffer that nobody has written to. */
const scoreZeros: Procedure["evaluate"] = async (model, ...rest) => {
  model.decode = (_, slices) => {
    const { width, height } = slices[0].slice.ref;
    return zeros(model.sam.gpu, [slices.length, height, width]);
  };
  try {
    return await evaluate(model, ...rest);
  } finally {
    delete (model as Partial<SliceModel>).decode; // the class's own again
  }
};

/** The training without a fault. */
export const FIXED: Fault = {
  name: "fixed",
  title: "None: the fixed run",
  what: "Dice + binary cross-entropy of every pixel against the mask, other patients to validate",
};

/** The faults, in the order of the table. */
export const FAULTS: readonly Fault[] = [
  {
    name: "no-grad",
    title: "Forward pass under no-grad",
    what: "the loss is then forced to require gradients, and none reaches the adapters",
    model: (sam, options) => new NoGradModel(sam, options),
    // PyTorch's optimiser passes over parameters that have no gradient.
    procedure: (sam) => ({ backward: () => {}, step: () => zeros(sam.gpu, []) }),
  },
  {
    name: "rows-as-classes",
    title: "Batch axis dropped before the loss",
    what: "image rows become classes, and cross-entropy does not mind everything on",
    procedure: () => ({ criterion: onHost(rowsAsClasses) }),
  },
  {
    name: "raw-labels",
    title: "Raw labels 0 to 3 as target",
    what: "cross-entropy has no lower bound",
    model: (sam, options) => new RawLabelModel(sam, options),
  },
  {
    name: "no-step",
    title: "Optimiser step commented out",
    what: "gradients are computed, and nothing learns",
    procedure: withoutStep,
  },
  {
    name: "self-target",
    title: "Loss of the output against its own sigmoid",
    what: "the truth is not used: the loss falls, and Dice does not rise",
    procedure: () => ({ criterion: onHost(selfLoss) }),
  },
  {
    name: "zero-buffer",
    title: "Validation scores an all-zero buffer",
    what: "the curves do not come from the model",
    procedure: () => ({ evaluate: scoreZeros }),
  },
  {
    name: "same-path",
    title: "Validation path = training path",
    what: "the curves are of slices that are learnt by heart",
    parts: ({ train, test }) => ({ train, validation: train, test }),
  },
  {
    name: "foreign-adapter",
    title: "Another task's adapter loaded for inference",
    what: "masks have nothing to do with the training",
    foreignAdapter: true,
  },
  {
    name: "no-alpha",
    title: "No alpha: B A added as it is, rank 256",
    what: "the step grows with the rank",
    rank: 256,
    alpha: 256,
  },
  {
    name: "one-channel-softmax",
    title: "Softmax over one channel in Dice + CE",
    what: "the cross-entropy term is 0 whatever the masks",
    procedure: () => ({ criterion: diceAlone }),
  },
];

/** Two faults that together give the study's collapse. */
export const COLLAPSE: Fault = {
  name: "collapse",
  title: "The study's collapse, without a box",
  what: "batch axis dropped and no alpha, rank 64: masks grow, and the loss does not lead back",
  rank: 64,
  alpha: 64,
  prompt: "whole-image",
  procedure: () => ({ criterion: onHost(rowsAsClasses) }),
};

/** The same training without the two. */
export const FIXED_COLLAPSE: Fault = {
  name: "fixed-collapse",
  title: "None: the fixed run, without a box",
  what: "rank 64 with alpha 16, and the loss of the first row, trained without any hint",
  rank: 64,
  prompt: "whole-image",
};

/** And what it takes to find a tumour without any hint: adapters alone do not, in so few steps. */
export const FIXED_DECODER: Fault = {
  name: "fixed-decoder",
  title: "None: with the decoder, without a box",
  what: "the row above with the mask decoder trained beside the adapters, for four times the steps",
  rank: 64,
  prompt: "whole-image",
  decoder: true,
  times: 4,
};
