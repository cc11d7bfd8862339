import { concat, reshape } from "../tensor/ops/movement.ts";
import { sum } from "../tensor/ops/sum.ts";
import { scale } from "../tensor/ops/unary.ts";
import { Scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { maskFigures } from "../evaluate/mask_figures.ts";
import type { GuardState } from "./guards.ts";
import type { PromptedLoss } from "./prompted_loss.ts";
import type { EpochPosition } from "./resume.ts";
import type { Training } from "./training.ts";

/** A batch whose figures are on the device. */
interface Pending {
  /** Optimizer step that it belongs to, from 1. */
  readonly step: number;
  readonly slices: number;
  /** Masks of them: as many as slices for each list of prompts. */
  readonly masks: number;
  /** Pixels of a slice. */
  readonly pixels: number;
  readonly hasNorm: boolean;
  /** [3 + 5 masks]: sums of loss and Dice, norm, each mask's Dice, then its counts. */
  readonly figures: Tensor;
}

/** Figures that are known of an epoch after some of its batches. */
export interface Known {
  /** Sums of loss and Dice over the slices done. */
  readonly sums: EpochPosition["sums"];
  /** State of the guards. */
  readonly guards: GuardState;
}

/** Sums of an epoch's loss and Dice; the figures of its latest batches wait on the device to be read. */
export class EpochLog implements Disposable {
  readonly #training: Training;
  readonly #sums: { loss: number; dice: number };
  #pending: Pending[] = [];
  /** Figures before the step of which a batch was read last: that step may yet be given up. */
  #beforeStep: Known & { readonly step: number };

  /** Starts from the sums over the slices of the epoch that are done. */
  constructor(training: Training, sums: EpochPosition["sums"]) {
    this.#training = training;
    this.#sums = { ...sums };
    this.#beforeStep = { step: 0, ...this.#known() };
  }

  /** Sums over the slices whose figures were read. */
  get sums(): EpochPosition["sums"] {
    return this.#sums;
  }

  /** Figures that were read of steps that are done. */
  get ofDoneSteps(): Known {
    const { step, ...known } = this.#beforeStep;
    return step > this.#training.step ? known : this.#known();
  }

  #known(): Known {
    return { sums: { ...this.#sums }, guards: this.#training.guards.state };
  }

  /**
   * Adds a batch; nothing is read back.
   *
   * @param batch.step Optimizer step that it belongs to, from 1.
   * @param batch.slicesOfStep Slices of all batches of the step.
   * @param batch.norm Norm of the step's gradients, a scalar; null where more batches of it follow.
   */
  add(
    { loss, dice, overlaps, target }: PromptedLoss,
    { step, slicesOfStep, norm }: { step: number; slicesOfStep: number; norm: Tensor | null },
  ): void {
    const [slices, height, width] = target.shape;
    const lossSum = scale(loss.detach(), slicesOfStep);
    const scalars = [lossSum, sum(dice), norm ?? lossSum].map((x) => reshape(x, [1]));
    const dices = overlaps.map(({ dice }) => dice);
    const counts = overlaps.map(({ counts }) => reshape(counts, [counts.size]));
    this.#pending.push({
      step,
      slices,
      masks: dices.reduce((masks, { size }) => masks + size, 0),
      pixels: height * width,
      hasNorm: norm !== null,
      figures: concat([...scalars, ...dices, ...counts], 0).keep(),
    });
  }

  /** Waits for the work queued, and reads what guards and sums are to take. */
  async read(): Promise<void> {
    const { probes, step } = this.#training;
    await probes.readLoss();
    const pending = this.#pending;
    if (pending.length > 0) {
      using _ = new Scope(pending[0].figures.gpu);
      const values = await concat(pending.map(({ figures }) => figures), 0).data();
      this[Symbol.dispose]();
      let at = 0;
      for (const batch of pending) this.#take(batch, values.subarray(at, at += batch.figures.size));
    }
    await probes.readWeights(step);
  }

  /** Tells the guards of a batch and adds it to the sums. */
  #take(batch: Pending, [lossSum, diceSum, norm, ...values]: Float32Array): void {
    const { step, slices, hasNorm } = batch;
    if (step > this.#beforeStep.step) this.#beforeStep = { step, ...this.#known() };
    const { guards, procedure } = this.#training;
    const masks = maskFigures(values, batch);
    const figures = { step, loss: lossSum / slices, norm: hasNorm ? norm : null, masks };
    guards.batch(figures);
    procedure.onBatch?.(figures);
    this.#sums.loss += lossSum;
    this.#sums.dice += diceSum;
  }

  /** Drops what was not read. */
  [Symbol.dispose](): void {
    for (const { figures } of this.#pending) figures.dispose();
    this.#pending = [];
  }
}
