import { inElements } from "../../../kernels/element.ts";
import { sumKernels } from "../../../kernels/reduction/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { normaliseAxes, sameShape, type Shape, sizeOf } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { broadcastTo } from "./movement.ts";
import { scale } from "./unary.ts";

/** Outputs that keep the device busy; fewer, and a long sum is cut into chunks. */
const ENOUGH_OUTPUTS = 4096;

/** Sums x, seen as [outer, n, inner], over n. */
function sumMiddle(x: Tensor, view: readonly [number, number, number], factor: number): Tensor {
  const { gpu } = x;
  const [outer, n, inner] = view;
  const wanted = Math.ceil(ENOUGH_OUTPUTS / (outer * inner));
  const chunk = Math.max(Math.ceil(n / wanted), Math.min(n, 64));
  const chunks = Math.max(1, Math.ceil(n / chunk));
  const last = chunks === 1;
  const out = Tensor.empty(gpu, [outer, chunks, inner]);
  const { kernel, elements } = inElements(sumKernels, inner);
  const outputs = outer * chunks * elements;
  gpu.run(kernel, {
    buffers: { x: x.buffer, out: out.buffer },
    params: { outputs, n, inner: elements, chunk, chunks, scale: last ? factor : 1 },
    workgroups: Gpu.grid(Math.ceil(outputs / 64)),
  });
  return last ? out : sumMiddle(out, [outer, chunks, inner], factor);
}

/** Sums over ascending axes, times a factor; the axes stay with size 1. */
function sumOver(x: Tensor, axes: readonly number[], factor: number): Tensor {
  // Neighbouring axes are summed in one go, the last group first.
  let out = x;
  const shape = [...x.shape];
  let end = axes.length;
  while (end > 0) {
    let start = end - 1;
    while (start > 0 && axes[start - 1] === axes[start] - 1) start--;
    const first = axes[start];
    const after = axes[end - 1] + 1;
    const outer = sizeOf(shape.slice(0, first));
    const n = sizeOf(shape.slice(first, after));
    const inner = sizeOf(shape.slice(after));
    out = sumMiddle(out, [outer, n, inner], start === 0 ? factor : 1);
    shape.fill(1, first, after);
    end = start;
  }
  return axes.length === 0 ? scale(x, factor) : out.view(shape);
}

/** Options of {@linkcode sum} and {@linkcode mean}. */
export interface ReductionOptions {
  /** Axes to reduce, negative ones counted from the end; by default all. */
  readonly axes?: readonly number[];
  /** Keep the reduced axes with size 1. */
  readonly keepDims?: boolean;
}

function reduce(x: Tensor, options: ReductionOptions, average: boolean): Tensor {
  const op = average ? "mean" : "sum";
  const axes = normaliseAxes(op, options.axes ?? x.shape.map((_, axis) => axis), x.shape.length);
  const factor = average ? 1 / sizeOf(axes.map((axis) => x.shape[axis])) : 1;
  const kept = x.shape.map((size, axis) => axes.includes(axis) ? 1 : size);
  const reduced = x.shape.filter((_, axis) => !axes.includes(axis));
  return record({
    op,
    inputs: [x],
    output: sumOver(x, axes, factor).view(options.keepDims ? kept : reduced),
    saved: [],
    backward: (dy) => [broadcastTo(scale(dy, factor).view(kept), x.shape)],
  });
}

/** Sum over some axes, by default over all. Gradient: dy repeated along them. */
export function sum(x: Tensor, options: ReductionOptions = {}): Tensor {
  return reduce(x, options, false);
}

/** Mean over some axes, by default over all. Gradient: dy / n repeated along them. */
export function mean(x: Tensor, options: ReductionOptions = {}): Tensor {
  return reduce(x, options, true);
}

/** Undoes broadcasting: sums a gradient over the axes along which an operand was repeated. */
export function sumTo(grad: Tensor, shape: Shape): Tensor {
  if (sameShape(grad.shape, shape)) return grad;
  const lead = grad.shape.length - shape.length;
  const axes = grad.shape.map((_, axis) => axis)
    .filter((axis) => axis < lead || (shape[axis - lead] === 1 && grad.shape[axis] !== 1));
  return axes.length === 0 ? grad.view(shape) : sumOver(grad, axes, 1).view(shape);
}
