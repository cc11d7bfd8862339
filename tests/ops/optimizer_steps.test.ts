import { assertEquals, assertThrows } from "@std/assert";
import { Random } from "../../lib/random.ts";
import { fill, zeros } from "../../lib/tensor/ops/fill.ts";
import { adamStep, globalNormClip, unscaledStep } from "../../lib/tensor/ops/optimizer_steps.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { sizeOf } from "../../lib/tensor/shape.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { assertClose, f32Tolerance } from "./check.ts";

const hyper = { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8 };

/** Adam as the papers write it, in float64: bias-corrected moments, one element at a time. */
class Adam64 {
  readonly m: Float64Array;
  readonly v: Float64Array;
  #step = 0;

  constructor(readonly parameter: Float64Array) {
    this.m = new Float64Array(parameter.length);
    this.v = new Float64Array(parameter.length);
  }

  step(grad: Float64Array, options: { weightDecay: number; decoupled: boolean }): void {
    const { lr, beta1, beta2, eps } = hyper;
    const { weightDecay, decoupled } = options;
    this.#step++;
    this.parameter.forEach((p, i) => {
      const g = grad[i] + (decoupled ? 0 : weightDecay * p);
      this.m[i] = beta1 * this.m[i] + (1 - beta1) * g;
      this.v[i] = beta2 * this.v[i] + (1 - beta2) * g * g;
      const mHat = this.m[i] / (1 - beta1 ** this.#step);
      const vHat = this.v[i] / (1 - beta2 ** this.#step);
      this.parameter[i] = p - (decoupled ? lr * weightDecay * p : 0) -
        lr * mHat / (Math.sqrt(vHat) + eps);
    });
  }
}

for (const decoupled of [false, true]) {
  for (const maxNorm of [1, 1e6]) {
    const name = `five steps of ${decoupled ? "AdamW" : "Adam"}, gradients clipped to ${maxNorm}`;
    Deno.test(`${name}, match float64`, async () => {
      using _ = new Scope(gpu);
      const random = new Random(name);
      const normal = (size: number) => Float32Array.from({ length: size }, () => random.normal());
      const shapes = [[], [3], [5, 7], [16, 64]];
      const starts = shapes.map((shape) => normal(sizeOf(shape)));
      const expected = starts.map((start) => new Adam64(Float64Array.from(start)));
      const parameters = starts.map((start, i) => Tensor.from(gpu, start, shapes[i]));
      const moments = shapes.map((shape) => ({ m: zeros(gpu, shape), v: zeros(gpu, shape) }));
      const options = { weightDecay: 0.1, decoupled };
      for (let step = 1; step <= 5; step++) {
        const grads = starts.map((start) => normal(start.length).map((g) => g * 10 ** (step - 3)));
        const norm = Math.sqrt(grads.reduce((sum, g) => g.reduce((s, v) => s + v * v, sum), 0));
        const factor = Math.min(1, maxNorm / (norm + 1e-6));
        grads.forEach((grad, i) =>
          expected[i].step(Float64Array.from(grad, (g) => factor * g), options)
        );
        const tensors = grads.map((grad, i) => Tensor.from(gpu, grad, shapes[i]));
        const clip = globalNormClip(tensors, { maxNorm });
        assertClose([await clip.norm.item()], [norm], { atol: 0, rtol: 1e-5 }, "norm");
        assertClose([await clip.scale.item()], [factor], { atol: 0, rtol: 1e-5 }, "scale");
        tensors.forEach((grad, i) =>
          adamStep({
            parameter: parameters[i],
            grad,
            ...moments[i],
            ...hyper,
            ...options,
            step,
            gradScale: clip.scale,
          })
        );
        for (const i of shapes.keys()) {
          const what = `${name}: step ${step}, parameter ${i}`;
          assertClose(await parameters[i].data(), expected[i].parameter, f32Tolerance, what);
          assertClose(await moments[i].m.data(), expected[i].m, f32Tolerance, `${what}: m`);
          assertClose(await moments[i].v.data(), expected[i].v, f32Tolerance, `${what}: v`);
        }
      }
    });
  }
}

Deno.test("a scaled step is unscaled and clipped, and skipped where a gradient is not finite", async () => {
  using _ = new Scope(gpu);
  const [scale, state] = [fill(gpu, [], 8), zeros(gpu, [3])];
  const rule = { maxNorm: 1, betas: [0.9, 0.999], growth: 2, backoff: 0.5, interval: 2 } as const;
  const [parameter, m, v] = [fill(gpu, [2], 1), zeros(gpu, [2]), zeros(gpu, [2])];
  const take = async (values: number[]) => {
    const grad = Tensor.from(gpu, values, [2]);
    const { norm, step } = unscaledStep([grad], { ...rule, scale, state });
    const adam = { parameter, grad, m, v, ...hyper, weightDecay: 0, decoupled: false };
    adamStep({ ...adam, step: 0, scaledStep: step });
    return [await norm.item(), await scale.item(), ...await parameter.data()];
  };
  const tolerance = { atol: 1e-9, rtol: 1e-5 };
  assertClose(await take([24, -32]), [5, 8, 0.99, 1.01], tolerance, "the first step of Adam");
  const [norm, ...others] = await take([1, Infinity]);
  assertEquals(Number.isFinite(norm), false);
  assertClose(others, [4, 0.99, 1.01], tolerance, "a skipped step");
  assertClose(await take([12, -16]), [5, 4, 0.98, 1.02], tolerance, "the second");
  assertClose(await take([12, -16]), [5, 8, 0.97, 1.03], tolerance, "the third, at which it grows");
  const corrections = [1 - 0.9 ** 3, 1 - 0.999 ** 3];
  assertClose(await state.data(), [0, ...corrections], tolerance, "corrections of three steps");
});

Deno.test("the global norm ignores what follows a gradient in its buffer", async () => {
  using _ = new Scope(gpu);
  Tensor.from(gpu, [7, 7, 7, 7], [4]).dispose(); // the pool lends its buffer again
  const { norm, scale } = globalNormClip([Tensor.from(gpu, [3, 4], [2])], { maxNorm: 10 });
  assertEquals(await norm.item(), 5);
  assertEquals(await scale.item(), 1);
});

Deno.test("the global norm of a large gradient adds up every part of it", async () => {
  using _ = new Scope(gpu);
  const size = 300_001;
  const large = Tensor.from(gpu, new Float32Array(size).fill(2), [size]);
  const { norm } = globalNormClip([large, Tensor.scalar(gpu, 1)], { maxNorm: 1 });
  assertClose([await norm.item()], [Math.sqrt(4 * size + 1)], { atol: 0, rtol: 1e-6 }, "norm");
});

Deno.test("adamStep refuses a gradient of another size, and clipping no gradients", () => {
  using _ = new Scope(gpu);
  const [two, three] = [zeros(gpu, [2]), zeros(gpu, [3])];
  const step = { m: two, v: two, ...hyper, weightDecay: 0, step: 1, decoupled: false };
  assertThrows(() => adamStep({ parameter: two, grad: three, ...step }), Error, "gradient [3]");
  assertThrows(() => globalNormClip([], { maxNorm: 1 }), Error, "no gradient");
});
