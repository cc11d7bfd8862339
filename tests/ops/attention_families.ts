import { Gpu } from "../../lib/gpu/gpu.ts";
import { Random } from "../../lib/random.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { sizeOf } from "../../lib/tensor/shape.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { withoutSubgroups } from "../gpu/adapters.ts";
import { assertClose } from "./check.ts";

/** An op and the shapes of its inputs. */
export interface Case {
  readonly shapes: readonly (readonly number[])[];
  readonly op: (...inputs: Tensor[]) => Tensor;
}

/** Output and all gradients on a device, for inputs that depend on the shapes alone. */
export async function results(gpu: Gpu, { shapes, op }: Case): Promise<Float32Array[]> {
  using _ = new Scope(gpu);
  const random = new Random("attention families");
  const inputs = shapes.map((shape) =>
    Tensor.from(gpu, Float32Array.from({ length: sizeOf(shape) }, () => random.normal()), shape)
      .setParameter(true)
  );
  const out = op(...inputs);
  const weights = Float32Array.from({ length: out.size }, () => random.normal());
  sum(mul(out, Tensor.from(gpu, weights, out.shape))).backward();
  const values = await Promise.all([out, ...inputs.map((x) => x.grad!)].map((x) => x.data()));
  for (const x of inputs) x.zeroGrad();
  return values;
}

/** f32 sums of many terms in two orders: errors are in proportion to the terms, not to what is left. */
export function assertSame(actual: Float32Array, expected: Float32Array, what: string): void {
  const size = Math.sqrt(expected.reduce((sum, x) => sum + x * x, 0) / expected.length);
  assertClose(actual, expected, { atol: 2e-5 * size, rtol: 2e-5 }, what);
}

/** Asserts that the kernels for CPUs and for GPUs come to the same output and gradients. */
export async function assertFamiliesAgree(problem: Case): Promise<void> {
  using other = await Gpu.open({ gpu: withoutSubgroups });
  const [own, tiled] = [await results(gpu, problem), await results(other, problem)];
  own.forEach((values, i) => assertSame(tiled[i], values, `result ${i}`));
}
