import { backward } from "../tensor/autograd.ts";
import { diceBceLoss, type DiceBceOptions } from "../tensor/ops/losses.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { OnCaught } from "../evaluate/guards.ts";
import { evaluate } from "../evaluate/evaluate.ts";
import type { BatchFigures } from "./guards.ts";
import type { Adam } from "./optimizer.ts";

/**
 * The loss, backward and optimizer step of training, replaceable so that the autopsy can inject known
 * faults. `fit` always takes {@linkcode SOUND}.
 */
export interface Procedure {
  /** Loss of logits [B, H, W] against a target of that shape. */
  readonly criterion: (
    logits: Tensor,
    target: Tensor,
    weights: DiceBceOptions,
  ) => Tensor | Promise<Tensor>;
  /** Backpropagates `loss` times `scale`, a scalar, to the trainable parameters. */
  readonly backward: (loss: Tensor, scale?: Tensor) => void;
  /** Changes the parameters by their gradients, and returns the gradients' norm. */
  readonly step: (optimizer: Adam, learningRate: number) => Tensor;
  /** Scores the validation slices. */
  readonly evaluate: typeof evaluate;
  /** Called with each batch's figures once they are read back. */
  readonly onBatch?: (figures: BatchFigures) => void;
  /** Takes what a guard has seen; by default it is thrown. */
  readonly onCaught?: OnCaught;
}

/** The procedure of every training but those of the autopsy. */
export const SOUND: Procedure = {
  criterion: (logits, target, weights) => {
    const { loss, dice } = diceBceLoss(logits, target, weights);
    dice.dispose();
    return loss;
  },
  backward,
  step: (optimizer, learningRate) => optimizer.step(learningRate)!,
  evaluate,
};
