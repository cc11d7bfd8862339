import { Random } from "../../lib/random.ts";
import { add, div, mul, sub } from "../../lib/tensor/ops/arithmetic.ts";
import { attention, qkvAttention } from "../../lib/tensor/ops/attention.ts";
import { conv2d } from "../../lib/tensor/ops/conv2d.ts";
import { convTranspose2d } from "../../lib/tensor/ops/conv_transpose2d.ts";
import { decomposedAttention } from "../../lib/tensor/ops/decomposed_attention.ts";
import { dropout } from "../../lib/tensor/ops/dropout.ts";
import { fill } from "../../lib/tensor/ops/fill.ts";
import { gather } from "../../lib/tensor/ops/gather.ts";
import { layerNorm } from "../../lib/tensor/ops/layer_norm.ts";
import { loraLinear } from "../../lib/tensor/ops/lora_linear.ts";
import { diceBceLoss, diceLoss } from "../../lib/tensor/ops/losses.ts";
import { linear, matmul } from "../../lib/tensor/ops/matmul.ts";
import { concat, expand, permute, reshape, slice } from "../../lib/tensor/ops/movement.ts";
import { resizeBilinear } from "../../lib/tensor/ops/resize.ts";
import { softmax } from "../../lib/tensor/ops/softmax.ts";
import { mean, sum } from "../../lib/tensor/ops/sum.ts";
import { gelu, relu, scale, sigmoid, sqrt } from "../../lib/tensor/ops/unary.ts";
import { crop2d, windowTokens } from "../../lib/tensor/ops/window.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { sizeOf } from "../../lib/tensor/shape.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp, type OpCase } from "./check.ts";
import { attention64, qkvAttention64 } from "./references/attention.ts";
import { conv2d64 } from "./references/conv2d.ts";
import { convTranspose2d64 } from "./references/conv_transpose2d.ts";
import { decomposedAttention64 } from "./references/decomposed_attention.ts";
import { broadcast, map, unary64 } from "./references/elementwise.ts";
import { gather64 } from "./references/gather.ts";
import { layerNorm64 } from "./references/layer_norm.ts";
import { bce64, dice64, mean as meanOf, scalar } from "./references/losses.ts";
import { linear64, loraLinear64, matmul64 } from "./references/matmul.ts";
import { concat64, moved } from "./references/movement.ts";
import { resizeBilinear64 } from "./references/resize.ts";
import { softmax64 } from "./references/softmax.ts";
import { reduce64 } from "./references/sum.ts";
import { frame, inWindows64, windowTokens64 } from "./references/window.ts";

/** Another seed draws other shapes: SAMLORA_SEED=7 deno task test:long. */
const seed = Deno.env.get("SAMLORA_SEED") ?? "0";

/** Shapes that a test draws, of each op that it holds. */
const DRAWS = 8;

/** One draw: a case, and what was drawn beyond the shapes of its inputs. */
interface Draw extends OpCase {
  readonly drawn?: Record<string, unknown>;
}

/** Checks an op at shapes that `draw` makes of a stream of random numbers of its own. */
function testAtRandomShapes(op: string, draw: (random: Random) => Draw | Promise<Draw>): void {
  Deno.test(`${op} matches float64 with its gradients at random shapes of seed ${seed}`, async () => {
    const random = new Random(`${seed}/${op}`);
    for (let i = 0; i < DRAWS; i++) {
      const { drawn = {}, ...test } = await draw(random);
      const shapes = test.inputs.map((shape) => `[${shape}]`).join(", ");
      // The name is what a failure shows, so it tells all that was drawn.
      const name = `${op} of ${shapes} ${JSON.stringify(drawn)}`;
      await checkOp(name, { ...test, seed: random.int(2 ** 31) });
    }
  });
}

/** A whole number from `low` to `high`, both included. */
function between(random: Random, [low, high]: readonly [number, number]): number {
  return low + random.int(high - low + 1);
}

function oneOf<T>(random: Random, items: readonly T[]): T {
  return items[random.int(items.length)];
}

const coin = (random: Random): boolean => random.uniform() < 0.5;

/**
 * Sizes from 1 to 20 of `rank` axes, by default of 1 to 4, drawn again until there are no more elements
 * than `elements`.
 */
function shapeOf(
  random: Random,
  { rank = between(random, [1, 4]), elements = 160 }: { rank?: number; elements?: number } = {},
): number[] {
  while (true) {
    const shape = Array.from({ length: rank }, () => between(random, [1, 20]));
    if (sizeOf(shape) <= elements) return shape;
  }
}

/** A shape that broadcasts to `shape`: some axes of size 1, some leading ones left out. */
function broadcastable(random: Random, shape: readonly number[]): number[] {
  const sizes = shape.map((size) => random.uniform() < 0.35 ? 1 : size);
  return sizes.slice(coin(random) ? 0 : random.int(shape.length + 1));
}

for (const [name, op] of Object.entries({ add, sub, mul, div })) {
  const numbers = {
    add: (a: number, b: number) => a + b,
    sub: (a: number, b: number) => a - b,
    mul: (a: number, b: number) => a * b,
    div: (a: number, b: number) => a / b,
  };
  testAtRandomShapes(name, (random) => {
    const shape = shapeOf(random);
    const inputs = [broadcastable(random, shape), broadcastable(random, shape)];
    return {
      inputs,
      // Divisors near 0 would magnify rounding.
      sample: (random, input) =>
        name === "div" && input === 1
          ? oneOf(random, [-1, 1]) * random.uniformIn(0.5, 2)
          : random.normal(),
      op,
      reference: broadcast(numbers[name as keyof typeof numbers]),
    };
  });
}

/** Elements of the unary functions' inputs: not where one bends too much for a difference of values. */
function unarySample(name: string): (random: Random) => number {
  if (name === "sqrt") return (random) => random.uniformIn(0.5, 4);
  if (name === "relu") return (random) => oneOf(random, [-1, 1]) * random.uniformIn(0.01, 4);
  return (random) => 2 * random.normal();
}

for (const [name, op] of Object.entries({ relu, gelu, sigmoid, sqrt })) {
  testAtRandomShapes(name, (random) => ({
    inputs: [shapeOf(random)],
    sample: unarySample(name),
    op,
    reference: map(unary64[name as keyof typeof unary64]),
  }));
}

testAtRandomShapes("scale", (random) => {
  const factor = Math.fround(random.normal());
  return {
    inputs: [shapeOf(random)],
    drawn: { factor },
    op: (x) => scale(x, factor),
    reference: map((x) => factor * x),
  };
});

for (const [name, op] of Object.entries({ sum, mean })) {
  testAtRandomShapes(name, (random) => {
    const shape = shapeOf(random);
    const axes = [...shape.keys()].filter(() => coin(random))
      .map((axis) => coin(random) ? axis : axis - shape.length);
    const options = { axes: coin(random) ? axes : undefined, keepDims: coin(random) };
    return {
      inputs: [shape],
      drawn: options,
      op: (x) => op(x, options),
      reference: (x) => reduce64(x, { ...options, average: name === "mean" }),
    };
  });
}

testAtRandomShapes("matmul", (random) => {
  const [m, n, k] = shapeOf(random, { rank: 3, elements: 400 });
  const lead = shapeOf(random, { rank: random.int(3), elements: 4 });
  const options = { transposeA: coin(random), transposeB: coin(random) };
  const a = [...lead, ...(options.transposeA ? [k, m] : [m, k])];
  const b = options.transposeB ? [n, k] : [k, n];
  return {
    inputs: [a, coin(random) ? b : [...lead, ...b]],
    drawn: options,
    op: (a, b) => matmul(a, b, options),
    reference: (a, b) => matmul64([a, b], options),
  };
});

testAtRandomShapes("linear", (random) => {
  const [rows, inp, out] = shapeOf(random, { rank: 3, elements: 1000 });
  const x = [...oneOf(random, [[], [1], [2], [2, 1]]), rows, inp];
  return {
    inputs: [x, [out, inp], ...(coin(random) ? [[out]] : [])],
    op: (x: Tensor, weight: Tensor, bias?: Tensor) => linear(x, weight, bias),
    reference: linear64,
  };
});

testAtRandomShapes("loraLinear", (random) => {
  const [rows, inp, out] = shapeOf(random, { rank: 3, elements: 600 });
  const rank = between(random, [1, 8]);
  const x = [...oneOf(random, [[], [1], [2]]), rows, inp];
  const scaling = random.uniformIn(0.25, 4);
  return {
    inputs: [x, [rank, inp], [out, rank], [out, inp], ...(coin(random) ? [[out]] : [])],
    constant: coin(random) ? [3, 4] : [],
    drawn: { scaling },
    op: (x, loraA, loraB, weight, bias) =>
      loraLinear(x, { weight, bias: bias ?? null, loraA, loraB, scaling }),
    reference: loraLinear64(scaling),
  };
});

testAtRandomShapes("layerNorm", (random) => {
  const shape = shapeOf(random);
  const channels = [shape.at(-1)!];
  const eps = random.uniformIn(0.05, 0.5); // a variance near 0 would magnify rounding
  return {
    inputs: [shape, channels, channels],
    drawn: { eps },
    op: (x, weight, bias) => layerNorm(x, weight, bias, { eps }),
    reference: (x, weight, bias) => layerNorm64([x, weight, bias], { eps }),
  };
});

testAtRandomShapes("softmax", (random) => ({
  inputs: [shapeOf(random)],
  sample: (random) => 3 * random.normal(),
  op: softmax,
  reference: softmax64,
}));

testAtRandomShapes("attention", (random) => {
  const [queries, keys] = shapeOf(random, { rank: 2, elements: 80 });
  const heads = between(random, [1, 3]);
  const width = heads * between(random, [1, 5]);
  const batch = between(random, [1, 2]);
  return {
    inputs: [[batch, queries, width], [batch, keys, width], [batch, keys, width]],
    drawn: { heads },
    op: (q, k, v) => attention(q, k, v, { heads }),
    reference: (q, k, v) => attention64([q, k, v], { heads }),
  };
});

for (const layout of ["per-head", "thirds"] as const) {
  for (const withBias of [false, true]) {
    testAtRandomShapes(
      `qkvAttention (${layout}, ${withBias ? "with" : "without"} bias)`,
      (random) => {
        const [batch, heads] = [between(random, [1, 2]), between(random, [1, 3])];
        const n = between(random, [1, withBias ? 7 : 11]);
        const channels = 3 * heads * between(random, [1, 5]);
        const scale = random.uniformIn(0.2, 1);
        return {
          inputs: [[batch, n, channels], ...(withBias ? [[heads, n, n]] : [])],
          drawn: { heads, scale },
          op: (qkv, bias) => qkvAttention(qkv, { heads, layout, bias, scale }),
          reference: (qkv, bias) => qkvAttention64(qkv, { heads, layout, bias, scale }),
        };
      },
    );
  }
}

testAtRandomShapes("decomposedAttention", (random) => {
  const [height, width] = shapeOf(random, { rank: 2, elements: 14 });
  const [batch, heads, depth] = [2, 3, 5].map((high) => between(random, [1, high]));
  const grid = [height, width] as const;
  return {
    inputs: [
      [batch, height * width, 3 * heads * depth],
      [2 * height - 1, depth],
      [2 * width - 1, depth],
    ],
    drawn: { heads, grid },
    op: (qkv, relPosH, relPosW) => decomposedAttention(qkv, { relPosH, relPosW }, { heads, grid }),
    reference: (...inputs) => decomposedAttention64({ batch, heads, depth, grid }, inputs),
  };
});

/** Options of a convolution, and an image [B, H, W, C] that its kernel fits into. */
function convolution(random: Random, { elements }: { elements: number }) {
  const kernel = [between(random, [1, 5]), between(random, [1, 5])];
  if (coin(random)) kernel[1] = kernel[0] = between(random, [1, 4]);
  const [stride, padding] = [between(random, [1, 4]), between(random, [0, 3])];
  const [batch, height, width, channels] = shapeOf(random, { rank: 4, elements });
  const [h, w] = [height, width].map((size, axis) => Math.max(size, kernel[axis] - 2 * padding));
  return { x: [batch, h, w, channels], kernel, stride, padding };
}

testAtRandomShapes("conv2d, dense,", (random) => {
  const { x, kernel, ...options } = convolution(random, { elements: 160 });
  const out = between(random, [1, 5]);
  return {
    inputs: [x, [out, x[3], ...kernel], ...(coin(random) ? [[out]] : [])],
    drawn: options,
    op: (x, weight, bias) => conv2d(x, weight, bias, options),
    reference: (x, weight, bias) => conv2d64([x, weight, bias], options),
  };
});

testAtRandomShapes("conv2d, depthwise,", (random) => {
  const { x, kernel, ...rest } = convolution(random, { elements: 200 });
  const options = { ...rest, groups: x[3] };
  return {
    inputs: [x, [x[3], 1, ...kernel], ...(coin(random) ? [[x[3]]] : [])],
    drawn: options,
    op: (x, weight, bias) => conv2d(x, weight, bias, options),
    reference: (x, weight, bias) => conv2d64([x, weight, bias], options),
  };
});

testAtRandomShapes("convTranspose2d", (random) => {
  const kernel = [between(random, [1, 4]), between(random, [1, 4])];
  const stride = between(random, [1, 3]);
  const [h, w] = shapeOf(random, { rank: 2, elements: 16 });
  // At least one pixel is left.
  const smallest = Math.min((h - 1) * stride + kernel[0], (w - 1) * stride + kernel[1]);
  const options = { stride, padding: random.int(Math.min(3, Math.ceil(smallest / 2))) };
  const [batch, inp, out] = [2, 5, 5].map((high) => between(random, [1, high]));
  return {
    inputs: [[batch, h, w, inp], [inp, out, ...kernel], ...(coin(random) ? [[out]] : [])],
    drawn: options,
    op: (x, weight, bias) => convTranspose2d(x, weight, bias, options),
    reference: (x, weight, bias) => convTranspose2d64([x, weight, bias], options),
  };
});

testAtRandomShapes("resizeBilinear", (random) => {
  const [height, width] = shapeOf(random, { rank: 2 });
  return {
    inputs: [shapeOf(random, { rank: 4 })],
    drawn: { to: [height, width] },
    op: (x) => resizeBilinear(x, [height, width]),
    reference: (x) => resizeBilinear64(x, [height, width]),
  };
});

testAtRandomShapes("crop2d", (random) => {
  const x = shapeOf(random, { rank: 4 });
  const [height, width] = [between(random, [1, x[1]]), between(random, [1, x[2]])];
  return {
    inputs: [x],
    drawn: { height, width },
    op: (x) => crop2d(x, { height, width }),
    reference: (x) => frame(x, [height, width]),
  };
});

testAtRandomShapes("windowTokens", (random) => {
  const size = between(random, [1, 5]);
  return {
    inputs: [shapeOf(random, { rank: 4, elements: 40 })],
    drawn: { size },
    op: (x) => windowTokens(x, size),
    reference: (x) => windowTokens64(x, size),
  };
});

for (const withBias of [false, true]) {
  testAtRandomShapes(
    `qkvAttention within windows, ${withBias ? "with" : "without"} bias`,
    (random) => {
      const { qkv, heads, size, images } = windowed(random, { tokens: 12 });
      const windows = { size, images };
      const layout = coin(random) ? "per-head" as const : "thirds" as const;
      const n = size * size;
      const scale = random.uniformIn(0.2, 1);
      return {
        inputs: [qkv, ...(withBias ? [[heads, n, n]] : [])],
        drawn: { heads, layout, windows, scale },
        op: (qkv, bias) => qkvAttention(qkv, { heads, layout, bias, scale, windows }),
        reference: (qkv, bias) =>
          inWindows64(qkv, {
            ...windows,
            attend: (qkv) => qkvAttention64(qkv, { heads, layout, bias, scale }),
          }),
      };
    },
  );
}

testAtRandomShapes("decomposedAttention within windows", (random) => {
  const { qkv, heads, depth, size, images } = windowed(random, { tokens: 14 });
  const grid = [size, size] as const;
  const windows = { size, images };
  return {
    inputs: [qkv, [2 * size - 1, depth], [2 * size - 1, depth]],
    drawn: { heads, windows },
    op: (qkv, relPosH, relPosW) =>
      decomposedAttention(qkv, { relPosH, relPosW }, { heads, grid, windows }),
    reference: (qkv, ...tables) =>
      inWindows64(qkv, {
        ...windows,
        attend: (qkv) =>
          decomposedAttention64({ batch: qkv.shape[0], heads, depth, grid }, [qkv, ...tables]),
      }),
  };
});

/** The shape of a fused projection of images cut into windows. */
function windowed(random: Random, { tokens }: { tokens: number }) {
  const [height, width] = shapeOf(random, { rank: 2, elements: tokens });
  const images = [between(random, [1, 2]), height, width] as const;
  const size = between(random, [1, 4]);
  const [heads, depth] = [between(random, [1, 2]), between(random, [1, 5])];
  const padding = height % size || width % size ? 1 : 0;
  const qkv = [images[0] * height * width + padding, 3 * heads * depth];
  return { qkv, heads, depth, size, images };
}

testAtRandomShapes("reshape", (random) => {
  const shape = shapeOf(random);
  const to = random.shuffle(shape);
  const unknown = random.int(to.length);
  return {
    inputs: [shape],
    drawn: { to },
    op: (x) => reshape(x, to.with(unknown, -1)),
    reference: ({ data }) => ({ shape: to, data }),
  };
});

testAtRandomShapes("permute", (random) => {
  const shape = shapeOf(random, { rank: between(random, [1, 5]) });
  const axes = random.shuffle([...shape.keys()]);
  return {
    inputs: [shape],
    drawn: { axes },
    op: (x) => permute(x, axes),
    reference: moved(
      axes.map((axis) => shape[axis]),
      (index) => axes.map((_, axis) => index[axes.indexOf(axis)]),
    ),
  };
});

testAtRandomShapes("slice", (random) => {
  const shape = shapeOf(random);
  const axis = random.int(shape.length);
  const start = random.int(shape[axis]);
  const end = between(random, [start + 1, shape[axis]]);
  const options = { axis: coin(random) ? axis : axis - shape.length, start, end };
  return {
    inputs: [shape],
    drawn: options,
    op: (x) => slice(x, options),
    reference: moved(
      shape.with(axis, end - start),
      (index) => index.with(axis, index[axis] + start),
    ),
  };
});

testAtRandomShapes("concat", (random) => {
  const shape = shapeOf(random, { elements: 60 });
  const axis = random.int(shape.length);
  const rest = shape.with(axis, 1);
  const most = Math.max(1, Math.min(20, Math.floor(60 / sizeOf(rest))));
  const parts = Array.from(
    { length: between(random, [1, 4]) },
    () => rest.with(axis, between(random, [1, most])),
  );
  return {
    inputs: parts,
    drawn: { axis },
    op: (...tensors) => concat(tensors, axis),
    reference: (...parts) => concat64(parts, axis),
  };
});

testAtRandomShapes("expand", (random) => {
  const to = shapeOf(random);
  const from = broadcastable(random, to);
  return {
    inputs: [from],
    drawn: { to },
    op: (x) => expand(x, to),
    reference: moved(
      to,
      (index) => index.slice(to.length - from.length).map((i, axis) => from[axis] === 1 ? 0 : i),
    ),
  };
});

testAtRandomShapes("gather", (random) => {
  const table = shapeOf(random, { rank: 2 });
  const shape = shapeOf(random, { rank: random.int(4), elements: 20 });
  const indices = Uint32Array.from({ length: sizeOf(shape) }, () => random.int(table[0]));
  return {
    inputs: [table],
    drawn: { shape, indices: [...indices] },
    op: (table) => gather(table, Tensor.from(gpu, indices, shape)),
    reference: (table) => gather64(table, { indices, shape }),
  };
});

testAtRandomShapes("dropout", async (random) => {
  const shape = shapeOf(random);
  const options = { p: random.uniformIn(0.1, 0.9), seed: random.int(2 ** 31) };
  using _ = new Scope(gpu);
  const mask = await dropout(fill(gpu, shape, 1), options).data(); // the seed's, whatever x is
  return {
    inputs: [shape],
    drawn: options,
    op: (x) => dropout(x, options),
    reference: ({ data }) => ({ shape, data: data.map((value, i) => value * mask[i]) }),
  };
});

/** Logits with targets of 0 and 1 beside them. */
function masks(random: Random) {
  const shape = shapeOf(random, { rank: between(random, [2, 4]) });
  return {
    inputs: [shape, shape],
    constant: [1],
    sample: (random: Random, input: number) =>
      input === 0 ? 3 * random.normal() : random.uniform() < 0.4 ? 1 : 0,
  };
}

testAtRandomShapes("diceLoss", (random) => {
  const smooth = random.uniformIn(0.1, 2);
  return {
    ...masks(random),
    drawn: { smooth },
    op: (x, t) => diceLoss(x, t, { smooth }),
    reference: (x, t) => scalar(1 - meanOf(dice64(x, t, smooth))),
  };
});

testAtRandomShapes("diceBceLoss", (random) => {
  const [diceWeight, bceWeight, smooth] = [0, 0, 0].map(() => random.uniformIn(0.1, 2));
  return {
    ...masks(random),
    drawn: { diceWeight, bceWeight, smooth },
    op: (x, t) => diceBceLoss(x, t, { diceWeight, bceWeight, smooth }).loss,
    reference: (x, t) =>
      scalar(bceWeight * bce64(x, t) + diceWeight * (1 - meanOf(dice64(x, t, smooth)))),
  };
});
