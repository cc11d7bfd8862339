import { setImmediate } from "node:timers/promises";
import { augmentForEpoch } from "../data/augment.ts";
import type { AugmentOptions } from "../data/augment_options.ts";
import { loadBatches, planBatches, type SliceReader } from "../data/loader.ts";
import {
  drawKinds,
  drawPrompt,
  type PromptChoice,
  type PromptKind,
  type PromptMix,
} from "../data/prompts.ts";
import type { SliceRef } from "../data/slices.ts";
import { InputError } from "../errors.ts";
import { adapterLayers } from "../adapters/adapter_layer.ts";
import { parseTensorName } from "../adapters/methods.ts";
import { Random } from "../random.ts";
import { fingerprint } from "../tensor/ops/fingerprint.ts";
import { concat, reshape } from "../tensor/ops/movement.ts";
import { sum } from "../tensor/ops/sum.ts";
import { scale } from "../tensor/ops/unary.ts";
import { Scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { meanDice } from "./evaluate.ts";
import { checkPatients, Guards } from "./guards.ts";
import { probeLoss } from "./loss_probe.ts";
import { Adam } from "./optimizer.ts";
import { type Procedure, SOUND } from "./procedure.ts";
import { promptedLossBy } from "./prompted_loss.ts";
import { learningRateAt, type Schedule } from "./schedule.ts";
import type { SliceModel } from "./slice_model.ts";
import { StepLog } from "./step_log.ts";
import { captureState, dropoutsOf, restoreState, type TrainingState } from "./training_state.ts";
import { WeightAverage } from "./weight_average.ts";

/** Batches between read-backs: each stalls the queue for about 10 ms under Deno. */
const BATCHES_PER_SYNC = 8;

/** Seconds of work that may be queued: a checkpoint has to wait for it. */
const QUEUED_SECONDS = 1.5;

/** How to train. */
export interface FitOptions {
  /** Passes over the training slices. */
  readonly epochs: number;
  /** Slices that are computed at a time. Default 4. */
  readonly batchSize?: number;
  /**
   * Batches whose gradients an optimiser step takes together, as if they were one batch: less memory
   * for the same numbers, but for dropout, which draws by batch. The last step of an epoch takes what
   * is left. Default 1.
   */
  readonly gradientAccumulationSteps?: number;
  /** The highest learning rate. Default 1e-3. */
  readonly learningRate?: number;
  /**
   * The highest learning rate of pretrained weights, where such are trained: adapters, which start from
   * nothing, take more. Default null: `learningRate`.
   */
  readonly pretrainedLearningRate?: number | null;
  /** Steps of linear warm-up. Default 20. */
  readonly warmupSteps?: number;
  /** The learning rate after the warm-up. Default `cosine`. */
  readonly schedule?: Schedule;
  /** Adam with L2 regularisation, or AdamW with decoupled weight decay. Default `adamw`. */
  readonly optimizer?: "adam" | "adamw";
  /** Factor of the weight decay. Default 0. */
  readonly weightDecay?: number;
  /** Norm to which gradients are clipped. Default 1. */
  readonly maxGradNorm?: number;
  /** The prompts trained with; of a mixture kinds are drawn by batch. Default `jittered-box`. */
  readonly prompt?: PromptChoice | PromptMix;
  /**
   * Kinds of prompt drawn for each batch, which is encoded once and decoded under all of them; the loss
   * is their mean. The decoder is cheap beside the encoder. Default 1.
   */
  readonly promptsPerStep?: number;
  /**
   * Masks asked for in a step: after the first, a click where the last mask is wrong and that mask are
   * prompts too, as SAM itself was trained. Default 1.
   */
  readonly promptIterations?: number;
  /** The prompt that decides which epoch is best. Default `tight-box`. */
  readonly validationPrompt?: PromptKind;
  /** Epochs without a better validation Dice after which to stop. Default 10. */
  readonly patience?: number;
  /** Whether to stop then; if not, the result still says where that was. Default true. */
  readonly earlyStopping?: boolean;
  /** The weights that the model is left with: the best epoch's, or the last's. Default `best`. */
  readonly keep?: "best" | "last";
  /**
   * Decay of an exponential moving average of the weights, which is then validated and kept in place of
   * them. Default 0: none.
   */
  readonly ema?: number;
  /** Chance of a left-right flip. Default 0.5. */
  readonly flip?: number;
  /** What else is done to the slices, each time anew. Default nothing. */
  readonly augment?: AugmentOptions;
  /**
   * Fixed variants of each slice that epochs walk through, the slice itself among them, in place of
   * augmenting anew: what lies before the first trainable weight is then computed once for each, and
   * cached. Default 0: none.
   */
  readonly augmentVariants?: number;
  /** Decides order, augmentation and prompts. Default 0. */
  readonly seed?: number;
}

/** The values that {@linkcode fit} uses where none is given. */
export const FIT_DEFAULTS: Readonly<Required<Omit<FitOptions, "epochs">>> = {
  batchSize: 4,
  gradientAccumulationSteps: 1,
  learningRate: 1e-3,
  pretrainedLearningRate: null,
  warmupSteps: 20,
  schedule: "cosine",
  optimizer: "adamw",
  weightDecay: 0,
  maxGradNorm: 1,
  prompt: "jittered-box",
  promptsPerStep: 1,
  promptIterations: 1,
  validationPrompt: "tight-box",
  patience: 10,
  earlyStopping: true,
  keep: "best",
  ema: 0,
  flip: 0.5,
  augment: {},
  augmentVariants: 0,
  seed: 0,
};

/** What an epoch came to. */
export interface EpochMetrics {
  /** Counted from 1. */
  readonly epoch: number;
  /** Mean BCE + Dice loss over the training slices, as they were trained on. */
  readonly trainLoss: number;
  /** Mean Dice over the training slices, as they were trained on. */
  readonly trainDice: number;
  /** Mean BCE + Dice loss over the validation slices. */
  readonly validationLoss: number;
  /** Mean Dice over the validation slices. */
  readonly validationDice: number;
  /** Learning rate of the epoch's last step, of what learns fastest. */
  readonly learningRate: number;
  /** Optimiser steps of the epoch. */
  readonly steps: number;
  /** Wall time of the training steps. */
  readonly seconds: number;
}

/** Where training stands, for a progress bar. */
export interface FitProgress {
  /** Counted from 1. */
  readonly epoch: number;
  /** Slices of the epoch done. */
  readonly done: number;
  /** Slices of the epoch. */
  readonly total: number;
  /** Mean over the epoch so far. */
  readonly loss: number;
  /** Mean over the epoch so far. */
  readonly dice: number;
}

/** Slices to train on and to choose the best epoch by. */
export interface FitData {
  /** Reads the slices that the lists name. */
  readonly reader: SliceReader;
  /** Slices to train on. */
  readonly train: readonly SliceRef[];
  /** Slices of other patients, to choose the best epoch by. */
  readonly validation: readonly SliceRef[];
  /** Whether they are other slices of the same patients, as a split of two patients says. */
  readonly validationSharesTrainingPatients?: boolean;
}

/** What is told while training goes on. */
export interface FitCallbacks {
  /** Called whenever the epoch's figures have been read back: every few steps, and after its last. */
  readonly onProgress?: (progress: FitProgress) => void;
  /** Called after an epoch's validation; `best` says whether it is the best so far. Awaited. */
  readonly onEpoch?: (metrics: EpochMetrics, best: boolean) => void | Promise<void>;
}

/** How a training can be stopped and gone on with, losing no more than some steps. */
export interface FitCheckpoints {
  /** Goes on from this state instead of from the start. */
  readonly from?: TrainingState | null;
  /**
   * Keeps a state: after every epoch, where `checkpointSeconds` have passed since the last one, and
   * when `signal` asks to stop. Awaited.
   */
  readonly onCheckpoint?: (state: TrainingState) => void | Promise<void>;
  /** Longest time between two states, as far as steps end in it. Default: epochs alone. */
  readonly checkpointSeconds?: number;
  /** Stops the training after the step under way, whose state is kept. */
  readonly signal?: AbortSignal;
}

/** What training came to. */
export interface FitResult {
  /** Every epoch that was trained, in order. */
  readonly epochs: readonly EpochMetrics[];
  /** The epoch with the best validation Dice, whose weights the model has unless the last's are kept. */
  readonly bestEpoch: number;
  /** The epoch after which patience had run out, whether or not it stopped the training; or null. */
  readonly earlyStoppingEpoch: number | null;
  /** Whether validation Dice stopped rising before the last epoch. */
  readonly stoppedEarly: boolean;
  /** The most device memory that was held at a time, before a stop too, in bytes. */
  readonly peakGpuBytes: number;
}

/**
 * Trains whatever is trainable in a model by Dice + binary cross-entropy, and leaves the model with
 * the weights of the epoch that was best on the validation slices, unless `keep` says otherwise. The
 * same seed, data and adapter give the same numbers, whether it went through at once or was stopped and
 * gone on with.
 *
 * Guards watch over it, see {@linkcode Guards}: a training whose numbers would mean nothing is ended.
 *
 * @throws {InputError} if there are no slices to train on or to choose the best epoch by, or `from` is
 * another model's state.
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

/** {@linkcode fit} by a procedure that may be faulty. */
export async function fitBy(
  procedure: Procedure,
  model: SliceModel,
  data: FitData,
  chosen: FitOptions & FitCallbacks & FitCheckpoints,
): Promise<FitResult> {
  const options = { ...FIT_DEFAULTS, ...chosen };
  const { from, signal, checkpointSeconds = Infinity } = chosen;
  for (const part of ["train", "validation"] as const) {
    if (data[part].length === 0) {
      throw new InputError(`there are no slices for ${part}: give a data set with more patients`);
    }
  }
  const { onCaught } = procedure;
  const { train, validation: held, validationSharesTrainingPatients } = data;
  checkPatients({ train, validation: held }, {
    shared: validationSharesTrainingPatients ? ["train", "validation"] : [],
    onCaught,
  });
  const { gpu } = model.sam;
  const parameters = model.sam.trainableParameters();
  if (parameters.length === 0) {
    throw new Error("nothing is trainable: inject adapters, or unfreeze a part of the model");
  }
  const rates = parameters.map(([path]) =>
    parseTensorName(path)
      ? options.learningRate
      : options.pretrainedLearningRate ?? options.learningRate
  );
  const learningRate = Math.max(...rates);
  using optimizer = new Adam(parameters.map(([, tensor]) => tensor), {
    rateFactors: rates.map((rate) => rate / learningRate),
    weightDecay: options.weightDecay,
    decoupled: options.optimizer === "adamw",
    maxGradNorm: options.maxGradNorm,
  });
  const random = new Random(options.seed).fork("training");
  const batchesPerStep = options.gradientAccumulationSteps;
  const stepsPerEpoch = Math.ceil(planBatches(data.train, options).length / batchesPerStep);
  const totalSteps = options.epochs * stepsPerEpoch;
  const epochs: EpochMetrics[] = [...from?.position.epochs ?? []];
  let best = { epoch: 0, dice: -1, ...from?.position.best };
  using average = options.ema > 0
    ? new WeightAverage(parameters.map(([, tensor]) => tensor), options.ema)
    : null;
  let bestWeights = from ? restoreState({ sam: model.sam, optimizer, average }, from) : [];
  const rateAt = (step: number) => learningRateAt(step, { ...options, learningRate, totalSteps });
  const guards = new Guards({
    ...options,
    learningRate,
    batchesPerEpoch: planBatches(data.train, options).length,
    learningRateAt: rateAt,
    state: from?.position.guards,
    onCaught,
  });
  const names = parameters.map(([path]) => path);
  const fingerprints = () => fingerprintsOf(parameters.map(([, tensor]) => tensor));
  using initial = new Kept(guards.wantsWeights ? fingerprints() : null);
  let readProbe: Awaited<ReturnType<typeof probeLoss>> = null;
  let step = from?.position.step ?? 0;
  let lastCheckpoint = performance.now();
  const peakGpuBytes = () => Math.max(from?.position.peakGpuBytes ?? 0, gpu.memory.peakBytes);
  const checkpoint = async (
    position: Omit<TrainingState["position"], "epochs" | "best" | "peakGpuBytes">,
  ) => {
    if (options.onCheckpoint) {
      const trained = { sam: model.sam, optimizer, average, bestWeights };
      await options.onCheckpoint(
        await captureState(trained, {
          ...position,
          peakGpuBytes: peakGpuBytes(),
          epochs: [...epochs],
          best,
        }),
      );
    }
    lastCheckpoint = performance.now();
  };
  const isOver = (epoch: number) =>
    epoch > options.epochs ||
    (options.earlyStopping && earlyStoppingEpoch(epochs, options.patience) !== null);

  for (let epoch = from?.position.epoch ?? 1; !isOver(epoch); epoch++) {
    const begun = from?.position.epoch === epoch ? from.position : undefined;
    const order = random.fork(`epoch ${epoch}`);
    const plan = planBatches(data.train, {
      batchSize: options.batchSize,
      random: order.fork("order"),
    });
    if (begun) order.restore(begun.random);
    let batch = begun?.batch ?? 0;
    let done = plan.slice(0, batch).reduce((sum, slices) => sum + slices.length, 0);
    let rate = begun?.learningRate ?? 0;
    const sums = { loss: 0, dice: 0, ...begun?.sums };
    const start = performance.now() - 1000 * (begun?.seconds ?? 0);
    let seconds = begun?.seconds ?? 0;
    // Loss, Dice and gradient norm of each batch stay on the device until they are read.
    using log = new StepLog();
    // What was known before the step of which a batch was read last: one of several may be given up.
    let beforeStep = { step: 0, sums: { ...sums }, guards: guards.state };
    const readLog = async () => {
      if (readProbe) guards.loss(await readProbe());
      readProbe = null;
      for (const figures of await log.read()) {
        const { step } = figures;
        if (step > beforeStep.step) beforeStep = { step, sums: { ...sums }, guards: guards.state };
        guards.batch(figures);
        procedure.onBatch?.(figures);
        sums.loss += figures.lossSum;
        sums.dice += figures.diceSum;
      }
      if (step > 0 && initial.tensor) {
        const [before, after] = await initial.readWith(fingerprints());
        guards.weights(names, { before, after, step });
      }
    };
    const here = () => ({
      batch,
      seconds,
      learningRate: rate,
      random: order.state,
      dropouts: dropoutsOf(model.sam),
    });
    let stepBegin = here();
    /** Keeps the state after the last step that ended, which is where the step under way began. */
    const keep = async (place = here()) => {
      await readLog();
      const known = beforeStep.step > step ? beforeStep : { sums, guards: guards.state };
      await checkpoint({ epoch, step, ...place, sums: { ...known.sums }, guards: known.guards });
    };
    let queued = 0;
    let queuedSince = performance.now();
    let secondsPerBatch = Infinity;
    const wait = async (work: Promise<void>) => {
      await work;
      if (queued > 0) secondsPerBatch = (performance.now() - queuedSince) / 1000 / queued;
      queued = 0;
      queuedSince = performance.now();
    };
    {
      using _ = trainingMode(model);
      for await (const slices of loadBatches(data.reader, plan.slice(batch))) {
        if (batch % batchesPerStep === 0) stepBegin = here();
        const samples = slices.map((slice) => augmentForEpoch(slice, { epoch, order }, options));
        const kinds = drawKinds(options.prompt, order, options.promptsPerStep);
        const prompts = kinds.map((kind) =>
          samples.map(({ slice: { mask, ref: { width, height } } }) =>
            drawPrompt(kind, { mask, width, height, random: order, point: "random" })
          )
        );
        rate = rateAt(step);
        const first = batch - batch % batchesPerStep;
        const together = plan.slice(first, first + batchesPerStep);
        const slicesOfStep = together.reduce((sum, { length }) => sum + length, 0);
        const lastOfStep = ++batch === first + together.length;
        {
          using _ = new Scope(gpu);
          const gradients = async () => {
            // The loss is a mean over slices: a batch's part of the step's mean is its share of them.
            const masks = await promptedLossBy(procedure, model, samples, {
              prompts,
              iterations: options.promptIterations,
              random: order,
              share: slices.length / slicesOfStep,
            });
            if (guards.wantsProbe) {
              readProbe ??= await probeLoss(model, samples, { ...masks, ...procedure });
            }
            procedure.backward(masks.loss);
            return masks;
          };
          // A signal heard while kernels were compiled ends the step, which has changed no weight yet.
          const masks = await gradients().catch(async (error) => {
            if (signal?.aborted) await keep(stepBegin);
            throw error;
          });
          const norm = lastOfStep ? procedure.step(optimizer, rate) : null;
          const lossSum = scale(masks.loss.detach(), slicesOfStep);
          const diceSum = sum(masks.dice);
          log.add(step + 1, { lossSum, diceSum, norm }, {
            ...masks,
            pixels: slices[0].mask.length,
          });
        }
        await model.settle();
        if (lastOfStep) {
          step++;
          average?.update(step);
        }
        queued++;
        done += slices.length;
        const batches = (epoch - 1) * plan.length + batch;
        if (batches % BATCHES_PER_SYNC === 0 || done === data.train.length) {
          await wait(readLog());
          const mean = { loss: sums.loss / done, dice: sums.dice / done };
          options.onProgress?.({ epoch, done, total: data.train.length, ...mean });
        } else if (queued * secondsPerBatch > QUEUED_SECONDS) {
          await wait(gpu.finish());
        }
        seconds = (performance.now() - start) / 1000;
        await setImmediate(); // signals are heard between turns of the event loop only
        if (!lastOfStep) continue; // gradients are no part of a state
        const due = performance.now() - lastCheckpoint >= 1000 * checkpointSeconds;
        if (due || signal?.aborted) await keep();
        signal?.throwIfAborted();
      }
    }

    average?.exchange(); // what is validated and kept is the average
    const validation = await procedure.evaluate(model, { ...data, refs: data.validation }, {
      prompts: [options.validationPrompt],
      seed: options.seed,
      batchSize: options.batchSize,
      onProgress: () => signal?.throwIfAborted(),
    }).catch(async (error) => {
      average?.exchange();
      if (signal?.aborted) await keep();
      throw error;
    });
    const validationLoss = validation.losses[options.validationPrompt]!;
    guards.validation(validation.masks[options.validationPrompt]!, { loss: validationLoss, step });
    const metrics: EpochMetrics = {
      epoch,
      trainLoss: sums.loss / done,
      trainDice: sums.dice / done,
      validationLoss,
      validationDice: meanDice(validation, options.validationPrompt),
      learningRate: rate,
      steps: stepsPerEpoch,
      seconds,
    };
    epochs.push(metrics);
    const improved = metrics.validationDice > best.dice;
    if (improved) {
      bestWeights = await Promise.all(parameters.map(([, tensor]) => tensor.data()));
      best = { epoch, dice: metrics.validationDice };
    }
    average?.exchange();
    await checkpoint({
      epoch: epoch + 1,
      batch: 0,
      step,
      sums: { loss: 0, dice: 0 },
      seconds: 0,
      learningRate: rate,
      random: random.fork(`epoch ${epoch + 1}`).state,
      dropouts: dropoutsOf(model.sam),
      guards: guards.state,
    });
    await options.onEpoch?.(metrics, improved);
    signal?.throwIfAborted();
  }
  if (options.keep === "best") parameters.forEach(([, tensor], i) => tensor.write(bestWeights[i]));
  else average?.exchange();
  return {
    epochs,
    bestEpoch: best.epoch,
    earlyStoppingEpoch: earlyStoppingEpoch(epochs, options.patience),
    stoppedEarly: epochs.length < options.epochs,
    peakGpuBytes: peakGpuBytes(),
  };
}

/** The first epoch that is as many epochs after the best until then as patience lasts; or null. */
function earlyStoppingEpoch(epochs: readonly EpochMetrics[], patience: number): number | null {
  let best = { epoch: 0, dice: -1 };
  for (const { epoch, validationDice: dice } of epochs) {
    if (dice > best.dice) best = { epoch, dice };
    else if (epoch - best.epoch >= patience) return epoch;
  }
  return null;
}

/** A hash of the bits of each tensor: [tensors]. */
function fingerprintsOf(tensors: readonly Tensor[]): Tensor {
  using _ = new Scope(tensors[0].gpu);
  return concat(tensors.map((tensor) => fingerprint(reshape(tensor.detach(), [1, -1]))), 0).keep();
}

/** A tensor on the device until it is read together with another of its size, once. */
class Kept implements Disposable {
  constructor(public tensor: Tensor | null) {}

  /** Reads both, and frees both. */
  async readWith(other: Tensor): Promise<[Float32Array, Float32Array]> {
    using _ = new Scope(other.gpu);
    const values = await concat([this.tensor!, other], 0).data();
    other.dispose();
    this[Symbol.dispose]();
    return [values.subarray(0, values.length / 2), values.subarray(values.length / 2)];
  }

  [Symbol.dispose](): void {
    this.tensor?.dispose();
    this.tensor = null;
  }
}

/** Turns the adapters' dropout on until it is disposed. */
function trainingMode(model: SliceModel): Disposable {
  const set = (training: boolean) => {
    for (const layer of adapterLayers(model.sam).values()) layer.training = training;
  };
  set(true);
  return { [Symbol.dispose]: () => set(false) };
}
