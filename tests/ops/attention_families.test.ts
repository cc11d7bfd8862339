import { attention, qkvAttention } from "../../lib/tensor/ops/attention.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { permute, reshape } from "../../lib/tensor/ops/movement.ts";
import { softmax } from "../../lib/tensor/ops/softmax.ts";
import { scale } from "../../lib/tensor/ops/unary.ts";
import type { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { assertFamiliesAgree, assertSame, type Case, results } from "./attention_families.ts";

/** The models' shapes, with few heads: whole tiles, parts of tiles, several of them. */
const cases: Record<string, Case> = {
  "TinyViT's windows of 7 with padding": {
    shapes: [[2 * 9 * 16 + 1, 3 * 2 * 32], [2, 49, 49]],
    op: (qkv, bias) => {
      const windows = { size: 7, images: [2, 9, 16] } as const;
      return qkvAttention(qkv, { heads: 2, layout: "per-head", bias, windows });
    },
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
  Deno.test(`${name}: the kernels for CPUs and for GPUs agree`, () => assertFamiliesAgree(problem));
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
