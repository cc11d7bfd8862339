import { Epoch } from "./epoch.ts";
import type { FitData, FitOptions } from "./plan.ts";
import { type Procedure, SOUND } from "./procedure.ts";
import type { SliceModel } from "../evaluate/slice_model.ts";
import { type EpochMetrics, type FitCallbacks, type FitCheckpoints, Training } from "./training.ts";

/** Result of {@linkcode fit}. */
export interface FitResult {
  /** Metrics of every epoch that was trained, in order. */
  readonly epochs: readonly EpochMetrics[];
  /** The epoch with the best validation Dice, whose weights the model has unless the last's are kept. */
  readonly bestEpoch: number;
  /** The epoch after which patience had run out, even if it did not stop the training; or null. */
  readonly earlyStoppingEpoch: number | null;
  /** True if patience ended the training before its last epoch. */
  readonly stoppedEarly: boolean;
  /** Most device memory that was held at a time, before a stop too, in bytes. */
  readonly peakGpuBytes: number;
}

/**
 * Trains the trainable parameters of a model by Dice + binary cross-entropy, and leaves the model with
 * the weights of the epoch that was best on the validation slices, unless `keep` says otherwise. The
 * same seed, data and adapter give the same numbers, in one go or stopped and continued.
 *
 * Guards watch over it, see {@linkcode Guards}: a training whose numbers would mean nothing is ended.
 *
 * @throws {InputError} if there are no slices to train on or to choose the best epoch by, an option is
 * beyond its limit, or `from` is another model's state.
 * @throws {GuardError} if a guard has seen something.
 * @throws {Error} if nothing is trainable.
 * @throws The reason of `signal`, once it was aborted and the state was kept.
 */
export function fit(
  model: SliceModel,
  data: FitData,
  chosen: FitOptions & FitCallbacks & FitCheckpoints,
): Promise<FitResult> {
  return fitBy(SOUND, model, data, chosen);
}

/** Trains as {@linkcode fit} does, by a procedure that may be faulty. */
export async function fitBy(
  procedure: Procedure,
  model: SliceModel,
  data: FitData,
  chosen: FitOptions & FitCallbacks & FitCheckpoints,
): Promise<FitResult> {
  using training = new Training(procedure, model, data, chosen);
  const { plan: { options, parameters }, epochs } = training;
  const position = chosen.from?.position;
  const isOver = () =>
    options.earlyStopping && earlyStoppingEpoch(epochs, options.patience) !== null;
  for (let number = position?.epoch ?? 1; number <= options.epochs && !isOver(); number++) {
    using epoch = new Epoch(training, number, position?.epoch === number ? position : undefined);
    await epoch.train();
    const { metrics, best } = await epoch.validate();
    await epoch.keepEnd();
    await chosen.onEpoch?.(metrics, best);
    chosen.signal?.throwIfAborted();
  }
  if (options.keep === "last") training.average?.exchange();
  else parameters.forEach(([, tensor], i) => tensor.write(training.bestWeights[i]));
  return {
    epochs,
    bestEpoch: training.best.epoch,
    earlyStoppingEpoch: earlyStoppingEpoch(epochs, options.patience),
    stoppedEarly: epochs.length < options.epochs,
    peakGpuBytes: training.peakGpuBytes,
  };
}

/** First epoch that is `patience` epochs after the best until then; or null. */
function earlyStoppingEpoch(epochs: readonly EpochMetrics[], patience: number): number | null {
  let best = { epoch: 0, dice: -1 };
  for (const { epoch, validationDice: dice } of epochs) {
    if (dice > best.dice) best = { epoch, dice };
    else if (epoch - best.epoch >= patience) return epoch;
  }
  return null;
}
