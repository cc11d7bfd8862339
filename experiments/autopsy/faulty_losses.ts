/**
 * Losses as published code computed them, wrongly. They are written out on the host in float64, with their
 * gradients by hand: they are small, and no kernel should know them.
 *
 * @module
 */
import { record } from "../../lib/tensor/autograd.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import type { Procedure } from "../../lib/train/procedure.ts";

/** A batch of logits and targets on the host: [batch, height, width]. */
export interface HostMasks {
  readonly logits: Float32Array;
  readonly target: Float32Array;
  readonly shape: readonly [batch: number, height: number, width: number];
}

/** A loss with its gradient by the logits. */
export interface HostLoss {
  readonly loss: number;
  readonly gradient: Float32Array;
}

/** A criterion that is computed on the host. */
export function onHost(compute: (masks: HostMasks) => HostLoss): Procedure["criterion"] {
  return async (logits, target, { bceWeight = 1 }) => {
    const [x, t] = await Promise.all([logits.detach().data(), target.data()]);
    const [batch, height, width] = logits.shape;
    const { loss, gradient } = compute({ logits: x, target: t, shape: [batch, height, width] });
    const { gpu, shape } = logits;
    return record({
      op: "host loss",
      inputs: [logits],
      output: Tensor.scalar(gpu, bceWeight * loss),
      saved: [],
      backward: (dloss) => [
        mul(Tensor.from(gpu, gradient.map((value) => bceWeight * value), shape), dloss),
      ],
    });
  };
}

function sigmoid(x: number): number {
  return x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));
}

/**
 * The loss of the output against its own sigmoid, mean cross-entropy plus 1 - soft Dice: the truth is not
 * used. It is least where every pixel is sure of itself, whatever it says.
 */
export function selfLoss({ logits: x, shape: [batch] }: HostMasks): HostLoss {
  const n = x.length / batch;
  const gradient = new Float32Array(x.length);
  let loss = 0;
  for (let b = 0; b < batch; b++) {
    const p = Float64Array.from(x.subarray(b * n, (b + 1) * n), sigmoid);
    let [entropy, sum, squares] = [0, 0, 0];
    p.forEach((value, i) => {
      const logit = x[b * n + i];
      entropy += Math.max(logit, 0) - logit * value + Math.log1p(Math.exp(-Math.abs(logit)));
      sum += value;
      squares += value * value;
    });
    // Dice of p with itself taken as the target: 2 sum(p²) / (2 sum(p)).
    loss += (entropy / n + 1 - squares / sum) / batch;
    p.forEach((value, i) => {
      const derivative = value * (1 - value);
      const ofDice = (2 * value * sum - squares) / (sum * sum);
      gradient[b * n + i] = derivative * (-x[b * n + i] / n - ofDice) / batch;
    });
  }
  return { loss, gradient };
}

/** Keeps a quotient of empty rows a number. */
const SMOOTH = 1e-5;

/**
 * Dice + cross-entropy of [H, W] where [batch, channel, H, W] was meant: the rows are taken for classes.
 * Dice, of squared predictions, is a mean over rows, most of which hold no tumour. Cross-entropy is by
 * softmax over the rows of each column: a logit added to the whole column changes nothing.
 */
export function rowsAsClasses(masks: HostMasks): HostLoss {
  const { logits: x, target: t, shape: [batch, height, width] } = masks;
  const gradient = new Float32Array(x.length);
  let loss = 0;
  for (let b = 0; b < batch; b++) {
    const at = (row: number, column: number) => (b * height + row) * width + column;
    for (let row = 0; row < height; row++) {
      let [both, sizes] = [0, 0];
      for (let column = 0; column < width; column++) {
        const i = at(row, column);
        const p = sigmoid(x[i]);
        both += p * t[i];
        sizes += p * p + t[i] * t[i];
      }
      const dice = (2 * both + SMOOTH) / (sizes + SMOOTH);
      const share = 1 / (batch * height);
      loss += share * (1 - dice);
      for (let column = 0; column < width; column++) {
        const i = at(row, column);
        const p = sigmoid(x[i]);
        gradient[i] -= share * (2 * t[i] - 2 * p * dice) / (sizes + SMOOTH) * p * (1 - p);
      }
    }
    for (let column = 0; column < width; column++) {
      const share = 1 / (batch * width);
      let [highest, sum, targets] = [-Infinity, 0, 0];
      for (let row = 0; row < height; row++) highest = Math.max(highest, x[at(row, column)]);
      for (let row = 0; row < height; row++) {
        sum += Math.exp(x[at(row, column)] - highest);
        targets += t[at(row, column)];
      }
      for (let row = 0; row < height; row++) {
        const i = at(row, column);
        const logSoftmax = x[i] - highest - Math.log(sum);
        loss -= share * t[i] * logSoftmax;
        gradient[i] += share * (targets * Math.exp(logSoftmax) - t[i]);
      }
    }
  }
  return { loss, gradient };
}
