import type { Gpu } from "../gpu/gpu.ts";
import { fill, zeros } from "../tensor/ops/fill.ts";
import { type ScaledStep, unscaledStep } from "../tensor/ops/optimizer_steps.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Options of {@linkcode GradScaler}, by PyTorch's names and defaults. */
export interface GradScalerOptions {
  /** Scale of the first step. Default 65536. */
  readonly initScale?: number;
  /** Factor of the scale after `growthInterval` steps. Default 2. */
  readonly growthFactor?: number;
  /** Factor of the scale after a step that was skipped. Default 0.5. */
  readonly backoffFactor?: number;
  /** Steps with finite gradients in a row after which the scale grows. Default 2000. */
  readonly growthInterval?: number;
}

/**
 * Scale of the loss for training in half precision, as torch.amp.GradScaler: gradients that would be too small for
 * halves are computed `scale` times as large. A step with a gradient that is not finite is skipped, and the scale
 * shrinks; it grows again after many steps that were not. All of it stays on the device.
 */
export class GradScaler implements Disposable {
  /** Factor of the loss, or of the gradient that backward starts with: a scalar. */
  readonly scale: Tensor;
  /** [3]: see grad_scaler.wgsl. */
  readonly #state: Tensor;
  readonly #options: GradScalerOptions;

  /** Starts with `initScale`. */
  constructor(gpu: Gpu, options: GradScalerOptions = {}) {
    this.#options = options;
    this.scale = fill(gpu, [], options.initScale ?? 65536).keep();
    this.#state = zeros(gpu, [3]).keep();
  }

  /**
   * Decides about a step by its gradients, which hold the scale, and updates the scale.
   *
   * @param options.maxNorm Norm to which the unscaled gradients are clipped.
   * @param options.betas Decay rates of Adam's moments.
   */
  step(
    gradients: readonly Tensor[],
    options: { maxNorm: number; betas: readonly [number, number] },
  ): ScaledStep {
    const { growthFactor = 2, backoffFactor = 0.5, growthInterval = 2000 } = this.#options;
    return unscaledStep(gradients, {
      ...options,
      scale: this.scale,
      state: this.#state,
      growth: growthFactor,
      backoff: backoffFactor,
      interval: growthInterval,
    });
  }

  /** Reads scale and state back: four numbers to {@linkcode restore} from. */
  async state(): Promise<number[]> {
    const [scale, state] = await Promise.all([this.scale.data(), this.#state.data()]);
    return [...scale, ...state];
  }

  /** Continues from a state. */
  restore([scale, ...state]: readonly number[]): void {
    this.scale.write(Float32Array.of(scale));
    this.#state.write(Float32Array.from(state));
  }

  /** Frees scale and state. */
  [Symbol.dispose](): void {
    this.scale.dispose();
    this.#state.dispose();
  }
}
