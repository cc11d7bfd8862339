import { zeros } from "../tensor/ops/fill.ts";
import { adamStep, globalNormClip } from "../tensor/ops/optimizer_steps.ts";
import { tidy } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";

/** Options of {@linkcode Adam}, by PyTorch's names and defaults. */
export interface AdamOptions {
  /** Decay rates of the two moments. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Added to the root of the second moment. Default 1e-8. */
  readonly eps?: number;
  /** Factor of the decay. Default 0. */
  readonly weightDecay?: number;
  /** Decay the weights themselves (AdamW) instead of adding to the gradient (Adam). Default false. */
  readonly decoupled?: boolean;
  /** Scale the gradients down to this norm over all parameters. Default: no clipping. */
  readonly maxGradNorm?: number;
  /** Factor of each parameter's learning rate, in their order, as PyTorch's groups have theirs. Default 1. */
  readonly rateFactors?: readonly number[];
}

/** What {@linkcode Adam} keeps between steps, in host memory. */
export interface AdamState {
  /** Steps taken. */
  readonly steps: number;
  /** The moments of each parameter, in the parameters' order. */
  readonly moments: readonly { readonly m: Float32Array; readonly v: Float32Array }[];
}

/** Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019), as PyTorch computes them. */
export class Adam implements Disposable {
  readonly #parameters: readonly Tensor[];
  readonly #moments: readonly { m: Tensor; v: Tensor }[];
  readonly #options: AdamOptions;
  #step = 0;

  /**
   * Starts with moments of zero.
   *
   * @param parameters What to train.
   */
  constructor(parameters: readonly Tensor[], options: AdamOptions = {}) {
    this.#parameters = parameters;
    this.#options = options;
    this.#moments = parameters.map(({ gpu, shape }) => ({
      m: zeros(gpu, shape).keep(),
      v: zeros(gpu, shape).keep(),
    }));
  }

  /**
   * Changes the parameters by their gradients, which it then drops. Parameters without a gradient
   * are left alone, as in PyTorch. Nothing is read back.
   *
   * @returns The norm of all gradients before clipping, where clipping is on.
   */
  step(learningRate: number): Tensor | null {
    const { betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0, decoupled = false } = this.#options;
    const { maxGradNorm, rateFactors } = this.#options;
    const gradients = this.#parameters.flatMap(({ grad }) => grad ?? []);
    if (gradients.length === 0) throw new Error("no parameter has a gradient: call backward first");
    const { gpu } = this.#parameters[0];
    this.#step++;
    let norm: Tensor | null = null;
    tidy(gpu, () => {
      const clip = maxGradNorm === undefined
        ? null
        : globalNormClip(gradients, { maxNorm: maxGradNorm });
      this.#parameters.forEach((parameter, i) => {
        if (!parameter.grad) return;
        adamStep({
          parameter,
          grad: parameter.grad,
          ...this.#moments[i],
          lr: learningRate * (rateFactors?.[i] ?? 1),
          beta1: betas[0],
          beta2: betas[1],
          eps,
          weightDecay,
          decoupled,
          step: this.#step,
          gradScale: clip?.scale,
        });
        parameter.zeroGrad();
      });
      norm = clip?.norm ?? null;
      return norm ? [norm] : [];
    });
    return norm;
  }

  /** Reads the moments back. */
  async state(): Promise<AdamState> {
    const read = async ({ m, v }: { m: Tensor; v: Tensor }) => {
      const [first, second] = await Promise.all([m.data(), v.data()]);
      return { m: first, v: second };
    };
    return { steps: this.#step, moments: await Promise.all(this.#moments.map(read)) };
  }

  /** Goes on from a state of as many parameters of the same shapes. */
  restore({ steps, moments }: AdamState): void {
    this.#step = steps;
    this.#moments.forEach(({ m, v }, i) => {
      m.write(moments[i].m);
      v.write(moments[i].v);
    });
  }

  /** Frees the moments. */
  [Symbol.dispose](): void {
    for (const { m, v } of this.#moments) {
      m.dispose();
      v.dispose();
    }
  }
}
