import { assertEquals, assertThrows } from "@std/assert";
import { diceBceLoss, diceLoss, maskOverlap } from "../../lib/tensor/ops/losses.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { assertClose, checkOp, f32Tolerance } from "./check.ts";
import { bce64, dice64, mean, scalar } from "./references/losses.ts";

const crossEntropy = (logits: Tensor, target: Tensor) =>
  diceBceLoss(logits, target, { diceWeight: 0 }).loss;

for (const shape of [[1, 1], [1, 3], [4, 1], [3, 7, 5], [2, 1, 8, 4], [70, 4]]) {
  Deno.test(`mask losses of [${shape}] and their gradients match float64`, async () => {
    const inputs = {
      inputs: [shape, shape],
      constant: [1],
      sample: (random: { normal(): number; uniform(): number }, input: number) =>
        input === 0 ? 3 * random.normal() : random.uniform() < 0.4 ? 1 : 0,
    };
    await checkOp("cross entropy", {
      ...inputs,
      op: crossEntropy,
      reference: (x, t) => scalar(bce64(x, t)),
    });
    for (const smooth of [1, 0.1]) {
      await checkOp("diceLoss", {
        ...inputs,
        op: (x, t) => diceLoss(x, t, { smooth }),
        reference: (x, t) => scalar(1 - mean(dice64(x, t, smooth))),
      });
    }
    await checkOp("diceBceLoss", {
      ...inputs,
      op: (x, t) => diceBceLoss(x, t, { diceWeight: 0.75, bceWeight: 2 }).loss,
      reference: (x, t) => scalar(2 * bce64(x, t) + 0.75 * (1 - mean(dice64(x, t, 1)))),
    });
    await checkOp("dice of diceBceLoss", {
      ...inputs,
      constant: [0, 1],
      op: (x, t) => diceBceLoss(x, t).dice,
      reference: (x, t) => ({ shape: [shape[0]], data: Float64Array.from(dice64(x, t, 1)) }),
    });
  });
}

Deno.test("mask losses of long samples add up all chunks", async () => {
  using _ = new Scope(gpu);
  const shape = [2, 100, 101];
  const logits = Float32Array.from({ length: 20_200 }, (_, i) => 4 * Math.sin(i));
  const target = Float32Array.from(logits, (_, i) => i % 3 === 0 ? 1 : 0);
  const x = Tensor.from(gpu, logits, shape);
  const t = Tensor.from(gpu, target, shape);
  const references = [logits, target].map((data) => ({ shape, data: Float64Array.from(data) }));
  const [x64, t64] = references;
  assertClose([await crossEntropy(x, t).item()], [bce64(x64, t64)], f32Tolerance, "bce");
  assertClose(
    [await diceLoss(x, t).item()],
    [1 - mean(dice64(x64, t64, 1))],
    f32Tolerance,
    "dice",
  );
});

Deno.test("cross entropy of huge logits is finite and its gradient saturates", async () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, [1e4, -1e4, 1e4, -1e4], [1, 4]).setParameter(true);
  const loss = crossEntropy(x, Tensor.from(gpu, [1, 0, 0, 1], [1, 4]));
  assertClose([await loss.item()], [5000], f32Tolerance, "loss");
  loss.backward();
  assertEquals([...await x.grad!.data()], [0, 0, 0.25, -0.25]);
});

Deno.test("maskOverlap counts positive logits against the target, and 1 where both are empty", async () => {
  using _ = new Scope(gpu);
  const logits = Tensor.from(gpu, [1, 2, -1, 0, -1, -2, -3, -4, 1, 1, -1, -1, -1, -1, -1, -1], [
    4,
    4,
  ]);
  const target = Tensor.from(gpu, [1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 0, 0, 0], [4, 4]);
  assertEquals([...await maskOverlap(logits, target).dice.data()], [0.5, 1, 1, 0]);
});

Deno.test("mask losses refuse a target of another shape or one that wants a gradient", () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, [1, 2, 3, 4], [2, 2]);
  assertThrows(() => diceLoss(x, x.view([4, 1])), Error, "[4, 1]");
  assertThrows(() => diceLoss(x, x.view([2, 2]).setParameter(true)), Error, "detach()");
});
