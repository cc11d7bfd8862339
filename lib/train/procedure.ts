import { diceBceLoss, type DiceBceOptions } from "../tensor/ops/losses.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { evaluate } from "./evaluate.ts";
import type { BatchFigures, GuardError } from "./guards.ts";
import type { Adam } from "./optimizer.ts";

/**
 * The parts of a training that published code has got wrong. `fit` takes the sound ones and nobody can
 * choose others; the autopsy puts faulty ones in their places, to show what comes of them.
 */
export interface Procedure {
  /** The loss of logits [B, H, W] against a target of that shape. */
  readonly criterion: (
    logits: Tensor,
    target: Tensor,
    weights: DiceBceOptions,
  ) => Tensor | Promise<Tensor>;
  /** Brings gradients to what is trained. */
  readonly backward: (loss: Tensor) => void;
  /** Changes what is trained; gives the gradients' norm. */
  readonly step: (optimizer: Adam, learningRate: number) => Tensor;
  /** Scores the validation slices. */
  readonly evaluate: typeof evaluate;
  /** Is told of each batch once its figures are read back. */
  readonly onBatch?: (figures: BatchFigures) => void;
  /** Takes what a guard has seen; where there is none it is thrown. */
  readonly onCaught?: (error: GuardError) => void;
}

/** The procedure of every training but those of the autopsy. */
export const SOUND: Procedure = {
  criterion: (logits, target, weights) => {
    const { loss, dice } = diceBceLoss(logits, target, weights);
    dice.dispose();
    return loss;
  },
  backward: (loss) => loss.backward(),
  step: (optimizer, learningRate) => optimizer.step(learningRate)!,
  evaluate,
};
