import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { backward } from "../../lib/tensor/autograd.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { linear } from "../../lib/tensor/ops/matmul.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { withPrecision } from "../../lib/tensor/precision.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { GradScaler } from "../../lib/train/grad_scaler.ts";
import { Adam } from "../../lib/train/optimizer.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";

/** torch.amp.GradScaler's update, with its defaults but for the interval. */
class Rule {
  scale = 65536;
  #finite = 0;

  constructor(readonly interval: number) {}

  update(isFinite: boolean): void {
    this.#finite = isFinite ? this.#finite + 1 : 0;
    if (!isFinite) this.scale *= 0.5;
    else if (this.#finite === this.interval) {
      this.scale *= 2;
      this.#finite = 0;
    }
  }
}

Deno.test("steps with gradients that are not finite are skipped, and the scale follows PyTorch's rule", async () => {
  using _ = new Scope(gpu);
  const start = [1, -2, 3];
  const [scaled, plain] = [0, 1].map(() => Tensor.from(gpu, start, [3]).setParameter(true));
  using scaler = new GradScaler(gpu, { growthInterval: 3 });
  const options = { maxGradNorm: 1, weightDecay: 0.1, decoupled: true };
  using adam = new Adam([scaled], { ...options, scaler });
  using expected = new Adam([plain], options);
  const rule = new Rule(3);
  // NaN and infinity, in the first step, in a row, and within and after an interval.
  const bad = [NaN, 0, 0, 0, 0, 0, 0, Infinity, 0, 0, -Infinity, NaN, 0, 0, 0, 0];
  for (const [i, wrong] of bad.entries()) {
    const g = Tensor.from(gpu, [Math.sin(i), wrong, 0.3 * i], [3]);
    const before = await scaled.data();
    backward(sum(mul(scaled, g)), scaler.scale);
    const norm = await adam.step(0.01)!.item();
    const isFinite = wrong === 0;
    assertEquals(Number.isFinite(norm), isFinite, `step ${i}`);
    if (isFinite) {
      assertAlmostEquals(norm, Math.hypot(Math.sin(i), 0.3 * i), 1e-5, `norm of step ${i}`);
      sum(mul(plain, g)).backward();
      expected.step(0.01);
      // Skipped steps count neither for the moments nor for their corrections.
      const [own, other] = [await scaled.data(), await plain.data()];
      own.forEach((value, j) => assertAlmostEquals(value, other[j], 2e-6, `step ${i}`));
    } else assertSameBits(await scaled.data(), before, `step ${i}`);
    rule.update(isFinite);
    assertEquals(await scaler.scale.item(), rule.scale, `scale after step ${i}`);
  }
});

Deno.test("a scale that halves cannot hold is found out by the first product, and then left", async () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, Array(32).fill(0.5), [4, 8]);
  const weight = Tensor.from(gpu, Array(16).fill(1), [2, 8]).setParameter(true);
  using scaler = new GradScaler(gpu);
  using adam = new Adam([weight], { scaler });
  for (const scale of [65536, 32768]) {
    const before = await weight.data();
    assertEquals(await scaler.scale.item(), scale);
    const y = withPrecision(gpu, "f16", () => linear(x, weight));
    backward(sum(y), scaler.scale); // 65536 is beyond the largest half
    adam.step(0.1);
    const isSkipped = scale === 65536;
    assert((await weight.data()).every((value, i) => (value === before[i]) === isSkipped));
  }
});

Deno.test("a scaler that is restored goes on with the same bits", async () => {
  using _ = new Scope(gpu);
  const run = async (from: number[] | null, steps: readonly number[]) => {
    const x = Tensor.from(gpu, [1, 2], [2]).setParameter(true);
    using scaler = new GradScaler(gpu, { growthInterval: 2 });
    if (from) scaler.restore(from);
    using adam = new Adam([x], { maxGradNorm: 1, scaler });
    for (const value of steps) {
      backward(sum(mul(x, Tensor.from(gpu, [value, 1], [2]))), scaler.scale);
      adam.step(0.1);
    }
    return await scaler.state();
  };
  const steps = [1, NaN, 2, 3, Infinity, 1];
  const whole = await run(null, steps);
  assertEquals(
    await run(JSON.parse(JSON.stringify(await run(null, steps.slice(0, 3)))), steps.slice(3)),
    whole,
  );
});
