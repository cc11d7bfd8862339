import { assert, assertEquals } from "@std/assert";
import { TinyViT } from "../../lib/sam/tiny_vit.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { add } from "../../lib/tensor/ops/arithmetic.ts";
import { matmul } from "../../lib/tensor/ops/matmul.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { countWork, Tally } from "./count.ts";

/** A tensor of any content. */
const any = (...shape: number[]) => Tensor.empty(gpu, shape);

Deno.test("A batch of matrix products counts 2 m n k for each, and every operand once", () => {
  using _ = new Scope(gpu);
  const [a, b, shared] = [any(3, 8, 20), any(3, 20, 12), any(20, 12)];
  const tally = countWork(gpu, () => {
    noGrad(gpu, () => matmul(a, b));
    noGrad(gpu, () => matmul(a, shared));
  });
  const { dispatches, flops, bytes } = tally.total;
  assertEquals(dispatches, 2);
  assertEquals(flops, 2 * 2 * 3 * 8 * 20 * 12);
  assertEquals(bytes, 4 * (2 * 3 * 8 * 20 + 3 * 20 * 12 + 20 * 12 + 2 * 3 * 8 * 12));
});

Deno.test("A transposed product is listed by its shape with how often it was dispatched", () => {
  using _ = new Scope(gpu);
  const [a, b] = [any(16, 32), any(24, 32)];
  const tally = countWork(gpu, () => {
    for (let i = 0; i < 3; i++) noGrad(gpu, () => matmul(a, b, { transposeB: true }));
  });
  const [[name, product]] = tally.products;
  assertEquals(name, "16 x 24 x 32 NT");
  assertEquals(product, { m: 16, n: 24, k: 32, batch: 1, layout: "NT", times: 3 });
});

Deno.test("A sum moves bytes and multiplies nothing", () => {
  using _ = new Scope(gpu);
  const [a, b] = [any(64, 64), any(64, 64)];
  const { flops, bytes } = countWork(gpu, () => noGrad(gpu, () => add(a, b))).total;
  assertEquals(flops, 0);
  assertEquals(bytes, 3 * 4 * 64 * 64);
});

Deno.test("The gradients of a product count two products more", () => {
  using _ = new Scope(gpu);
  const [a, b] = [any(16, 32), any(32, 8)].map((tensor) => tensor.setParameter(true));
  const { flops } = countWork(gpu, () => {
    sum(matmul(a, b)).backward();
  }).total;
  assertEquals(flops, 3 * 2 * 16 * 32 * 8);
});

/** A dispatch of a fused attention kernel on an image of 7 x 5 tokens in windows of 4 x 4, 3 heads of 8. */
function fusedAttention(kernel: string, constants: Record<string, boolean> = {}): number {
  const params = {
    ...{ batch: 2, heads: 3, image_h: 7, image_w: 5, size_h: 4, size_w: 4 },
    ...{ windows_y: 2, windows_x: 2, others: 10 },
  };
  const name = `attention${kernel}_8`;
  const dispatch = { buffers: {}, params, constants, workgroups: [1] as const };
  return new Tally([[{ name, files: {}, buffers: {}, params: {} }, dispatch]]).total.flops;
}

Deno.test("Fused attention counts its products over the pairs of tokens that share a window", () => {
  const pairs = 4 * 4 * 4 * 4 + 4 * 1 * 4 * 1 + 3 * 4 * 3 * 4 + 3 * 1 * 3 * 1;
  const product = 2 * 2 * 3 * pairs * 8;
  assertEquals(fusedAttention(""), 2 * product);
  assertEquals(fusedAttention("_query"), 3 * product);
  assertEquals(fusedAttention("_key_value"), 4 * product);
  assertEquals(fusedAttention("_delta"), 0);
  const crossing = 2 * 2 * 3 * 7 * 5 * 10 * 8;
  assertEquals(fusedAttention("", { CROSS: true }), 2 * crossing);
});

Deno.test("What is counted ends with the code that is counted", () => {
  using _ = new Scope(gpu);
  const [a, b] = [any(8, 8), any(8, 8)];
  const tally = countWork(gpu, () => {});
  noGrad(gpu, () => matmul(a, b));
  assertEquals(tally.total.dispatches, 0);
});

/** Multiply-adds of a TinyViT block on a grid of `side`² tokens in windows of `window`². */
function blockMultiplyAdds(dim: number, side: number, window: number): number {
  const qkvAndProj = 4 * dim * dim;
  const attention = 2 * window * window * dim;
  const localConv = 9 * dim;
  const perceptron = 8 * dim * dim;
  return side * side * (qkvAndProj + attention + localConv + perceptron);
}

/** Of a downsampling from one grid to another: 1x1, depthwise 3x3, 1x1. */
function downsamplingMultiplyAdds([dim, out]: [number, number], [from, to]: [number, number]) {
  return from * from * dim * out + to * to * (9 * out + out * out);
}

Deno.test("The operations of MobileSAM's encoder are those of its layers, counted by hand", () => {
  // Side 224: whole windows in every stage.
  const patches = 112 ** 2 * 32 * 27 + 56 ** 2 * 64 * 288;
  const bottlenecks = 2 * 56 ** 2 * (2 * 64 * 256 + 9 * 256);
  const transformers = 2 * blockMultiplyAdds(128, 28, 7) + 6 * blockMultiplyAdds(160, 14, 14) +
    2 * blockMultiplyAdds(320, 14, 7);
  const downsamplings = downsamplingMultiplyAdds([64, 128], [56, 28]) +
    downsamplingMultiplyAdds([128, 160], [28, 14]) +
    downsamplingMultiplyAdds([160, 320], [14, 14]);
  const neck = 14 ** 2 * (320 * 256 + 9 * 256 * 256);
  const byHand = 2 * (patches + bottlenecks + transformers + downsamplings + neck);

  using _ = new Scope(gpu);
  const encoder = new TinyViT(gpu);
  const { flops } =
    countWork(gpu, () => noGrad(gpu, () => encoder.forward(any(1, 224, 224, 3)))).total;
  encoder.dispose();
  // Rows of scores are filled up to a multiple of four keys: up to two percent more is dispatched.
  assert(flops >= byHand && flops <= 1.02 * byHand, `${flops} dispatched, ${byHand} by hand`);
});
