import {
  addInPlaceKernel,
  binaryBroadcastKernel,
  binaryKernel,
  binaryOps,
} from "../../../kernels/elementwise/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { broadcastShapes, isTail, sameShape, type Shape, shapeText, sizeOf } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { sumTo } from "./sum.ts";
import { scale } from "./unary.ts";

type Op = keyof typeof binaryOps;

/** The four-axis strides by which an operand is read when it is broadcast: 0 where it repeats. */
function broadcastStrides(operand: Shape): number[] {
  let stride = 1;
  const strides = [0, 0, 0, 0];
  for (let axis = 1; axis <= operand.length; axis++) {
    const size = operand[operand.length - axis];
    if (size > 1) strides[4 - axis] = stride;
    stride *= size;
  }
  return strides;
}

function binary(op: Op, a: Tensor, b: Tensor): Tensor {
  const { gpu } = a;
  const constants = { OP: binaryOps[op] };
  const shape = broadcastShapes(op, a.shape, b.shape);
  const out = Tensor.empty(gpu, shape);
  const buffers = { a: a.buffer, b: b.buffer, out: out.buffer };
  const same = sameShape(a.shape, b.shape);
  if (same || (sameShape(a.shape, shape) && isTail(a.shape, b.shape) && b.size % 4 === 0)) {
    const count4 = Math.ceil(out.size / 4);
    gpu.run(binaryKernel, {
      buffers,
      params: { count4, b_count4: Math.ceil(b.size / 4), scale: 1 },
      constants,
      workgroups: Gpu.grid(Math.ceil(count4 / 64)),
    });
    return out;
  }
  if (shape.length > 4) {
    throw new Error(
      `${op}: ${shapeText(a.shape)} and ${shapeText(b.shape)} broadcast over more than four axes`,
    );
  }
  const [a0, a1, a2, a3] = broadcastStrides(a.shape);
  const [b0, b1, b2, b3] = broadcastStrides(b.shape);
  const [d3 = 1, d2 = 1, d1 = 1] = [...shape].reverse();
  gpu.run(binaryBroadcastKernel, {
    buffers,
    params: { count: out.size, d1, d2, d3, a0, a1, a2, a3, b0, b1, b2, b3 },
    constants,
    workgroups: Gpu.grid(Math.ceil(out.size / 64)),
  });
  return out;
}

/**
 * a + b, broadcast. Gradients: dy to each, summed over its repeated axes.
 *
 * @throws {Error} if the shapes do not broadcast.
 */
export function add(a: Tensor, b: Tensor): Tensor {
  return record({
    op: "add",
    inputs: [a, b],
    output: binary("add", a, b),
    saved: [],
    backward: (dy, _, [toA, toB]) => [
      toA ? sumTo(dy, a.shape) : null,
      toB ? sumTo(dy, b.shape) : null,
    ],
  });
}

/**
 * a - b, broadcast. Gradients: dy and -dy, summed over repeated axes.
 *
 * @throws {Error} if the shapes do not broadcast.
 */
export function sub(a: Tensor, b: Tensor): Tensor {
  return record({
    op: "sub",
    inputs: [a, b],
    output: binary("subtract", a, b),
    saved: [],
    backward: (dy, _, [toA, toB]) => [
      toA ? sumTo(dy, a.shape) : null,
      toB ? sumTo(scale(dy, -1), b.shape) : null,
    ],
  });
}

/**
 * a * b, broadcast. Gradients: dy b and dy a, summed over repeated axes.
 *
 * @throws {Error} if the shapes do not broadcast.
 */
export function mul(a: Tensor, b: Tensor): Tensor {
  return record({
    op: "mul",
    inputs: [a, b],
    output: binary("multiply", a, b),
    saved: [a, b],
    backward: (dy, [a, b], [toA, toB]) => [
      toA ? sumTo(binary("multiply", dy, b), a.shape) : null,
      toB ? sumTo(binary("multiply", dy, a), b.shape) : null,
    ],
  });
}

/**
 * a / b, broadcast. Gradients: dy / b and -dy a / b^2, summed over repeated axes.
 *
 * @throws {Error} if the shapes do not broadcast.
 */
export function div(a: Tensor, b: Tensor): Tensor {
  const output = binary("divide", a, b);
  return record({
    op: "div",
    inputs: [a, b],
    output,
    saved: [b, output],
    backward: (dy, [b, out], [toA, toB]) => {
      const da = binary("divide", dy, b);
      return [
        toA ? sumTo(da, a.shape) : null,
        toB ? sumTo(scale(binary("multiply", da, out), -1), b.shape) : null,
      ];
    },
  });
}

/**
 * a += scale * b in place, without history; scale is 1 by default. Returns a.
 *
 * @throws {Error} if the sizes differ.
 */
export function addInPlace(a: Tensor, b: Tensor, options: { scale?: number } = {}): Tensor {
  return changeInPlace("addInPlace", a, b, { scale: options.scale ?? 1, lerp: false });
}

/**
 * a += weight * (b - a) in place, without history, as torch.Tensor.lerp_. Returns a.
 *
 * @throws {Error} if the sizes differ.
 */
export function lerpInPlace(a: Tensor, b: Tensor, weight: number): Tensor {
  return changeInPlace("lerpInPlace", a, b, { scale: weight, lerp: true });
}

function changeInPlace(
  op: string,
  a: Tensor,
  b: Tensor,
  { scale, lerp }: { scale: number; lerp: boolean },
): Tensor {
  if (sizeOf(a.shape) !== sizeOf(b.shape)) {
    throw new Error(`${op}: ${shapeText(a.shape)} and ${shapeText(b.shape)} differ in size`);
  }
  const count4 = Math.ceil(a.size / 4);
  a.gpu.run(addInPlaceKernel, {
    buffers: { a: a.buffer, b: b.buffer },
    params: { count4, scale },
    constants: { LERP: lerp },
    workgroups: Gpu.grid(Math.ceil(count4 / 64)),
  });
  return a;
}
