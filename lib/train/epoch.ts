import { setImmediate } from "node:timers/promises";
import { loadBatches } from "../data/loader.ts";
import type { Slice } from "../data/slices.ts";
import type { Random } from "../random.ts";
import { Scope } from "../tensor/scope.ts";
import { EpochLog } from "./epoch_log.ts";
import { meanDice } from "../evaluate/evaluate.ts";
import type { PlannedBatch } from "./plan.ts";
import { dropoutsOf, type EpochPosition } from "./resume.ts";
import { Stepper } from "./step.ts";
import type { EpochMetrics, Training } from "./training.ts";

/** Batches between read-backs: each stalls the queue for about 10 ms under Deno. */
const BATCHES_PER_SYNC = 8;

/** Seconds of work that may be queued: a checkpoint has to wait for it. */
const QUEUED_SECONDS = 1.5;

function slicesOf(batches: readonly PlannedBatch[]): number {
  return batches.reduce((sum, { refs }) => sum + refs.length, 0);
}

/** Position between two batches, without the figures that have yet to be read. */
type StepPosition = Omit<EpochPosition, "sums" | "guards">;

/** Work queued on the device, in batches, and the time that a batch takes. */
class Queue {
  #batches = 0;
  #since = performance.now();
  #secondsPerBatch = Infinity;

  /** Counts a batch. */
  push(): void {
    this.#batches++;
  }

  /** True if the work queued would take longer than a checkpoint should wait. */
  get isLong(): boolean {
    return this.#batches * this.#secondsPerBatch > QUEUED_SECONDS;
  }

  /** Waits for `work`, after which nothing is queued. */
  async wait(work: Promise<void>): Promise<void> {
    await work;
    if (this.#batches > 0) {
      this.#secondsPerBatch = (performance.now() - this.#since) / 1000 / this.#batches;
    }
    this.#batches = 0;
    this.#since = performance.now();
  }
}

/** One pass over the training slices, and the validation after it. */
export class Epoch implements Disposable {
  /** Number of the epoch, from 1. */
  readonly number: number;
  readonly #training: Training;
  readonly #random: Random;
  readonly #batches: readonly PlannedBatch[];
  readonly #stepper: Stepper;
  readonly #log: EpochLog;
  readonly #queue = new Queue();
  /** Time at which the epoch began, or would have if it had gone through at once. */
  readonly #start: number;
  /** Batches done, and their slices. */
  #batch: number;
  #slices: number;
  /** Slices of all its batches. */
  readonly #total: number;
  #seconds: number;
  #learningRate: number;
  /** Position at which the step under way began. */
  #stepBegin: StepPosition;

  /** Plans an epoch, or continues it from the position `begun`. */
  constructor(training: Training, number: number, begun?: EpochPosition) {
    this.number = number;
    this.#training = training;
    this.#random = training.random.fork(`epoch ${number}`);
    this.#batches = training.plan.batches(this.#random.fork("order"));
    if (begun) this.#random.restore(begun.random);
    this.#stepper = new Stepper(training, { epoch: number, random: this.#random });
    this.#batch = begun?.batch ?? 0;
    const done = this.#batches.slice(0, this.#batch);
    this.#slices = slicesOf(done);
    this.#total = slicesOf(this.#batches);
    this.#seconds = begun?.seconds ?? 0;
    this.#start = performance.now() - 1000 * this.#seconds;
    this.#learningRate = begun?.learningRate ?? 0;
    this.#log = new EpochLog(training, begun?.sums ?? { loss: 0, dice: 0 });
    this.#stepBegin = this.#position();
  }

  /**
   * Trains on the batches that are left.
   *
   * @throws The reason of the training's `signal`, once it was aborted and the state was kept.
   */
  async train(): Promise<void> {
    const training = this.#training;
    const { plan, hooks: { signal } } = training;
    using _ = training.trainingMode();
    const left = this.#batches.slice(this.#batch).map(({ refs }) => refs);
    for await (const slices of loadBatches(plan.data.reader, left)) {
      const batch = this.#batches[this.#batch];
      await this.#run(slices, batch);
      this.#slices += slices.length;
      await this.#synchronize();
      this.#seconds = (performance.now() - this.#start) / 1000;
      await setImmediate(); // signals are heard between turns of the event loop only
      if (!batch.endsStep) continue; // gradients are no part of a state
      if (training.checkpointIsDue || signal?.aborted) await this.#keep(this.#position());
      signal?.throwIfAborted();
    }
  }

  /** Runs a batch, and the optimizer step if it is the last of its step. */
  async #run(slices: readonly Slice[], batch: PlannedBatch): Promise<void> {
    const { model, plan, step } = this.#training;
    if (batch.beginsStep) this.#stepBegin = this.#position();
    this.#learningRate = plan.learningRateAt(step);
    this.#batch++;
    {
      using _ = new Scope(model.sam.gpu);
      // A signal heard while kernels were compiled ends the step, which has changed no weight yet.
      const masks = await this.#orKeep(
        this.#stepBegin,
        () => this.#stepper.backward(slices, batch),
      );
      const norm = batch.endsStep ? this.#stepper.step() : null;
      this.#log.add(masks, { step: step + 1, slicesOfStep: batch.slicesOfStep, norm });
    }
    await model.settle();
  }

  /** Waits for the device where much is queued, and reads the figures every few batches. */
  async #synchronize(): Promise<void> {
    const { model, hooks } = this.#training;
    this.#queue.push();
    const batches = (this.number - 1) * this.#batches.length + this.#batch;
    const [done, total] = [this.#slices, this.#total];
    if (batches % BATCHES_PER_SYNC === 0 || done === total) {
      await this.#queue.wait(this.#log.read());
      const { loss, dice } = this.#log.sums;
      const mean = { loss: loss / done, dice: dice / done };
      hooks.onProgress?.({ epoch: this.number, done, total, ...mean });
    } else if (this.#queue.isLong) {
      await this.#queue.wait(model.sam.gpu.finish());
    }
  }

  /**
   * Scores the validation slices with the weights that would be kept, the averages if such are taken, and
   * adds the epoch's metrics to the training's. If they are the best so far, its weights are kept.
   *
   * @returns The metrics; `best` is true if they are the best so far.
   * @throws The reason of the training's `signal`, once it was aborted and the state was kept.
   */
  async validate(): Promise<{ metrics: EpochMetrics; best: boolean }> {
    const training = this.#training;
    const { model, procedure, plan: { data, options, stepsPerEpoch }, hooks } = training;
    const { validationPrompt, seed, batchSize } = options;
    const evaluate = () =>
      procedure.evaluate(model, { ...data, refs: data.validation }, {
        prompts: [validationPrompt],
        seed,
        batchSize,
        onProgress: () => hooks.signal?.throwIfAborted(),
      });
    const validation = await this.#orKeep(
      this.#position(),
      () => training.withAverage(evaluate),
    );
    const loss = validation.losses[validationPrompt]!;
    training.guards.validation(validation.masks[validationPrompt]!, { loss, step: training.step });
    const metrics: EpochMetrics = {
      epoch: this.number,
      trainLoss: this.#log.sums.loss / this.#slices,
      trainDice: this.#log.sums.dice / this.#slices,
      validationLoss: loss,
      validationDice: meanDice(validation, validationPrompt),
      learningRate: this.#learningRate,
      steps: stepsPerEpoch,
      seconds: this.#seconds,
    };
    training.epochs.push(metrics);
    const best = metrics.validationDice > training.best.dice;
    if (best) {
      training.bestWeights = await training.withAverage(() => training.weights());
      training.best = { epoch: this.number, dice: metrics.validationDice };
    }
    return { metrics, best };
  }

  /** Keeps the state at the begin of the next epoch. */
  async keepEnd(): Promise<void> {
    const training = this.#training;
    await training.keepState({
      ...this.#position(),
      epoch: this.number + 1,
      batch: 0,
      sums: { loss: 0, dice: 0 },
      seconds: 0,
      random: training.random.fork(`epoch ${this.number + 1}`).state,
      guards: training.guards.state,
    });
  }

  /** Runs `work`; if it fails after the signal to stop, keeps the state at `position` first. */
  async #orKeep<T>(position: StepPosition, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (this.#training.hooks.signal?.aborted) await this.#keep(position);
      throw error;
    }
  }

  /** Keeps the state after the last step that ended, which is where the step under way began. */
  async #keep(position: StepPosition): Promise<void> {
    await this.#log.read();
    await this.#training.keepState({ ...position, ...this.#log.ofDoneSteps });
  }

  #position(): StepPosition {
    return {
      epoch: this.number,
      step: this.#training.step,
      batch: this.#batch,
      seconds: this.#seconds,
      learningRate: this.#learningRate,
      random: this.#random.state,
      dropouts: dropoutsOf(this.#training.model.sam),
    };
  }

  /** Drops figures that were not read. */
  [Symbol.dispose](): void {
    this.#log[Symbol.dispose]();
  }
}
