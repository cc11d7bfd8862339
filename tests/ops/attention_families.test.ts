import { Gpu } from "../../lib/gpu/gpu.ts";
import { Random } from "../../lib/random.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { attention, qkvAttention } from "../../lib/tensor/ops/attention.ts";
import { decomposedAttention } from "../../lib/tensor/ops/decomposed_attention.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { permute, reshape } from "../../lib/tensor/ops/movement.ts";
import { softmax } from "../../lib/tensor/ops/softmax.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { scale } from "../../lib/tensor/ops/unary.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { sizeOf } from "../../lib/tensor/shape.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { withoutSubgroups } from "../gpu/adapters.ts";
import { assertClose } from "./check.ts";

/** An op and the shapes of its inputs. */
interface Case {
  readonly shapes: readonly (readonly number[])[];
  readonly op: (...inputs: Tensor[]) => Tensor;
}

/** Output and all gradients on a device, for inputs that depend on the shapes alone. */
async function results(gpu: Gpu, { shapes, op }: Case): Promise<Float32Array[]> {
  using _ = new Scope(gpu);
  const random = new Random("attention families");
  const inputs = shapes.map((shape) =>
    Tensor.from(gpu, Float32Array.from({ length: sizeOf(shape) }, () => random.normal()), shape)
      .setParameter(true)
  );
  const out = op(...inputs);
  const weights = Float32Array.from({ length: out.size }, () => random.normal());
  sum(mul(out, Tensor.from(gpu, weights, out.shape))).backward();
  const values = await Promise.all([out, ...inputs.map((x) => x.grad!)].map((x) => x.data()));
  for (const x of inputs) x.zeroGrad();
  return values;
}

/** f32 sums of many terms in two orders: errors are in proportion to the terms, not to what is left. */
function assertSame(actual: Float32Array, expected: Float32Array, what: string): void {
  const size = Math.sqrt(expected.reduce((sum, x) => sum + x * x, 0) / expected.length);
  assertClose(actual, expected, { atol: 2e-5 * size, rtol: 2e-5 }, what);
}

/** The models' shapes, with few heads: whole tiles, parts of tiles, several of them. */
const cases: Record<string, Case> = {
  "TinyViT's windows of 7 with padding": {
    shapes: [[2 * 9 * 16 + 1, 3 * 2 * 32], [2, 49, 49]],
    op: (qkv, bias) => {
      const windows = { size: 7, images: [2, 9, 16] } as const;
      return qkvAttention(qkv, { heads: 2, layout: "per-head", bias, windows });
    },
  },
  "ViT's windows of 14 with padding": {
    shapes: [[16 * 16 + 1, 3 * 2 * 64], [27, 64], [27, 64]],
    op: (qkv, relPosH, relPosW) =>
      decomposedAttention(qkv, { relPosH, relPosW }, {
        heads: 2,
        grid: [14, 14],
        windows: { size: 14, images: [1, 16, 16] },
      }),
  },
  "global attention of ViT-H": {
    shapes: [[1, 144, 3 * 80], [23, 80], [23, 80]],
    op: (qkv, relPosH, relPosW) =>
      decomposedAttention(qkv, { relPosH, relPosW }, { heads: 1, grid: [12, 12] }),
  },
  "tokens that read an image": {
    shapes: [[2, 7, 128], [2, 256, 128], [2, 256, 128]],
    op: (q, k, v) => attention(q, k, v, { heads: 8 }),
  },
  "an image that reads tokens": {
    shapes: [[2, 256, 128], [2, 7, 128], [2, 7, 128]],
    op: (q, k, v) => attention(q, k, v, { heads: 8 }),
  },
};

for (const [name, problem] of Object.entries(cases)) {
  Deno.test(`${name}: the kernels for CPUs and for GPUs agree`, async () => {
    using other = await Gpu.open({ gpu: withoutSubgroups });
    const [own, tiled] = [await results(gpu, problem), await results(other, problem)];
    own.forEach((values, i) => assertSame(tiled[i], values, `result ${i}`));
  });
}

Deno.test("attention over 196 tokens is what products and a softmax make, with gradients", async () => {
  const [batch, n, heads, depth] = [2, 196, 2, 32];
  const shape = [batch, n, heads * depth];
  const shapes = [shape, shape, shape];
  const perHead = (x: Tensor) => permute(reshape(x, [batch, n, heads, depth]), [0, 2, 1, 3]);
  const composed = await results(gpu, {
    shapes,
    op: (q, k, v) => {
      const scores = matmul(perHead(q), perHead(k), { transposeB: true });
      const out = matmul(softmax(scale(scores, 1 / Math.sqrt(depth))), perHead(v));
      return reshape(permute(out, [0, 2, 1, 3]), shape);
    },
  });
  const fused = await results(gpu, { shapes, op: (q, k, v) => attention(q, k, v, { heads }) });
  fused.forEach((values, i) => assertSame(values, composed[i], `result ${i}`));
});
