import { concat } from "../tensor/ops/movement.ts";
import { Scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** What one batch came to. */
export interface StepFigures {
  /** The step that it belongs to, from 1. */
  readonly step: number;
  /** Its part of the sum of losses over slices. */
  readonly loss: number;
  /** Sum of the Dice of its slices. */
  readonly dice: number;
  /** Norm of all gradients before clipping; 0 where the batch is not the last of its step. */
  readonly norm: number;
}

/** Keeps the figures of batches on the device until several are read at once. */
export class StepLog implements Disposable {
  #steps: number[] = [];
  #figures: Tensor[] = [];

  /** Adds a batch of a step: loss, Dice and norm, each [1]. */
  add(step: number, figures: readonly [loss: Tensor, dice: Tensor, norm: Tensor]): void {
    this.#steps.push(step);
    this.#figures.push(concat(figures, 0).keep());
  }

  /** Reads the batches that were not read yet, in order, and waits for their work. */
  async read(): Promise<StepFigures[]> {
    const steps = this.#steps;
    if (steps.length === 0) return [];
    using _ = new Scope(this.#figures[0].gpu);
    const values = await concat(this.#figures, 0).data();
    this[Symbol.dispose]();
    return steps.map((step, i) => {
      const [loss, dice, norm] = values.subarray(3 * i, 3 * i + 3);
      return { step, loss, dice, norm };
    });
  }

  /** Drops what was not read. */
  [Symbol.dispose](): void {
    for (const figures of this.#figures) figures.dispose();
    this.#figures = [];
    this.#steps = [];
  }
}
