import { assert, assertEquals, assertThrows } from "@std/assert";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { checkpoint, drawOnce } from "../../lib/tensor/checkpoint.ts";
import { add, mul } from "../../lib/tensor/ops/arithmetic.ts";
import { dropout } from "../../lib/tensor/ops/dropout.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { gelu } from "../../lib/tensor/ops/unary.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";

const N = 64;

function wave(phase: number): Tensor {
  const data = Float32Array.from({ length: N * N }, (_, i) => 0.2 * Math.sin(phase + 0.37 * i));
  return Tensor.from(gpu, data, [N, N]);
}

type Around = (x: Tensor, run: (x: Tensor) => Tensor, parameters: Tensor[]) => Tensor;

const plainly: Around = (x, run) => run(x);
const checkpointed: Around = (x, run, parameters) => checkpoint(x, { run, parameters });

/** Output and gradients of two blocks with dropout, each run by `around`; x may be a leaf or frozen. */
async function twoBlocks(around: Around, { trainX }: { trainX: boolean }): Promise<Float32Array[]> {
  using _ = new Scope(gpu);
  let seed = 0;
  const x = wave(0).setParameter(trainX);
  const weights = [wave(1), wave(2)].map((weight) => weight.setParameter(true));
  const block = (weight: Tensor) => (x: Tensor) =>
    add(x, dropout(gelu(matmul(x, weight)), { p: 0.3, seed: drawOnce(gpu, () => ++seed) }));
  const y = weights.reduce((x, weight) => around(x, block(weight), [weight]), x);
  sum(mul(y, wave(3))).backward();
  assertEquals(seed, 2, "a run again draws nothing anew");
  const tensors = [y, ...[x, ...weights].flatMap(({ grad }) => grad ?? [])];
  const values = await Promise.all(tensors.map((tensor) => tensor.data()));
  [x, ...weights].forEach((parameter) => parameter.zeroGrad());
  return values;
}

Deno.test("a checkpointed function gives the same output and gradients, dropout included", async () => {
  for (const trainX of [true, false]) {
    const expected = await twoBlocks(plainly, { trainX });
    const actual = await twoBlocks(checkpointed, { trainX });
    assertEquals(expected.length, trainX ? 4 : 3);
    assertEquals(actual.length, expected.length);
    actual.forEach((values, i) => assertSameBits(values, expected[i], `result ${i}`));
  }
});

Deno.test("checkpoints within a checkpoint give the same output and gradients", async () => {
  const nested: Around = (x, run, parameters) =>
    checkpoint(x, {
      run: (x) => checkpoint(checkpoint(x, { run, parameters }), { run, parameters }),
      parameters,
    });
  const twice: Around = (x, run) => run(run(x));
  const results = async (around: Around) => {
    using _ = new Scope(gpu);
    let seed = 0;
    const weight = wave(1).setParameter(true);
    const run = (x: Tensor) =>
      dropout(gelu(matmul(x, weight)), { p: 0.3, seed: drawOnce(gpu, () => ++seed) });
    const y = around(wave(0), run, [weight]);
    sum(mul(y, wave(3))).backward();
    assertEquals(seed, 2);
    const values = [await y.data(), await weight.grad!.data()];
    weight.zeroGrad();
    return values;
  };
  const expected = await results(twice);
  (await results(nested)).forEach((values, i) =>
    assertSameBits(values, expected[i], `result ${i}`)
  );
});

Deno.test("the tape of a checkpointed function keeps its input alone", () => {
  const kept = (around: Around) => {
    using _ = new Scope(gpu);
    const weight = wave(1).setParameter(true);
    const x = wave(0).setParameter(true);
    const before = gpu.memory.liveBytes;
    let y: Tensor;
    {
      using inner = new Scope(gpu);
      const run = (x: Tensor) => mul(gelu(gelu(matmul(x, weight))), gelu(x));
      y = around(x, run, [weight]);
      inner.handOver(y);
    }
    return gpu.memory.liveBytes - before;
  };
  const matrix = 4 * N * N;
  assertEquals(kept(checkpointed), matrix, "the output; x is the caller's");
  assert(kept(plainly) >= 4 * matrix);
});

Deno.test("where nothing is recorded a checkpoint is a call", () => {
  using _ = new Scope(gpu);
  const frozen = wave(1);
  const run = (x: Tensor) => gelu(matmul(x, frozen));
  assert(!checkpoint(wave(0), { run, parameters: [frozen] }).requiresGrad);
  const trained = wave(2).setParameter(true);
  const quiet = noGrad(
    gpu,
    () => checkpoint(wave(0), { run: (x) => matmul(x, trained), parameters: [trained] }),
  );
  assert(!quiet.requiresGrad);
  assertThrows(() => sum(quiet).backward(), Error, "no parameter lies upstream");
});
