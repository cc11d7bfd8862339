import { unaryBackwardKernel, unaryKernel, unaryOps } from "../../../kernels/elementwise/mod.ts";
import { Gpu } from "../../gpu/gpu.ts";
import { record } from "../autograd.ts";
import { Tensor } from "../tensor.ts";

/** An op of one tensor; all but `scale` ignore the factor. */
function unary(op: keyof typeof unaryOps, x: Tensor, factor = 1): Tensor {
  const { gpu, shape } = x;
  const count4 = Math.ceil(x.size / 4);
  const constants = { OP: unaryOps[op] };
  const workgroups = Gpu.grid(Math.ceil(count4 / 64));
  const output = Tensor.empty(gpu, shape);
  gpu.run(unaryKernel, {
    buffers: { x: x.buffer, out: output.buffer },
    params: { count4, factor },
    constants,
    workgroups,
  });
  // The derivative of these is cheapest in terms of the output.
  const saved = op === "sigmoid" || op === "sqrt" ? output : x;
  return record({
    op,
    inputs: [x],
    output,
    saved: op === "scale" ? [] : [saved],
    backward: (dy, [saved = dy]) => {
      const dx = Tensor.empty(gpu, shape);
      gpu.run(unaryBackwardKernel, {
        buffers: { x: saved.buffer, dy: dy.buffer, dx: dx.buffer },
        params: { count4, factor },
        constants,
        workgroups,
      });
      return [dx];
    },
  });
}

/** factor * x. Gradient: factor * dy. */
export function scale(x: Tensor, factor: number): Tensor {
  return unary("scale", x, factor);
}

/** max(x, 0); the gradient at 0 is 0, as in PyTorch. */
export function relu(x: Tensor): Tensor {
  return unary("relu", x);
}

/** x Phi(x) by the error function, as torch.nn.functional.gelu (Hendrycks and Gimpel 2016). */
export function gelu(x: Tensor): Tensor {
  return unary("gelu", x);
}

/** y = 1 / (1 + exp(-x)), without overflow. Gradient: y (1 - y) dy. */
export function sigmoid(x: Tensor): Tensor {
  return unary("sigmoid", x);
}

/** y = the square root of x >= 0. Gradient: dy / (2 y), infinite at 0. */
export function sqrt(x: Tensor): Tensor {
  return unary("sqrt", x);
}
