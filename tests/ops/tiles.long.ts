// Every tile for GPUs, in every kernel that it can be chosen for. Mesa's driver for CPUs compiles those of attention for
// half a minute each.
import { ATTENTION_TILES, kernelTarget, PRODUCT_TILES } from "../../kernels/target.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { qkvAttention } from "../../lib/tensor/ops/attention.ts";
import { decomposedAttention } from "../../lib/tensor/ops/decomposed_attention.ts";
import { checkOp } from "./check.ts";
import { checkExtra, EXTRAS } from "./product_extras.ts";
import { qkvAttention64 } from "./references/attention.ts";
import { decomposedAttention64 } from "./references/decomposed_attention.ts";

for (const { name: tile } of PRODUCT_TILES) {
  const target = { ...kernelTarget(), id: -1, products: PRODUCT_TILES };
  for (const extra of EXTRAS) {
    Deno.test(`product with ${extra} in the tile ${tile} matches float64`, async () => {
      for (const transB of [false, true]) {
        for (const size of [[9, 12, 20], [197, 200, 36]] as const) {
          await checkExtra(extra, { target, size, transB, tile });
        }
      }
    });
  }
}

for (const tile of ATTENTION_TILES) {
  /** Runs a test on a device whose only tile this is. */
  const onTile = async (test: (gpu: Gpu) => Promise<void>) => {
    await using gpu = await Gpu.open({ family: "gpu" });
    const target = { ...gpu.target, id: -1 - tile.blocks, attention: [tile] };
    await test(Object.assign(gpu, { target }));
  };
  const own = 4 * tile.blocks;

  Deno.test(`attention in tiles of ${own} tokens matches float64`, () =>
    onTile((gpu) => {
      // One token more than a tile has.
      const n = own + 1;
      const problem = { heads: 1, layout: "per-head", scale: 0.7 } as const;
      return checkOp(`${own} tokens`, {
        gpu,
        inputs: [[1, n, 12]],
        op: (qkv) => qkvAttention(qkv, problem),
        reference: (qkv) => qkvAttention64(qkv, problem),
      });
    }));

  Deno.test(`attention with relative positions in tiles of ${own} tokens matches float64`, () =>
    onTile((gpu) => {
      const grid = [5, own / 4] as const; // a tile and a quarter
      const problem = { batch: 1, heads: 1, depth: 4, grid };
      return checkOp(`${own} tokens on a grid`, {
        gpu,
        inputs: [[1, grid[0] * grid[1], 12], [2 * grid[0] - 1, 4], [2 * grid[1] - 1, 4]],
        op: (qkv, relPosH, relPosW) =>
          decomposedAttention(qkv, { relPosH, relPosW }, { heads: 1, grid }),
        reference: (...inputs) => decomposedAttention64(problem, inputs),
      });
    }));
}
