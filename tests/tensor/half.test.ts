import { assert, assertEquals } from "@std/assert";
import { Random } from "../../lib/random.ts";
import { keepAsIs } from "../../lib/tensor/autograd.ts";
import {
  type ActivationStorage,
  packHalf,
  unpackHalf,
  withStorage,
} from "../../lib/tensor/half.ts";
import { add, mul } from "../../lib/tensor/ops/arithmetic.ts";
import { layerNorm } from "../../lib/tensor/ops/layer_norm.ts";
import { linear } from "../../lib/tensor/ops/matmul.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { gelu } from "../../lib/tensor/ops/unary.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../bits.ts";
import { gpu } from "../gpu.ts";

const { hypot, sin } = Math;

Deno.test("halves hold every binary16 exactly, and other values to 11 bits", async () => {
  // Every finite half: sign, exponent, fraction.
  const exact = [];
  for (const sign of [1, -1]) {
    for (let fraction = 0; fraction < 1024; fraction++) {
      exact.push(sign * fraction * 2 ** -24);
      for (let exponent = -14; exponent <= 15; exponent++) {
        exact.push(sign * (1 + fraction / 1024) * 2 ** exponent);
      }
    }
  }
  const odd = Array.from({ length: 4099 }, (_, i) => 70000 * sin(i) ** 9);
  const values = Float32Array.from([...exact, ...odd]);
  using _ = new Scope(gpu);
  const packed = packHalf(Tensor.from(gpu, values, [values.length]));
  assertEquals([packed.dtype, packed.size], ["u32", 2 * Math.ceil(values.length / 4)]);
  const back = await unpackHalf(packed, [values.length]).data();
  assertSameBits(back.subarray(0, exact.length), values.subarray(0, exact.length), "halves");
  for (let i = exact.length; i < values.length; i++) {
    const value = Math.max(-65504, Math.min(65504, values[i]));
    const error = Math.abs(back[i] - value);
    assert(error <= Math.max(2 ** -24, 2 ** -11 * Math.abs(value)), `${values[i]} -> ${back[i]}`);
  }
});

const [ROWS, CHANNELS] = [128, 96];

function matrix(rows: number, phase: number): Tensor {
  const random = new Random(`matrix ${phase}`);
  const data = Float32Array.from({ length: rows * CHANNELS }, () => random.normal() / 4);
  return Tensor.from(gpu, data, [rows, CHANNELS]);
}

/** Bytes of the tape, output and gradients of a perceptron's block. */
async function block(storage: ActivationStorage) {
  using _ = new Scope(gpu);
  const [ones, zeros, up, down] = [1, 2, CHANNELS, CHANNELS].map((rows, i) =>
    rows < CHANNELS
      ? Tensor.from(gpu, Array(CHANNELS).fill(2 - rows), [CHANNELS]).keep()
      : matrix(rows, i).keep()
  );
  up.setParameter(true);
  const x = matrix(ROWS, 0).setParameter(true);
  const before = gpu.memory.liveBytes;
  let y: Tensor;
  {
    using inner = new Scope(gpu);
    y = withStorage(gpu, storage, () => {
      const h = layerNorm(mul(x, x), ones, zeros); // layerNorm saves x²; linear h, for up
      const g = gelu(linear(h, up)); // gelu saves its input
      return add(x, linear(mul(g, h), down)); // mul saves g, and h once more
    });
    inner.handOver(y);
  }
  const bytes = gpu.memory.liveBytes - before - 4 * y.size;
  const output = await y.data();
  sum(mul(y, matrix(ROWS, 5))).backward();
  const gradients = await Promise.all([x, up].map(({ grad }) => grad!.data()));
  for (const tensor of [x, up]) tensor.zeroGrad();
  for (const tensor of [ones, zeros, up, down]) tensor.dispose();
  return { bytes, output, gradients };
}

Deno.test("a tape of halves takes half the memory, for gradients with 11 bits", async () => {
  const live = gpu.memory.live;
  const [exact, halved] = [await block("f32"), await block("f16")];
  assertEquals(gpu.memory.live, live);
  assertSameBits(halved.output, exact.output, "the forward pass");
  const activation = 4 * ROWS * CHANNELS;
  const statistics = 4 * 2 * ROWS;
  assertEquals(exact.bytes, 4 * activation + statistics, "x², h, gelu's input and output");
  assertEquals(halved.bytes, 4 * activation / 2 + activation / 2 + statistics, "and x in halves");
  halved.gradients.forEach((gradient, i) => {
    const norm = (values: ArrayLike<number>) => hypot(...Array.from(values).slice(0, 10_000));
    const error = norm(gradient.map((value, j) => value - exact.gradients[i][j])) /
      norm(exact.gradients[i]);
    console.log(`gradient ${i} differs by ${error.toExponential(1)}`);
    assert(error > 0 && error < 1e-3, `${error}`);
  });
});

Deno.test("a saved tensor kept as it is shares its memory", () => {
  using x = matrix(2, 0);
  const saved = keepAsIs(x);
  assertEquals(saved.unpack().memory, x.memory);
  assert(x.shared);
  saved.dispose();
  assert(!x.shared);
});
