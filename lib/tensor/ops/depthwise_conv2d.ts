import {
  depthwise3x3Kernels,
  depthwise3x3WeightKernels,
  depthwiseInputKernels,
  depthwiseKernels,
  depthwiseWeightKernels,
  TILE_COLUMNS,
} from "../../../kernels/convolution/mod.ts";
import { inElements } from "../../../kernels/element.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { Tensor } from "../tensor.ts";
import { type Convolution, positions, type Window } from "./columns.ts";
import { savedOperands, sumOfRows } from "./products.ts";
import { sum } from "./sum.ts";

/** Rows of the tallest tile of the 3 x 3 kernels. */
const TALLEST_TILE = 16;

/** Invocations from which a device is busy, so that tiles need not be shorter. */
const ENOUGH_INVOCATIONS = 16_384;

/**
 * Depthwise convolution, each channel with a kernel of its own: x [B, H, W, C], weight [kh * kw, C],
 * bias [C] -> [B, H', W', C].
 *
 * Gradients: dx gathers the outputs that each pixel went into, dW sums the products of x and dy over
 * pixels in two rounds, db is the sum of dy.
 */
export function depthwiseConv2d(x: Tensor, weight: Tensor, { window, bias }: Convolution): Tensor {
  const { shape } = x;
  return record({
    op: "depthwise conv2d",
    inputs: [x, weight, bias],
    output: forward(x, weight, { window, bias }),
    saved: savedOperands(x, weight),
    backward: (dy, [x, weight], [toX, toWeight, toBias]) => [
      toX ? inputGradient(dy, weight, { window, shape }) : null,
      toWeight ? weightGradient(dy, x, window) : null,
      toBias ? sumOfRows(dy) : null,
    ],
  });
}

/** True if the 3 x 3 kernels apply. */
function is3x3({ kernel: [kh, kw], stride }: Window): boolean {
  return kh === 3 && kw === 3 && stride === 1;
}

function forward(x: Tensor, weight: Tensor, { window, bias }: Convolution): Tensor {
  const { gpu } = x;
  const [batch, h, w, channels] = x.shape;
  const [outH, outW] = positions([h, w], window);
  const out = Tensor.empty(gpu, [batch, outH, outW, channels]);
  if (is3x3(window)) {
    convolve3x3(x, weight, { out, padding: window.padding, bias, flip: false });
    return out;
  }
  const { kernel, elements } = inElements(depthwiseKernels, channels);
  const count = batch * outH * outW * elements;
  gpu.run(kernel, {
    buffers: {
      x: x.buffer,
      weight: weight.buffer,
      bias: (bias ?? weight).buffer,
      out: out.buffer,
    },
    params: { count, ...sizes(x, out, elements), ...windowParams(window) },
    constants: { STRIDE: window.stride, BIAS: bias != null },
    workgroups: Gpu.grid(Math.ceil(count / 64)),
  });
  return out;
}

function inputGradient(
  dy: Tensor,
  weight: Tensor,
  { window, shape }: { window: Window; shape: readonly number[] },
): Tensor {
  const { gpu } = dy;
  const dx = Tensor.empty(gpu, shape);
  if (is3x3(window) && window.padding <= 2) {
    convolve3x3(dy, weight, { out: dx, padding: 2 - window.padding, bias: null, flip: true });
    return dx;
  }
  const { kernel, elements } = inElements(depthwiseInputKernels, shape[3]);
  const count = dx.size / shape[3] * elements;
  gpu.run(kernel, {
    buffers: { dy: dy.buffer, weight: weight.buffer, dx: dx.buffer },
    params: { count, ...sizes(dx, dy, elements), ...windowParams(window) },
    constants: { STRIDE: window.stride },
    workgroups: Gpu.grid(Math.ceil(count / 64)),
  });
  return dx;
}

function weightGradient(dy: Tensor, x: Tensor, window: Window): Tensor {
  const { gpu } = x;
  const [batch, outH, , channels] = dy.shape;
  const [kh, kw] = window.kernel;
  const by3x3 = is3x3(window);
  const { kernel: tiled, elements } = inElements(depthwise3x3WeightKernels, channels);
  const { kernel: general } = inElements(depthwiseWeightKernels, channels);
  const tiles = tilesOf(dy, elements);
  const groups = batch * (by3x3 ? tiles.strips * tiles.columns : outH);
  const parts = Tensor.empty(gpu, [groups, kh * kw, channels]);
  const buffers = { x: x.buffer, dy: dy.buffer, out: parts.buffer };
  if (by3x3) {
    const count = groups * elements;
    gpu.run(tiled, {
      buffers,
      params: { count, ...sizes(x, dy, elements), ...tiles, padding: window.padding },
      workgroups: Gpu.grid(Math.ceil(count / 64)),
    });
  } else {
    const count = groups * kh * kw * elements;
    gpu.run(general, {
      buffers,
      params: { count, ...sizes(x, dy, elements), ...windowParams(window) },
      constants: { STRIDE: window.stride },
      workgroups: Gpu.grid(Math.ceil(count / 64)),
    });
  }
  return sum(parts, { axes: [0] });
}

function convolve3x3(
  x: Tensor,
  weight: Tensor,
  { out, padding, bias, flip }: {
    out: Tensor;
    padding: number;
    bias: Tensor | null;
    flip: boolean;
  },
): void {
  const [batch, , , channels] = out.shape;
  const { kernel, elements } = inElements(depthwise3x3Kernels, channels);
  const tiles = tilesOf(out, elements);
  const count = batch * tiles.strips * tiles.columns * elements;
  x.gpu.run(kernel, {
    buffers: {
      x: x.buffer,
      weight: weight.buffer,
      bias: (bias ?? weight).buffer,
      out: out.buffer,
    },
    params: { count, ...sizes(x, out, elements), ...tiles, padding },
    constants: { FLIP: flip, BIAS: bias != null },
    workgroups: Gpu.grid(Math.ceil(count / 64)),
  });
}

/** Tiles of the 3 x 3 kernels: tall ones load the least, shorter ones keep the device busy. */
function tilesOf({ shape: [batch, h, w] }: Tensor, elements: number) {
  const columns = Math.ceil(w / TILE_COLUMNS);
  const enough = (rows: number) =>
    batch * Math.ceil(h / rows) * columns * elements >= ENOUGH_INVOCATIONS;
  const rows = enough(TALLEST_TILE) ? TALLEST_TILE : TALLEST_TILE / 2;
  return { columns, strips: Math.ceil(h / rows), rows };
}

function sizes({ shape: [, h, w] }: Tensor, { shape: [, out_h, out_w] }: Tensor, channels: number) {
  return { h, w, out_h, out_w, channels };
}

function windowParams({ kernel: [kernel_h, kernel_w], padding }: Window) {
  return { kernel_h, kernel_w, padding };
}
