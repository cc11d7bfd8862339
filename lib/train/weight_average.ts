import { lerpInPlace } from "../tensor/ops/arithmetic.ts";
import { scale } from "../tensor/ops/unary.ts";
import { tidy } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Steps after which the decay is about a half. */
const WARM_UP = 10;

/**
 * Exponential moving average of weights, avg += (1 - d) (w - avg) after each optimizer step. The decay d
 * grows from 0.18 to the one asked for, min(decay, (1 + step) / (10 + step)), so that the first
 * weights are soon forgotten.
 *
 * Source: Polyak and Juditsky 1992; the growing decay is TensorFlow's ExponentialMovingAverage.
 */
export class WeightAverage implements Disposable {
  /** Averages, in the order of the weights; after {@linkcode exchange} the weights themselves. */
  readonly tensors: readonly Tensor[];
  readonly #weights: readonly Tensor[];
  readonly #decay: number;

  /** Starts with the weights as they are. */
  constructor(weights: readonly Tensor[], decay: number) {
    this.#weights = weights;
    this.#decay = decay;
    const copies = tidy(weights[0].gpu, () => weights.map((weight) => scale(weight.detach(), 1)));
    this.tensors = copies.map((copy) => copy.keep());
  }

  /**
   * Takes the weights after an optimizer step into the average.
   *
   * @param step Number of the step, from 1.
   */
  update(step: number): void {
    const decay = Math.min(this.#decay, (1 + step) / (WARM_UP + step));
    this.#weights.forEach((weight, i) => lerpInPlace(this.tensors[i], weight, 1 - decay));
  }

  /** Puts the averages in the weights' place, or the weights back in theirs. */
  exchange(): void {
    this.#weights.forEach((weight, i) =>
      tidy(weight.gpu, () => {
        const { gpu, size } = weight;
        const aside = scale(weight.detach(), 1);
        gpu.copy(this.tensors[i].buffer, weight.buffer, 4 * size);
        gpu.copy(aside.buffer, this.tensors[i].buffer, 4 * size);
        return [];
      })
    );
  }

  /** Frees the averages. */
  [Symbol.dispose](): void {
    for (const tensor of this.tensors) tensor.dispose();
  }
}
