// The kernels of ViT's attention for GPUs, which Mesa's driver for CPUs compiles for half a minute.
import { decomposedAttention } from "../../lib/tensor/ops/decomposed_attention.ts";
import { assertFamiliesAgree, type Case } from "./attention_families.ts";

/** ViT's shapes, with few heads. */
const cases: Record<string, Case> = {
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
};

for (const [name, problem] of Object.entries(cases)) {
  Deno.test(`${name}: the kernels for CPUs and for GPUs agree`, () => assertFamiliesAgree(problem));
}
