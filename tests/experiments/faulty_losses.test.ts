import { assert, assertAlmostEquals } from "@std/assert";
import {
  type HostLoss,
  type HostMasks,
  rowsAsClasses,
  selfLoss,
} from "../../experiments/autopsy/faulty_losses.ts";
import { Random } from "../../lib/random.ts";

const shape = [2, 5, 4] as const;
const random = new Random("faulty");
const masks: HostMasks = {
  logits: Float32Array.from({ length: 40 }, () => Math.fround(2 * random.normal())),
  target: Float32Array.from({ length: 40 }, (_, i) => Number(i % 7 < 2)),
  shape,
};

/** The same loss with logits that are not rounded to f32, for differences. */
function lossOf(compute: (masks: HostMasks) => HostLoss, logits: Float64Array): number {
  return compute({ ...masks, logits: logits as unknown as Float32Array }).loss;
}

for (const compute of [rowsAsClasses, selfLoss]) {
  Deno.test(`the gradient of ${compute.name} is that of central differences`, () => {
    const { gradient } = compute(masks);
    let largest = 0;
    for (let i = 0; i < 40; i++) {
      const moved = [1e-5, -1e-5].map((step) => {
        const logits = Float64Array.from(masks.logits);
        logits[i] += step;
        return lossOf(compute, logits);
      });
      largest = Math.max(largest, Math.abs((moved[0] - moved[1]) / 2e-5 - gradient[i]));
    }
    console.log(`${compute.name}: gradients differ by ${largest.toExponential(1)} at most`);
    assert(largest < 1e-7);
  });
}

Deno.test("the faulty losses have the faults that they are named for", () => {
  const target = masks.target.map((t) => 1 - t);
  assertAlmostEquals(selfLoss({ ...masks, target }).loss, selfLoss(masks).loss, 0);
  // Cross-entropy by rows: another 1,000 on each logit costs what Dice, at most 1, can rise by.
  const on = masks.logits.map((x) => x + 1000);
  const more = rowsAsClasses({ ...masks, logits: on }).loss - rowsAsClasses(masks).loss;
  assert(Math.abs(more) < 1, `${more}`);
});
