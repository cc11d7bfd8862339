import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { learningRateAt } from "../../lib/train/schedule.ts";

const options = { learningRate: 0.4, warmupSteps: 4, totalSteps: 20 };

Deno.test("the learning rate warms up linearly, from the first step on", () => {
  const rates = [0, 1, 2, 3, 4, 19].map((step) =>
    learningRateAt(step, { ...options, schedule: "constant" })
  );
  assertEquals(rates.map((rate) => Number(rate.toFixed(12))), [0.1, 0.2, 0.3, 0.4, 0.4, 0.4]);
});

Deno.test("the cosine goes from the full rate past the half to almost nothing", () => {
  assertAlmostEquals(learningRateAt(10, options), 0.2, 1e-12);
  assertAlmostEquals(learningRateAt(5, options), 0.4 * (0.5 + 0.5 * Math.SQRT1_2), 1e-12);
  assertAlmostEquals(learningRateAt(20, options), 0, 1e-12);
  assertAlmostEquals(learningRateAt(25, options), 0, 1e-12);
  assert(learningRateAt(19, options) < 0.01 && learningRateAt(19, options) > 0);
  // In the warm-up both factors hold.
  assertAlmostEquals(
    learningRateAt(1, options),
    0.4 * 0.5 * (0.5 + 0.5 * Math.cos(Math.PI / 20)),
    1e-12,
  );
});

Deno.test("without a warm-up the first step has the full rate", () => {
  assertEquals(learningRateAt(0, { ...options, warmupSteps: 0 }), 0.4);
  assertEquals(learningRateAt(0, { learningRate: 1, warmupSteps: 0, totalSteps: 0 }), 1);
});
