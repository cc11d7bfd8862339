import { assert, assertEquals } from "@std/assert";
import { Random } from "../../lib/random.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { sizeOf } from "../../lib/tensor/shape.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import type { Gpu } from "../../lib/gpu/gpu.ts";
import { gpu as own } from "../gpu.ts";

/** A float64 array with a shape: what the references compute with. */
export interface Reference {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** |actual - expected| <= atol + rtol |expected|, for every element. */
export interface Tolerance {
  readonly atol: number;
  readonly rtol: number;
}

/** Tolerance for f32 arithmetic in another order. */
export const f32Tolerance: Tolerance = { atol: 2e-5, rtol: 2e-4 };

/** One op at one set of shapes, beside its float64 reference. */
export interface OpCase {
  /** The device, by default that of all tests. */
  readonly gpu?: Gpu;
  /** Shapes of the inputs. */
  readonly inputs: readonly (readonly number[])[];
  /** Makes elements of the inputs; by default standard normal. */
  readonly sample?: (random: Random, input: number) => number;
  /** Inputs whose gradient is not checked (targets, indices). */
  readonly constant?: readonly number[];
  /** The op under test. */
  readonly op: (...inputs: Tensor[]) => Tensor;
  /** The same in float64. */
  readonly reference: (...inputs: Reference[]) => Reference;
  readonly tolerance?: Tolerance;
  readonly seed?: number;
}

/** Gets the largest error of a comparison, in units of its tolerance: `globalThis.onError`, where it is set. */
export type ErrorListener = (ratio: number, what: string) => void;

/** Throws with the worst element unless all are within the tolerance. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  { atol, rtol }: Tolerance,
  what: string,
): void {
  assertEquals(actual.length, expected.length, `${what}: number of elements`);
  let worst = -1;
  let worstRatio = -1;
  for (let i = 0; i < expected.length; i++) {
    const ratio = Math.abs(actual[i] - expected[i]) / (atol + rtol * Math.abs(expected[i]));
    if (!(ratio <= worstRatio)) {
      worst = i;
      worstRatio = ratio;
      if (Number.isNaN(ratio)) break;
    }
  }
  (globalThis as { onError?: ErrorListener }).onError?.(worstRatio, what);
  assert(
    worstRatio <= 1,
    `${what}: element ${worst} is ${actual[worst]}, not ${expected[worst]} (${
      worstRatio.toFixed(1)
    } x the tolerance)`,
  );
}

/**
 * Checks an op's values against its float64 reference, and its gradients, through a random linear
 * functional of the output, against central differences of that reference.
 */
export async function checkOp(name: string, test: OpCase): Promise<void> {
  const { gpu = own } = test;
  const random = new Random(test.seed ?? name);
  const sample = test.sample ?? ((random) => random.normal());
  const references: Reference[] = test.inputs.map((shape, input) => ({
    shape,
    data: Float64Array.from({ length: sizeOf(shape) }, () => Math.fround(sample(random, input))),
  }));
  const tolerance = test.tolerance ?? f32Tolerance;
  const expected = test.reference(...references);
  const weights = Float64Array.from(expected.data, () => Math.fround(random.normal()));

  using _ = new Scope(gpu);
  const inputs = references.map(({ shape, data }, i) =>
    Tensor.from(gpu, Float32Array.from(data), shape)
      .setParameter(!test.constant?.includes(i))
  );
  const output = test.op(...inputs);
  assertEquals([...output.shape], [...expected.shape], `${name}: shape`);
  assertClose(await output.data(), expected.data, tolerance, name);
  if (!inputs.some((input) => input.isParameter)) return;
  sum(mul(output, Tensor.from(gpu, Float32Array.from(weights), output.shape))).backward();

  for (const [i, input] of inputs.entries()) {
    if (!input.isParameter) continue;
    const { data } = references[i];
    const gradient = new Float64Array(data.length);
    const step = 1e-5;
    for (let j = 0; j < data.length; j++) {
      const value = data[j];
      let difference = 0;
      for (const sign of [1, -1]) {
        data[j] = value + sign * step;
        const perturbed = test.reference(...references).data;
        for (let k = 0; k < weights.length; k++) difference += sign * weights[k] * perturbed[k];
      }
      data[j] = value;
      gradient[j] = difference / (2 * step);
    }
    assert(input.grad, `${name}: input ${i} has no gradient`);
    assertEquals([...input.grad.shape], [...input.shape], `${name}: shape of gradient ${i}`);
    assertClose(await input.grad.data(), gradient, tolerance, `${name}: gradient ${i}`);
    input.zeroGrad();
  }
}
