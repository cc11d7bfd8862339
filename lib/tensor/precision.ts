import type { Precision } from "../../kernels/operands.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { Tape } from "./tape.ts";

export type { Precision };

/**
 * Runs `compute` with the operands of matrix products and attention in a precision, as torch.autocast does. All sums,
 * normalisation, softmax and losses stay f32, and so do the tensors themselves. The backward pass of what is computed
 * here is in the same precision, wherever it runs.
 *
 * @throws {Error} if `compute` returns a promise.
 */
export function withPrecision<T>(gpu: Gpu, precision: Precision, compute: () => T): T {
  return Tape.of(gpu).during(
    "withPrecision",
    { field: "precision", value: precision },
    compute,
  );
}
