import { inElements } from "../../../kernels/element.ts";
import {
  layerNormBackwardKernels,
  layerNormKernels,
  layerNormParametersKernels,
} from "../../../kernels/normalisation/mod.ts";
import { record } from "../autograd.ts";
import { shapeError } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { rowDispatch } from "./rows.ts";
import { sumTo } from "./sum.ts";

/** Rows that one invocation sums for the gradients of weight and bias, and chunks at most. */
const ROWS_PER_CHUNK = 32;
const MAXIMUM_CHUNKS = 256;

/**
 * Normalises the last axis to mean 0 and variance 1 (over n, not n - 1), then scales and shifts it, as
 * torch.nn.LayerNorm (Ba et al. 2016). On channels-last images it is SAM's LayerNorm2d, with eps 1e-6.
 *
 * Gradients, with g = weight dy and the normalised x̂: dx = rstd (g - mean(g) - x̂ mean(g x̂)),
 * dweight = the sum of dy x̂ and dbias = the sum of dy over all but the last axis.
 *
 * @param x [..., C]
 * @param weight [C]
 * @param bias [C]
 * @param options `eps`, added to the variance; 1e-5 by default.
 * @throws {Error} if the shapes do not fit.
 */
export function layerNorm(
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  options: { eps?: number } = {},
): Tensor {
  const { eps = 1e-5 } = options;
  const { gpu } = x;
  const channels = x.shape.at(-1) ?? 0;
  if (channels === 0 || weight.size !== channels || bias.size !== channels) {
    throw shapeError("layerNorm", { x, weight, bias });
  }
  const rows = x.size / channels;
  const { kernel, elements: length } = inElements(layerNormKernels, channels);
  const output = Tensor.empty(gpu, x.shape);
  const statistics = Tensor.empty(gpu, [rows, 2]);
  gpu.run(kernel, {
    buffers: {
      x: x.buffer,
      weight: weight.buffer,
      bias: bias.buffer,
      out: output.buffer,
      statistics: statistics.buffer,
    },
    params: { rows, length, eps },
    ...rowDispatch(gpu, rows),
  });
  record({
    op: "layerNorm",
    inputs: [x, weight, bias],
    output,
    saved: [x, weight, statistics],
    backward: (dy, saved, [toX, toWeight, toBias]) => {
      const dx = toX ? inputGradient(dy, saved) : null;
      if (!toWeight && !toBias) return [dx, null, null];
      const { dweight, dbias } = parameterSums(dy, saved);
      return [
        dx,
        toWeight ? sumTo(dweight, weight.shape) : null,
        toBias ? sumTo(dbias, bias.shape) : null,
      ];
    },
  });
  statistics.dispose(); // the tape has a handle of its own
  return output;
}

/** Tensors that the gradients read: x [..., C], weight [C], and mean and rstd of each row [rows, 2]. */
type Saved = readonly [x: Tensor, weight: Tensor, statistics: Tensor];

function inputGradient(dy: Tensor, [x, weight, statistics]: Saved): Tensor {
  const { gpu } = x;
  const [rows] = statistics.shape;
  const dx = Tensor.empty(gpu, x.shape);
  const { kernel, elements: length } = inElements(layerNormBackwardKernels, weight.size);
  gpu.run(kernel, {
    buffers: {
      x: x.buffer,
      weight: weight.buffer,
      statistics: statistics.buffer,
      dy: dy.buffer,
      dx: dx.buffer,
    },
    params: { rows, length },
    ...rowDispatch(gpu, rows),
  });
  return dx;
}

/** Gradients of weight and bias, summed within chunks of rows: [chunks, C] each. */
function parameterSums(dy: Tensor, [x, weight, statistics]: Saved) {
  const { gpu } = x;
  const [rows] = statistics.shape;
  const { kernel, elements: length } = inElements(layerNormParametersKernels, weight.size);
  const chunk = Math.max(ROWS_PER_CHUNK, Math.ceil(rows / MAXIMUM_CHUNKS));
  const chunks = Math.ceil(rows / chunk);
  const dweight = Tensor.empty(gpu, [chunks, weight.size]);
  const dbias = Tensor.empty(gpu, [chunks, weight.size]);
  gpu.run(kernel, {
    buffers: {
      x: x.buffer,
      statistics: statistics.buffer,
      dy: dy.buffer,
      dweight: dweight.buffer,
      dbias: dbias.buffer,
    },
    params: { rows, length, chunk },
    workgroups: [Math.ceil(length / 32), chunks],
  });
  return { dweight, dbias };
}
