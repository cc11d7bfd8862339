import { inElements } from "../../../kernels/element.ts";
import { insertKernels, permuteKernels, repeatKernel } from "../../../kernels/movement/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { isTail, normaliseAxes, sameShape, type Shape, shapeText, sizeOf } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { zeros } from "./fill.ts";
import { sumTo } from "./sum.ts";

/** Strides of a contiguous tensor. */
function contiguousStrides(shape: Shape): number[] {
  const strides = new Array<number>(shape.length);
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

/** A strided view of x, copied into a contiguous tensor of at most five axes. */
function copyView(op: string, x: Tensor, shape: Shape, strides: readonly number[], offset = 0) {
  if (shape.length > 5) throw new Error(`${op}: ${shapeText(shape)} has more than five axes`);
  const { gpu } = x;
  const out = Tensor.empty(gpu, shape);
  const lead = 5 - shape.length;
  const last = shape.length - 1;
  // Neighbours go by fours where they are neighbours in x too, and begin at a multiple of 4.
  const byFours = strides[last] === 1 && shape[last] % 4 === 0 &&
    [offset, ...strides.slice(0, last)].every((stride) => stride % 4 === 0);
  const width = byFours ? 4 : 1;
  const size = (axis: number) => axis < lead ? 1 : shape[axis - lead];
  const stride = (axis: number) => axis < lead ? 0 : strides[axis - lead] / width;
  const count = out.size / width;
  gpu.run(byFours ? permuteKernels.vec4 : permuteKernels.scalar, {
    buffers: { x: x.buffer, out: out.buffer },
    params: {
      count,
      offset: offset / width,
      d1: size(1),
      d2: size(2),
      d3: size(3),
      d4: size(4) / width,
      s0: stride(0),
      s1: stride(1),
      s2: stride(2),
      s3: stride(3),
      s4: byFours ? 1 : stride(4),
    },
    workgroups: Gpu.grid(Math.ceil(count / 64)),
  });
  return out;
}

/**
 * The same elements under another shape; one size may be -1 and is worked out. No copy.
 *
 * @throws {Error} if the sizes differ.
 */
export function reshape(x: Tensor, shape: Shape): Tensor {
  const known = sizeOf(shape.filter((size) => size !== -1));
  const full = shape.map((size) => size === -1 ? x.size / known : size);
  if (sizeOf(full) !== x.size || !full.every(Number.isInteger)) {
    throw new Error(`reshape: ${shapeText(x.shape)} does not fit ${shapeText(shape)}`);
  }
  return record({
    op: "reshape",
    inputs: [x],
    output: x.view(full),
    saved: [],
    backward: (dy) => [dy.view(x.shape)],
  });
}

/**
 * Reorders axes: axis i of the result is axis `axes[i]` of x, which has at most five. Gradient: the
 * inverse order.
 *
 * @throws {Error} if `axes` is not an order of x's axes.
 */
export function permute(x: Tensor, axes: readonly number[]): Tensor {
  const rank = x.shape.length;
  if (!sameShape([...axes].sort((a, b) => a - b), x.shape.map((_, axis) => axis))) {
    throw new Error(`permute: [${axes.join(", ")}] is not an order of ${rank} axes`);
  }
  const strides = contiguousStrides(x.shape);
  return record({
    op: "permute",
    inputs: [x],
    output: copyView(
      "permute",
      x,
      axes.map((axis) => x.shape[axis]),
      axes.map((axis) => strides[axis]),
    ),
    saved: [],
    backward: (dy) => {
      const inverse = axes.map((_, axis) => axes.indexOf(axis));
      const back = contiguousStrides(dy.shape);
      return [copyView("permute", dy, x.shape, inverse.map((axis) => back[axis]))];
    },
  });
}

/** x over and over: a scalar, or a size that divides into fours. */
function repeat(x: Tensor, shape: Shape): Tensor {
  const out = Tensor.empty(x.gpu, shape);
  const count4 = Math.ceil(out.size / 4);
  x.gpu.run(repeatKernel, {
    buffers: { x: x.buffer, out: out.buffer },
    params: { count4, x_count4: Math.ceil(x.size / 4) },
    constants: { SCALAR: x.size === 1 },
    workgroups: Gpu.grid(Math.ceil(count4 / 64)),
  });
  return out;
}

/**
 * Repeats x along axes of size 1 or missing leading axes, without history.
 *
 * @throws {Error} if x does not repeat to the shape.
 */
export function broadcastTo(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x.detach();
  const lead = shape.length - x.shape.length;
  if (lead < 0 || x.shape.some((size, axis) => size !== 1 && size !== shape[lead + axis])) {
    throw new Error(`broadcastTo: ${shapeText(x.shape)} does not repeat to ${shapeText(shape)}`);
  }
  if (x.size === 1 || (x.size % 4 === 0 && isTail(shape, x.shape))) return repeat(x, shape);
  const own = contiguousStrides(x.shape);
  const strides = shape.map((_, axis) =>
    axis < lead || x.shape[axis - lead] === 1 ? 0 : own[axis - lead]
  );
  return copyView("broadcastTo", x, shape, strides);
}

/**
 * Elements `start` to `end` (exclusive) along one axis. Gradient: dy between zeros.
 *
 * @throws {Error} if they do not lie within the axis, or there are none.
 */
export function slice(
  x: Tensor,
  options: { axis: number; start: number; end: number },
): Tensor {
  const [axis] = normaliseAxes("slice", [options.axis], x.shape.length);
  const { start, end } = options;
  if (start < 0 || end > x.shape[axis] || start >= end) {
    throw new Error(
      `slice: ${start} to ${end} is not within axis ${axis} of ${shapeText(x.shape)}`,
    );
  }
  const strides = contiguousStrides(x.shape);
  const shape = x.shape.with(axis, end - start);
  return record({
    op: "slice",
    inputs: [x],
    output: copySlice(x, axis, start, shape, strides),
    saved: [],
    backward: (dy) => {
      const dx = zeros(dy.gpu, x.shape);
      insert(dy, dx, axis, start);
      return [dx];
    },
  });
}

function copySlice(x: Tensor, axis: number, start: number, shape: Shape, strides: number[]) {
  // Axes before and after the sliced one fold, so that any rank goes through the kernel.
  const outer = sizeOf(shape.slice(0, axis));
  const inner = sizeOf(shape.slice(axis + 1));
  const view = copyView(
    "slice",
    x,
    [outer, shape[axis], inner],
    [x.shape[axis] * inner, inner, 1],
    start * strides[axis],
  );
  return view.view(shape);
}

/** Writes x into `out` from index `at` of an axis on, without history. */
export function insert(x: Tensor, out: Tensor, axis: number, at: number): void {
  const inner = sizeOf(x.shape.slice(axis + 1));
  const { kernel, elements } = inElements(insertKernels, inner);
  const count = x.size / inner * elements;
  x.gpu.run(kernel, {
    buffers: { x: x.buffer, out: out.buffer },
    params: { count, n: x.shape[axis], inner: elements, total: out.shape[axis], offset: at },
    workgroups: Gpu.grid(Math.ceil(count / 64)),
  });
}

/**
 * Joins tensors along an axis; one tensor is given back itself. Gradients: the parts of dy.
 *
 * @throws {Error} if the shapes differ beyond that axis.
 */
export function concat(tensors: readonly Tensor[], axis: number): Tensor {
  const [first] = tensors;
  if (tensors.length === 1) return first;
  [axis] = normaliseAxes("concat", [axis], first.shape.length);
  const shape = first.shape.with(axis, tensors.reduce((sum, t) => sum + t.shape[axis], 0));
  const output = Tensor.empty(first.gpu, shape);
  const starts: number[] = [];
  let at = 0;
  for (const tensor of tensors) {
    if (!sameShape(tensor.shape.with(axis, 1), shape.with(axis, 1))) {
      throw new Error(
        `concat: ${shapeText(first.shape)} and ${
          shapeText(tensor.shape)
        } differ beyond axis ${axis}`,
      );
    }
    insert(tensor, output, axis, at);
    starts.push(at);
    at += tensor.shape[axis];
  }
  const shapes = tensors.map((tensor) => tensor.shape);
  return record({
    op: "concat",
    inputs: tensors,
    output,
    saved: [],
    backward: (dy, _, needs) => {
      const strides = contiguousStrides(dy.shape);
      return shapes.map((part, i) =>
        needs[i] ? copySlice(dy, axis, starts[i], part, strides) : null
      );
    },
  });
}

/**
 * Repeats x along axes of size 1 or missing leading axes. Gradient: the sum over the copies.
 *
 * @throws {Error} if x does not repeat to the shape.
 */
export function expand(x: Tensor, shape: Shape): Tensor {
  return record({
    op: "expand",
    inputs: [x],
    output: broadcastTo(x, shape),
    saved: [],
    backward: (dy) => [sumTo(dy, x.shape)],
  });
}

/** A batch x [B, ...] over and over, [copies B, ...]. Gradient: the sum over the copies. */
export function repeatBatch(x: Tensor, copies: number): Tensor {
  if (copies === 1) return x;
  const [batch, ...rest] = x.shape;
  return reshape(expand(x, [copies, ...x.shape]), [copies * batch, ...rest]);
}
