import type { GradScaler } from "./grad_scaler.ts";
import { zeros } from "../tensor/ops/fill.ts";
import { adamStep, globalNormClip } from "../tensor/ops/optimizer_steps.ts";
import { tidy } from "../tensor/scope.ts";
import { Tensor } from "../tensor/tensor.ts";

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
  /** Scale of the loss that gradients are computed with. Default: none. */
  readonly scaler?: GradScaler | null;
}

/** Parameters with a learning rate of their own, as a PyTorch parameter group. */
export interface ParamGroup {
  /** Parameters of the group. */
  readonly params: readonly Tensor[];
  /** Factor of the learning rate that {@linkcode Adam.step} is given. */
  readonly lrScale: number;
}

/** State of {@linkcode Adam} between steps, in host memory. */
export interface AdamState {
  /** Steps taken. */
  readonly steps: number;
  /** First and second moment of each parameter, in the parameters' order. */
  readonly moments: readonly { readonly m: Float32Array; readonly v: Float32Array }[];
}

/** Largest f32, or so. */
const LARGEST = 3e38;

/** Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019), as PyTorch computes them. */
export class Adam implements Disposable {
  readonly #parameters: readonly { tensor: Tensor; lrScale: number; m: Tensor; v: Tensor }[];
  readonly #options: AdamOptions;
  #step = 0;

  /**
   * Starts with moments of zero.
   *
   * @param params Parameters to train, or groups of them with their learning rates.
   */
  constructor(params: readonly Tensor[] | readonly ParamGroup[], options: AdamOptions = {}) {
    this.#options = options;
    const groups = params.map((entry) =>
      entry instanceof Tensor ? { params: [entry], lrScale: 1 } : entry
    );
    this.#parameters = groups.flatMap(({ params, lrScale }) =>
      params.map((tensor) => {
        const [m, v] = [0, 0].map(() => zeros(tensor.gpu, tensor.shape).keep());
        return { tensor, lrScale, m, v };
      })
    );
  }

  /**
   * Changes the parameters by their gradients, which it then drops. Parameters without a gradient
   * are left alone, as in PyTorch, and with a scaler all of them if a gradient is not finite. Nothing is read back.
   *
   * @returns Norm of all gradients before clipping and without their scale, a scalar; null without clipping and scaler.
   * @throws {Error} if no parameter has a gradient.
   */
  step(learningRate: number): Tensor | null {
    const { betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0, decoupled = false } = this.#options;
    const { maxGradNorm, scaler } = this.#options;
    const gradients = this.#parameters.flatMap(({ tensor: { grad } }) => grad ?? []);
    if (gradients.length === 0) throw new Error("no parameter has a gradient: call backward first");
    const { gpu } = gradients[0];
    this.#step++;
    let norm: Tensor | null = null;
    tidy(gpu, () => {
      const scaled = scaler?.step(gradients, { maxNorm: maxGradNorm ?? LARGEST, betas });
      const clip = scaled || maxGradNorm === undefined
        ? null
        : globalNormClip(gradients, { maxNorm: maxGradNorm });
      for (const { tensor: parameter, lrScale, m, v } of this.#parameters) {
        if (!parameter.grad) continue;
        adamStep({
          parameter,
          grad: parameter.grad,
          m,
          v,
          lr: learningRate * lrScale,
          beta1: betas[0],
          beta2: betas[1],
          eps,
          weightDecay,
          decoupled,
          step: this.#step,
          gradScale: clip?.scale,
          scaledStep: scaled?.step,
        });
        parameter.zeroGrad();
      }
      norm = (scaled ?? clip)?.norm ?? null;
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
    return { steps: this.#step, moments: await Promise.all(this.#parameters.map(read)) };
  }

  /** Continues from a state of as many parameters of the same shapes. */
  restore({ steps, moments }: AdamState): void {
    this.#step = steps;
    this.#parameters.forEach(({ m, v }, i) => {
      m.write(moments[i].m);
      v.write(moments[i].v);
    });
  }

  /** Frees the moments. */
  [Symbol.dispose](): void {
    for (const { m, v } of this.#parameters) {
      m.dispose();
      v.dispose();
    }
  }
}
