import type { MaskOverlap } from "../tensor/ops/losses.ts";
import { concat, reshape } from "../tensor/ops/movement.ts";
import { Scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { BatchFigures, MaskFigures } from "./guards.ts";

/** What one batch came to. */
export interface StepFigures extends BatchFigures {
  /** Its part of the sum of losses over slices. */
  readonly lossSum: number;
  /** Sum of the Dice of its slices. */
  readonly diceSum: number;
}

/** A batch whose figures are on the device. */
interface Pending {
  readonly step: number;
  readonly slices: number;
  /** Masks of them: as many as slices for each list of prompts. */
  readonly masks: number;
  /** Pixels of a slice. */
  readonly pixels: number;
  readonly hasNorm: boolean;
  /** [3 + 5 masks]: loss, Dice and norm, each mask's Dice, then its counts. */
  readonly figures: Tensor;
}

/** The figures of a batch: scalars. */
export interface BatchTensors {
  /** Its part of the sum of losses over slices. */
  readonly lossSum: Tensor;
  /** Sum of the Dice of its slices. */
  readonly diceSum: Tensor;
  /** Norm of the step's gradients; null where more batches of the step follow. */
  readonly norm: Tensor | null;
}

/** Keeps the figures of batches on the device until several are read at once. */
export class StepLog implements Disposable {
  #pending: Pending[] = [];

  /**
   * Adds a batch of a step.
   *
   * @param masks.overlaps Its masks, by list of prompts.
   * @param masks.pixels Pixels of a slice.
   */
  add(
    step: number,
    { lossSum, diceSum, norm }: BatchTensors,
    { overlaps, pixels }: { overlaps: readonly MaskOverlap[]; pixels: number },
  ): void {
    const scalars = [lossSum, diceSum, norm ?? lossSum].map((x) => reshape(x, [1]));
    const slices = overlaps[0].dice.size;
    const dice = overlaps.map(({ dice }) => dice);
    const counts = overlaps.map(({ counts }) => reshape(counts, [4 * slices]));
    this.#pending.push({
      step,
      slices,
      masks: slices * overlaps.length,
      pixels,
      hasNorm: norm !== null,
      figures: concat([...scalars, ...dice, ...counts], 0).keep(),
    });
  }

  /** Reads the batches that were not read yet, in order, and waits for their work. */
  async read(): Promise<StepFigures[]> {
    const pending = this.#pending;
    if (pending.length === 0) return [];
    using _ = new Scope(pending[0].figures.gpu);
    const values = await concat(pending.map(({ figures }) => figures), 0).data();
    this[Symbol.dispose]();
    let at = 0;
    return pending.map(({ step, slices, masks, pixels, hasNorm }) => {
      const [lossSum, diceSum, norm, ...rest] = values.subarray(at, at += 3 + 5 * masks);
      return {
        step,
        loss: lossSum / slices,
        lossSum,
        diceSum,
        norm: hasNorm ? norm : null,
        masks: maskFigures(rest, { masks, pixels }),
      };
    });
  }

  /** Drops what was not read. */
  [Symbol.dispose](): void {
    for (const { figures } of this.#pending) figures.dispose();
    this.#pending = [];
  }
}

/**
 * Sorts out the figures of several masks.
 *
 * @param values Dice of each, counts of `maskOverlap` of each, and, where they were made, hashes.
 */
export function maskFigures(
  values: ArrayLike<number>,
  { masks, pixels }: { masks: number; pixels: number },
): MaskFigures[] {
  return Array.from({ length: masks }, (_, i) => {
    const at = masks + 4 * i;
    return {
      dice: values[i],
      odd: values[at],
      predicted: values[at + 2] / pixels,
      truth: values[at + 3] / pixels,
      output: values[5 * masks + i] ?? 0,
    };
  });
}
