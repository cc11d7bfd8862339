import { assert, assertEquals, assertThrows } from "@std/assert";
import { conv2d, type Conv2dOptions } from "../../lib/tensor/ops/conv2d.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp, type Reference } from "./check.ts";
import { conv2d64 } from "./references/conv2d.ts";
import { unary64 } from "./references/elementwise.ts";

/** A case by its sizes: x [B, H, W, C], weight [O, I, kh, kw]. */
interface Case extends Conv2dOptions {
  readonly x: readonly number[];
  readonly weight: readonly number[];
}

const dense: Record<string, Case> = {
  "1 x 1": { x: [2, 3, 5, 6], weight: [7, 6, 1, 1] },
  "1 x 1 at stride 2": { x: [2, 3, 5, 4], weight: [3, 4, 1, 1], stride: 2 },
  "3 x 3, padded": { x: [2, 5, 4, 4], weight: [6, 4, 3, 3], padding: 1 },
  "3 x 3 on one channel": { x: [1, 4, 4, 1], weight: [2, 1, 3, 3], padding: 1 },
  "3 x 3 on an image of one row": { x: [1, 1, 6, 4], weight: [4, 4, 3, 3], padding: 1 },
  "3 x 3 on an image of one column": { x: [2, 6, 1, 3], weight: [2, 3, 3, 3], padding: 1 },
  "3 x 3 at stride 2 on odd sides": {
    x: [1, 7, 5, 3],
    weight: [4, 3, 3, 3],
    stride: 2,
    padding: 1,
  },
  "3 x 3 at stride 2 on even sides": {
    x: [2, 6, 4, 3],
    weight: [4, 3, 3, 3],
    stride: 2,
    padding: 1,
  },
  "2 x 2 at stride 2": { x: [1, 4, 6, 1], weight: [4, 1, 2, 2], stride: 2 },
  "4 x 4 patches": { x: [2, 8, 8, 3], weight: [5, 3, 4, 4], stride: 4 },
  "4 x 4 patches with pixels left over": { x: [1, 9, 7, 3], weight: [5, 3, 4, 4], stride: 4 },
  "2 x 3, wider than tall": { x: [1, 4, 5, 4], weight: [3, 4, 2, 3], stride: 3, padding: 1 },
};

const depthwise: Record<string, Case> = {
  "3 x 3": { x: [2, 6, 7, 8], weight: [8, 1, 3, 3], padding: 1, groups: 8 },
  "3 x 3 on five channels": { x: [2, 4, 5, 5], weight: [5, 1, 3, 3], padding: 1, groups: 5 },
  "3 x 3 without padding": { x: [1, 5, 9, 4], weight: [4, 1, 3, 3], groups: 4 },
  "3 x 3 with padding 3": { x: [1, 3, 4, 4], weight: [4, 1, 3, 3], padding: 3, groups: 4 },
  "3 x 3 on one row": { x: [2, 1, 6, 4], weight: [4, 1, 3, 3], padding: 1, groups: 4 },
  "3 x 3 on one column": { x: [2, 6, 1, 4], weight: [4, 1, 3, 3], padding: 1, groups: 4 },
  "3 x 3 on more rows than a tile has": {
    x: [1, 18, 3, 4],
    weight: [4, 1, 3, 3],
    padding: 1,
    groups: 4,
  },
  "3 x 3 at stride 2 on odd sides": {
    x: [1, 7, 5, 8],
    weight: [8, 1, 3, 3],
    stride: 2,
    padding: 1,
    groups: 8,
  },
  "3 x 3 at stride 2 on even sides and five channels": {
    x: [2, 4, 6, 5],
    weight: [5, 1, 3, 3],
    stride: 2,
    padding: 1,
    groups: 5,
  },
  "5 x 3": { x: [1, 6, 5, 4], weight: [4, 1, 5, 3], padding: 2, groups: 4 },
};

for (const [kind, cases] of Object.entries({ dense, depthwise })) {
  for (const [name, { x, weight, ...options }] of Object.entries(cases)) {
    Deno.test(`a ${kind} convolution, ${name}, matches float64 with its gradients`, async () => {
      const bias = [weight[0]];
      for (const inputs of [[x, weight], [x, weight, bias]]) {
        await checkOp(name, {
          inputs,
          op: (x, weight, bias) => conv2d(x, weight, bias, options),
          reference: (x, weight, bias) => conv2d64([x, weight, bias], options),
        });
      }
    });
  }
}

Deno.test("any part of a convolution may be frozen", async () => {
  for (
    const { x, weight, ...options } of [
      dense["1 x 1"],
      dense["3 x 3, padded"],
      depthwise["3 x 3"],
      depthwise["3 x 3 at stride 2 on odd sides"],
    ]
  ) {
    for (const constant of [[0], [1], [2], [0, 1], [0, 2], [1, 2]]) {
      await checkOp(`inputs ${constant} frozen`, {
        inputs: [x, weight, [weight[0]]],
        constant,
        op: (x, weight, bias) => conv2d(x, weight, bias, options),
        reference: (x, weight, bias) => conv2d64([x, weight, bias], options),
      });
    }
  }
});

Deno.test("a frozen kernel costs nothing in backward", () => {
  using _ = new Scope(gpu);
  const dispatches = (frozen: boolean) => {
    const x = Tensor.from(gpu, new Float32Array(4 * 4 * 4), [1, 4, 4, 4]).setParameter(true);
    const weight = Tensor.from(gpu, new Float32Array(36), [4, 1, 3, 3]).setParameter(!frozen);
    const y = conv2d(x, weight, null, { padding: 2, groups: 4 });
    const before = gpu.dispatches;
    y.node!.run(y);
    return gpu.dispatches - before;
  };
  assertEquals(dispatches(true), 1, "the gradient to x alone");
  assert(dispatches(false) > 1, "the gradient to the kernel as well");
});

Deno.test("a batch whose columns are too many at once is right in every image", async () => {
  // 6 MiB of columns an image: five images at a time.
  const [batch, side, channels] = [7, 64, 8];
  const ones = (shape: number[]) =>
    Tensor.from(gpu, new Float32Array(shape.reduce((a, b) => a * b)).fill(1), shape);
  using _ = new Scope(gpu);
  const x = ones([batch, side, side, channels]).setParameter(true);
  const weight = ones([4, channels, 7, 7]).setParameter(true);
  const y = conv2d(x, weight, null, { padding: 3 });
  sum(y).backward();
  // Of ones, every sum is a number of taps inside the image.
  const inside = Array.from({ length: side }, (_, i) => Math.min(i, side - 1 - i, 3) + 4);
  const [data, dx, dWeight] = [await y.data(), await x.grad!.data(), await weight.grad!.data()];
  assertEquals(
    data,
    Float32Array.from(data, (_, i) => {
      const pixel = Math.floor(i / 4) % (side * side);
      return channels * inside[Math.floor(pixel / side)] * inside[pixel % side];
    }),
  );
  assertEquals(
    dx,
    Float32Array.from(dx, (_, i) => {
      const pixel = Math.floor(i / channels) % (side * side);
      return 4 * inside[Math.floor(pixel / side)] * inside[pixel % side];
    }),
  );
  assertEquals(
    dWeight,
    Float32Array.from(dWeight, (_, i) => {
      const [ky, kx] = [Math.floor(i / 7) % 7, i % 7];
      return batch * (side - Math.abs(ky - 3)) * (side - Math.abs(kx - 3));
    }),
  );
});

Deno.test("conv2d refuses shapes that do not fit, naming them", () => {
  using _ = new Scope(gpu);
  const zeros = (...shape: number[]) =>
    Tensor.from(gpu, new Float32Array(shape.reduce((a, b) => a * b)), shape);
  const refused = (x: Tensor, weight: Tensor, options: Conv2dOptions, message: string) =>
    assertThrows(() => conv2d(x, weight, null, options), Error, message);
  refused(zeros(1, 4, 4, 3), zeros(2, 4, 3, 3), {}, "x [1, 4, 4, 3] and weight [2, 4, 3, 3]");
  refused(zeros(1, 4, 4, 4), zeros(4, 2, 3, 3), { groups: 2 }, "only 1 group and depthwise");
  refused(zeros(1, 4, 4, 4), zeros(4, 4, 5, 5), {}, "does not fit into [1, 4, 4, 4]");
});

Deno.test("convolutions with a residual and GELU match float64, recorded or not", async () => {
  const cases: Case[] = [
    { x: [2, 3, 4, 8], weight: [4, 8, 1, 1] }, // a linear layer
    { x: [1, 4, 5, 4], weight: [8, 4, 3, 3], padding: 1 }, // by columns
    { x: [1, 4, 5, 8], weight: [8, 1, 3, 3], padding: 1, groups: 8 }, // depthwise
  ];
  for (const { x, weight, ...options } of cases) {
    const [batch, h, w] = x;
    const out = [batch, h, w, weight[0]];
    const reference = (...[x, weight, bias, residual]: Reference[]) => {
      const y = conv2d64([x, weight, bias], options);
      return { ...y, data: y.data.map((v, i) => unary64.gelu(v + (residual?.data[i] ?? 0))) };
    };
    const op = (x: Tensor, weight: Tensor, bias: Tensor, residual?: Tensor) =>
      conv2d(x, weight, bias, { ...options, residual, activation: "gelu" });
    for (const inputs of [[x, weight, [weight[0]]], [x, weight, [weight[0]], out]]) {
      await checkOp("conv2d and GELU", { inputs, op, reference });
      await checkOp("frozen", { inputs, constant: [0, 1, 2, 3], op, reference });
    }
  }
});
