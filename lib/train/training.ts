import { adapterLayers } from "../adapters/adapter_layer.ts";
import { checkPatients } from "../evaluate/guards.ts";
import { Random } from "../random.ts";
import { GradScaler } from "./grad_scaler.ts";
import { Guards } from "./guards.ts";
import { Adam } from "./optimizer.ts";
import { type FitData, type FitOptions, TrainingPlan } from "./plan.ts";
import { Probes } from "./probes.ts";
import type { Procedure } from "./procedure.ts";
import { captureState, type EpochPosition, restoreState, type TrainingState } from "./resume.ts";
import type { SliceModel } from "../evaluate/slice_model.ts";
import { WeightAverage } from "./weight_average.ts";

/** Metrics of an epoch. */
export interface EpochMetrics {
  /** Number of the epoch, from 1. */
  readonly epoch: number;
  /** Mean BCE + Dice loss over the training slices, as they were trained on. */
  readonly trainLoss: number;
  /** Mean Dice over the training slices, as they were trained on. */
  readonly trainDice: number;
  /** Mean BCE + Dice loss over the validation slices. */
  readonly validationLoss: number;
  /** Mean Dice over the validation slices. */
  readonly validationDice: number;
  /** Learning rate of the epoch's last step, the highest of any parameter. */
  readonly learningRate: number;
  /** Optimizer steps of the epoch. */
  readonly steps: number;
  /** Wall time of the training steps. */
  readonly seconds: number;
}

/** Progress within an epoch, for a progress bar. */
export interface FitProgress {
  /** Number of the epoch, from 1. */
  readonly epoch: number;
  /** Slices of the epoch done. */
  readonly done: number;
  /** Slices of the epoch. */
  readonly total: number;
  /** Mean loss over the epoch so far. */
  readonly loss: number;
  /** Mean Dice over the epoch so far. */
  readonly dice: number;
}

/** Functions that are called while training goes on. */
export interface FitCallbacks {
  /** Called whenever the epoch's figures have been read back: every few steps, and after its last. */
  readonly onProgress?: (progress: FitProgress) => void;
  /** Called after an epoch's validation; `best` is true if it is the best so far. Awaited. */
  readonly onEpoch?: (metrics: EpochMetrics, best: boolean) => void | Promise<void>;
}

/** Options of stopping a training and continuing it later, at a loss of no more than some steps. */
export interface FitCheckpoints {
  /** State to continue from; by default training begins at its start. */
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

/** A training under way: model, optimizer, guards, and what its epochs have come to. */
export class Training implements Disposable {
  /** Model under training. */
  readonly model: SliceModel;
  /** Loss, backward, optimizer step and validation. */
  readonly procedure: Procedure;
  /** Decisions made before the first step. */
  readonly plan: TrainingPlan;
  /** Callbacks and options of checkpoints. */
  readonly hooks: FitCallbacks & FitCheckpoints;
  /** Scale of the loss; null if the model computes in f32. */
  readonly scaler: GradScaler | null;
  /** Optimizer of all trainable parameters. */
  readonly optimizer: Adam;
  /** Moving average of the parameters; null if none is taken. */
  readonly average: WeightAverage | null;
  /** Guards that watch over it. */
  readonly guards: Guards;
  /** Measurements for the guards. */
  readonly probes: Probes;
  /** Source of all randomness; forked by epoch. */
  readonly random: Random;
  /** Optimizer steps done. */
  step: number;
  /** Metrics of the epochs that are done. */
  readonly epochs: EpochMetrics[];
  /** The epoch with the best validation Dice; epoch 0 before the first. */
  best: { readonly epoch: number; readonly dice: number };
  /** The best epoch's parameters, in the plan's order; empty before the first. */
  bestWeights: readonly Float32Array[] = [];
  #lastCheckpoint = performance.now();
  readonly #resources: DisposableStack;

  /**
   * Starts a training, or puts it back to where the state `chosen.from` was kept.
   *
   * @throws {InputError} as {@linkcode TrainingPlan} does, or if the state is another model's.
   * @throws {GuardError} if a patient is in both parts of the data.
   */
  constructor(
    procedure: Procedure,
    model: SliceModel,
    data: FitData,
    chosen: FitOptions & FitCallbacks & FitCheckpoints,
  ) {
    const plan = this.plan = new TrainingPlan(model.sam, data, chosen);
    const { onCaught } = this.procedure = procedure;
    const { train, validation, validationSharesTrainingPatients } = data;
    const shared = validationSharesTrainingPatients ? ["train", "validation"] : [];
    checkPatients({ train, validation }, { shared, onCaught });
    this.model = model;
    this.hooks = chosen;
    const { options, parameters, learningRate, batchesPerEpoch } = plan;
    const position = chosen.from?.position;
    this.step = position?.step ?? 0;
    this.epochs = [...position?.epochs ?? []];
    this.best = position?.best ?? { epoch: 0, dice: -1 };
    this.random = new Random(options.seed).fork("training");
    using resources = new DisposableStack();
    this.scaler = model.precision === "f16" ? resources.use(new GradScaler(model.sam.gpu)) : null;
    const decoupled = options.optimizer === "adamw";
    this.optimizer = resources.use(
      new Adam(plan.paramGroups, { ...options, decoupled, scaler: this.scaler }),
    );
    this.average = options.ema > 0
      ? resources.use(new WeightAverage(parameters.map(([, tensor]) => tensor), options.ema))
      : null;
    if (chosen.from) restoreState(this, chosen.from);
    this.guards = new Guards({
      ...options,
      learningRate,
      batchesPerEpoch,
      learningRateAt: (step) => plan.learningRateAt(step),
      skipsSteps: this.scaler !== null,
      state: position?.guards,
      onCaught,
    });
    this.probes = resources.use(new Probes(this.guards, parameters));
    this.#resources = resources.move();
  }

  /** Most device memory that was held at a time, before a stop too, in bytes. */
  get peakGpuBytes(): number {
    const { from } = this.hooks;
    return Math.max(from?.position.peakGpuBytes ?? 0, this.model.sam.gpu.memory.peakBytes);
  }

  /** True if `checkpointSeconds` have passed since the last state was kept. */
  get checkpointIsDue(): boolean {
    const { checkpointSeconds = Infinity } = this.hooks;
    return performance.now() - this.#lastCheckpoint >= 1000 * checkpointSeconds;
  }

  /** Hands the state at a position to `onCheckpoint`. */
  async keepState(position: EpochPosition): Promise<void> {
    const { onCheckpoint } = this.hooks;
    if (onCheckpoint) await onCheckpoint(await captureState(this, position));
    this.#lastCheckpoint = performance.now();
  }

  /** Runs `work` with the moving averages, if any, in the parameters' place. */
  async withAverage<T>(work: () => Promise<T>): Promise<T> {
    this.average?.exchange();
    try {
      return await work();
    } finally {
      this.average?.exchange();
    }
  }

  /** Turns the adapters' dropout on until the result is disposed. */
  trainingMode(): Disposable {
    const set = (training: boolean) => {
      for (const layer of adapterLayers(this.model.sam).values()) layer.training = training;
    };
    set(true);
    return { [Symbol.dispose]: () => set(false) };
  }

  /** Parameters as they are now, in the plan's order. */
  async weights(): Promise<Float32Array[]> {
    return await Promise.all(this.plan.parameters.map(([, tensor]) => tensor.data()));
  }

  /** Frees the optimizer's moments, the scale, the averages and the probes. */
  [Symbol.dispose](): void {
    this.#resources.dispose();
  }
}
