import { inElements } from "../../../kernels/element.ts";
import {
  maskLossBackwardKernels,
  maskLossKernel,
  maskSumsKernels,
} from "../../../kernels/loss/mod.ts";
import { record } from "../autograd.ts";
import { sameShape, shapeText } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { sum } from "./sum.ts";

/** Partial sums of a sample at most, and the steps that one should take at least. */
const MAXIMUM_CHUNKS = 256;
const STEPS_PER_CHUNK = 8;

/** Weights of the terms of {@linkcode diceBceLoss}. */
export interface DiceBceOptions {
  /** Factor of the Dice loss; default 1. */
  readonly diceWeight?: number;
  /** Factor of the binary cross entropy; default 1. */
  readonly bceWeight?: number;
  /** Added to numerator and denominator of the Dice coefficient; default 1. */
  readonly smooth?: number;
}

/** Loss, and the Dice coefficients in it. */
export interface DiceBce {
  /** Scalar to go backward from. */
  readonly loss: Tensor;
  /** Soft Dice coefficient of each sample [B], smoothed; carries no gradient. */
  readonly dice: Tensor;
}

/** Reductions of each sample's logits and targets, from one pass over them. */
interface MaskTerms {
  /** [samples] */
  readonly dice: Tensor;
  /** Terms of the loss: [samples]. */
  readonly terms: Tensor;
  /** Coefficients of the gradient: [samples, 2]. */
  readonly coefficients: Tensor;
  /** Partial sums of mask_sums.wgsl: [samples, chunks, 4]. */
  readonly sums: Tensor;
}

/** Reduces each sample of [B, ...] to its Dice coefficient and its term of the loss. */
function reduceMasks(
  logits: Tensor,
  target: Tensor,
  options: { hard: boolean; smoothing: number; bceWeight: number; diceWeight: number },
): MaskTerms {
  const { gpu } = logits;
  const [samples] = logits.shape;
  const n = logits.size / samples;
  const { kernel, elements: length } = inElements(maskSumsKernels, n);
  const chunks = Math.min(MAXIMUM_CHUNKS, Math.ceil(length / STEPS_PER_CHUNK));
  const sums = Tensor.empty(gpu, [samples, chunks, 4]);
  gpu.run(kernel, {
    buffers: { logits: logits.buffer, targets: target.buffer, out: sums.buffer },
    params: { length, chunks },
    constants: { HARD: options.hard },
    workgroups: [Math.ceil(chunks / 64), samples],
  });
  const dice = Tensor.empty(gpu, [samples]);
  const terms = Tensor.empty(gpu, [samples]);
  const coefficients = Tensor.empty(gpu, [samples, 2]);
  gpu.run(maskLossKernel, {
    buffers: {
      sums: sums.buffer,
      dice: dice.buffer,
      terms: terms.buffer,
      coefficients: coefficients.buffer,
    },
    params: {
      samples,
      chunks,
      smoothing: options.smoothing,
      bce_weight: options.bceWeight,
      dice_weight: options.diceWeight,
    },
    workgroups: [Math.ceil(samples / 64)],
  });
  return { dice, terms, coefficients, sums };
}

function checkMasks(op: string, logits: Tensor, target: Tensor): void {
  if (logits.size === 0 || logits.shape.length === 0 || !sameShape(logits.shape, target.shape)) {
    throw new Error(
      `${op}: takes logits and a target of one shape [B, ...], not ${shapeText(logits.shape)} and ${
        shapeText(target.shape)
      }`,
    );
  }
  if (target.requiresGrad) {
    throw new Error(`${op}: gives no gradient to its target: detach() it`);
  }
}

/**
 * bceWeight times the binary cross entropy, averaged over all elements, plus diceWeight times
 * 1 - the soft Dice coefficient (Milletari et al. 2016), averaged over the samples: both from one pass
 * over the masks.
 *
 * With p = sigmoid(logits) and t = target, each sample's Dice coefficient is
 * (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth), and an element's cross entropy
 * max(x, 0) - x t + log(1 + exp(-|x|)), which overflows for no logit x.
 *
 * @param logits [B, ...]
 * @param target The same shape, between 0 and 1; it gets no gradient.
 * @throws {Error} if the shapes differ or the target requires a gradient.
 */
export function diceBceLoss(
  logits: Tensor,
  target: Tensor,
  options: DiceBceOptions = {},
): DiceBce {
  checkMasks("diceBceLoss", logits, target);
  const { gpu } = logits;
  const [samples] = logits.shape;
  const bceWeight = (options.bceWeight ?? 1) / logits.size;
  const { dice, terms, coefficients, sums } = reduceMasks(logits, target, {
    hard: false,
    smoothing: options.smooth ?? 1,
    bceWeight,
    diceWeight: (options.diceWeight ?? 1) / samples,
  });
  const loss = record({
    op: "diceBceLoss",
    inputs: [logits],
    output: sum(terms),
    saved: [logits, target, coefficients],
    backward: (dloss, [logits, target, coefficients]) => {
      const n = logits.size / samples;
      const { kernel, elements: length } = inElements(maskLossBackwardKernels, n);
      const dlogits = Tensor.empty(gpu, logits.shape);
      gpu.run(kernel, {
        buffers: {
          logits: logits.buffer,
          targets: target.buffer,
          coefficients: coefficients.buffer,
          dloss: dloss.buffer,
          dlogits: dlogits.buffer,
        },
        params: { length, bce_weight: bceWeight },
        workgroups: [Math.ceil(length / 64), samples],
      });
      return [dlogits];
    },
  });
  terms.dispose();
  coefficients.dispose();
  sums.dispose();
  return { loss, dice };
}

/** The soft Dice loss of {@linkcode diceBceLoss} alone: 1 - the mean Dice coefficient. */
export function diceLoss(
  logits: Tensor,
  target: Tensor,
  options: { smooth?: number } = {},
): Tensor {
  const { loss, dice } = diceBceLoss(logits, target, { ...options, bceWeight: 0 });
  dice.dispose();
  return loss;
}

/** Agreement of masks with their targets. */
export interface MaskOverlap {
  /** [B]: the Dice coefficient 2 |P ∩ T| / (|P| + |T|); 1 where both are empty. */
  readonly dice: Tensor;
  /** [B, 4]: targets that are neither 0 nor 1, |P ∩ T|, |P|, |T|, counted in elements. */
  readonly counts: Tensor;
}

/**
 * Compares each sample's mask P, where the logit is positive, with T, where the target exceeds 0.5.
 * Carries no gradient.
 *
 * @param logits [B, ...]
 * @param target The same shape.
 * @throws {Error} if the shapes differ.
 */
export function maskOverlap(logits: Tensor, target: Tensor): MaskOverlap {
  checkMasks("maskOverlap", logits, target);
  const { dice, terms, coefficients, sums } = reduceMasks(logits, target, {
    hard: true,
    smoothing: 0,
    bceWeight: 0,
    diceWeight: 0,
  });
  terms.dispose();
  coefficients.dispose();
  const counts = sum(sums, { axes: [1] });
  sums.dispose();
  return { dice, counts };
}
