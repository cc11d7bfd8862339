import { assertEquals } from "@std/assert";
import { softmax } from "../../lib/tensor/ops/softmax.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { assertClose, checkOp, f32Tolerance } from "./check.ts";
import { softmax64 } from "./references/softmax.ts";

for (const shape of [[1], [1, 1], [3, 1], [1, 3], [2, 3, 8], [20, 5], [2, 17, 4], [2, 49], [300]]) {
  Deno.test(`softmax of [${shape}] and its gradient match float64`, async () => {
    await checkOp("softmax", {
      inputs: [shape],
      sample: (random) => 3 * random.normal(),
      op: softmax,
      reference: softmax64,
    });
  });
}

Deno.test("softmax neither overflows nor loses small differences beside huge values", async () => {
  using _ = new Scope(gpu);
  const p = await softmax(Tensor.from(gpu, [3e38, -3e38, 1000, 1001, -1000, -1001], [3, 2])).data();
  const e = 1 / (1 + Math.E);
  assertClose(p, [1, 0, e, 1 - e, 1 - e, e], f32Tolerance, "softmax");
});

Deno.test("softmax finds the largest element wherever in the row it is", async () => {
  using _ = new Scope(gpu);
  for (const n of [300, 301]) {
    for (const rows of [2, 20]) {
      const x = Float32Array.from({ length: rows * n }, (_, i) => i % n === 203 ? 1000 : 900);
      const p = await softmax(Tensor.from(gpu, x, [rows, n])).data();
      assertEquals(p, x.map((v) => v === 1000 ? 1 : 0));
    }
  }
});

Deno.test("softmax leaves its input as it was", async () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, [1, 2, 3], [3]);
  softmax(x);
  assertEquals([...await x.data()], [1, 2, 3]);
});
