import {
  adamKernel,
  clipScaleKernel,
  gradScalerKernel,
  squareSumKernel,
} from "../../../kernels/optimizer/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { noGrad } from "../autograd.ts";
import { shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { sum } from "./sum.ts";

/** Vectors of four elements that an invocation squares and adds up, and invocations at most. */
const VECTORS_PER_LANE = 16;
const MAXIMUM_LANES = 4096;

/** One parameter's step of Adam or AdamW; the names are torch.optim's. */
export interface AdamStep {
  /** Updated in place. */
  readonly parameter: Tensor;
  /** Gradient of the loss with respect to it. */
  readonly grad: Tensor;
  /** First moment (`exp_avg`), updated in place; zeros before the first step. */
  readonly m: Tensor;
  /** Second moment (`exp_avg_sq`), updated in place; zeros before the first step. */
  readonly v: Tensor;
  /** Learning rate. */
  readonly lr: number;
  /** Decay of the first moment. */
  readonly beta1: number;
  /** Decay of the second moment. */
  readonly beta2: number;
  /** Added to the root of the corrected second moment. */
  readonly eps: number;
  /** Weight decay; see {@linkcode AdamStep.decoupled}. */
  readonly weightDecay: number;
  /** Number of this step, from 1. */
  readonly step: number;
  /** Decay the parameter itself (AdamW) rather than through its gradient (Adam). */
  readonly decoupled: boolean;
  /** A scalar that multiplies the gradient first, such as {@linkcode globalNormClip} gives. */
  readonly gradScale?: Tensor;
  /** [3] of {@linkcode unscaledStep}, in place of `gradScale` and `step`. */
  readonly scaledStep?: Tensor;
}

/**
 * Updates a parameter and its moments by Adam (Kingma and Ba 2015) or AdamW (Loshchilov and Hutter
 * 2019) in one kernel, as torch.optim does:
 *
 * m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g²,
 * parameter -= lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *
 * @throws {Error} if the sizes differ.
 */
export function adamStep(options: AdamStep): void {
  const { parameter, grad, m, v, lr, beta1, beta2, eps, weightDecay, step } = options;
  const { scaledStep, gradScale = scaledStep } = options;
  if ([grad, m, v].some((tensor) => tensor.size !== parameter.size)) {
    throw new Error(
      `adamStep: parameter ${shapeText(parameter.shape)}, gradient ${shapeText(grad.shape)}, m ${
        shapeText(m.shape)
      } and v ${shapeText(v.shape)} differ in size`,
    );
  }
  const count4 = Math.ceil(parameter.size / 4);
  parameter.gpu.run(adamKernel, {
    buffers: {
      grad: grad.buffer,
      grad_scale: (gradScale ?? grad).buffer,
      parameter: parameter.buffer,
      m: m.buffer,
      v: v.buffer,
    },
    params: {
      count4,
      beta2,
      rest1: 1 - beta1,
      rest2: 1 - beta2,
      eps,
      step_size: scaledStep ? lr : lr / (1 - beta1 ** step),
      root_correction: scaledStep ? 1 : Math.sqrt(1 - beta2 ** step),
      l2: options.decoupled ? 0 : weightDecay,
      keep: options.decoupled ? 1 - lr * weightDecay : 1,
    },
    constants: { CLIP: gradScale !== undefined, SCALED: scaledStep !== undefined },
    workgroups: Gpu.grid(Math.ceil(count4 / 64)),
  });
}

/** Result of {@linkcode globalNormClip}: two scalars that stay on the GPU. */
export interface NormClip {
  /** min(1, maxNorm / (norm + 1e-6)). */
  readonly scale: Tensor;
  /** Euclidean norm of all gradients together. */
  readonly norm: Tensor;
}

/**
 * The factor by which gradients are clipped to a total norm, as torch.nn.utils.clip_grad_norm_
 * computes it. The gradients stay as they are: give the factor to {@linkcode adamStep}. Nothing is read
 * back, and the sums are added in a fixed order.
 *
 * @throws {Error} if there is no gradient.
 */
export function globalNormClip(
  grads: readonly Tensor[],
  options: { maxNorm: number },
): NormClip {
  if (grads.length === 0) throw new Error("globalNormClip: there is no gradient to clip");
  const { gpu } = grads[0];
  using squares = sumOfSquares(grads);
  const norm = Tensor.empty(gpu, []);
  const scale = Tensor.empty(gpu, []);
  gpu.run(clipScaleKernel, {
    buffers: { squares: squares.buffer, norm: norm.buffer, scale: scale.buffer },
    params: { max_norm: options.maxNorm },
    workgroups: [1],
  });
  return { scale, norm };
}

/** Options of {@linkcode unscaledStep}: the rule of torch.amp.GradScaler. */
export interface UnscaleOptions {
  /** Norm to which the unscaled gradients are clipped. */
  readonly maxNorm: number;
  /** Decay rates of Adam's moments. */
  readonly betas: readonly [number, number];
  /** Scale of the loss, a scalar; updated. */
  readonly scale: Tensor;
  /** [3], zeros before the first step; updated: finite steps in a row, and Adam's corrections. */
  readonly state: Tensor;
  /** Factor of the scale after `interval` finite steps in a row. */
  readonly growth: number;
  /** Factor of the scale after a step that is skipped. */
  readonly backoff: number;
  /** Finite steps in a row after which the scale grows. */
  readonly interval: number;
}

/** Result of {@linkcode unscaledStep}; both stay on the GPU. */
export interface ScaledStep {
  /** [3]: what {@linkcode adamStep} takes as `scaledStep`. */
  readonly step: Tensor;
  /** Euclidean norm of all gradients together without their scale; not finite if the step is skipped. */
  readonly norm: Tensor;
}

/** Decides whether a step with gradients of a scaled loss is taken, by their norm. Nothing is read back. */
export function unscaledStep(grads: readonly Tensor[], options: UnscaleOptions): ScaledStep {
  const { maxNorm, betas, scale, state, growth, backoff, interval } = options;
  const { gpu } = scale;
  using squares = sumOfSquares(grads);
  const step = Tensor.empty(gpu, [3]);
  const norm = Tensor.empty(gpu, []);
  gpu.run(gradScalerKernel, {
    buffers: {
      squares: squares.buffer,
      scale: scale.buffer,
      state: state.buffer,
      norm: norm.buffer,
      step: step.buffer,
    },
    params: {
      max_norm: maxNorm,
      rest1: 1 - betas[0],
      rest2: 1 - betas[1],
      growth,
      backoff,
      interval,
    },
    workgroups: [1],
  });
  return { step, norm };
}

/** Sum of the squares of all elements: a scalar. */
function sumOfSquares(grads: readonly Tensor[]): Tensor {
  const { gpu } = grads[0];
  const lanes = grads.map(({ size }) =>
    Math.min(MAXIMUM_LANES, Math.max(1, Math.ceil(size / 4 / VECTORS_PER_LANE)))
  );
  using partial = Tensor.empty(gpu, [lanes.reduce((a, b) => a + b, 0)]);
  let offset = 0;
  for (const [i, grad] of grads.entries()) {
    gpu.run(squareSumKernel, {
      buffers: { x: grad.buffer, out: partial.buffer },
      params: { count: grad.size, lanes: lanes[i], offset },
      workgroups: [Math.ceil(lanes[i] / 64)],
    });
    offset += lanes[i];
  }
  return noGrad(gpu, () => sum(partial));
}
