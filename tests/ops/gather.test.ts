import { assertEquals, assertThrows } from "@std/assert";
import { gather } from "../../lib/tensor/ops/gather.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp } from "./check.ts";
import { gather64 } from "./references/gather.ts";

for (
  const { table, shape } of [
    { table: [1, 1], shape: [1] },
    { table: [4, 3], shape: [2, 5] },
    { table: [7, 1], shape: [90] },
    { table: [5, 8], shape: [] },
  ]
) {
  Deno.test(`gather of [${shape}] rows from [${table}] and its gradient match float64`, async () => {
    const [rows] = table;
    const count = shape.reduce((a, b) => a * b, 1);
    // Some rows are taken often, the last never where there are others.
    const indices = Uint32Array.from({ length: count }, (_, i) => i * i % Math.max(1, rows - 1));
    await checkOp("gather", {
      inputs: [table],
      op: (table) => gather(table, Tensor.from(gpu, indices, shape)),
      reference: (table) => gather64(table, { indices, shape }),
    });
  });
}

Deno.test("gather refuses indices that are not u32", () => {
  using _ = new Scope(gpu);
  const table = Tensor.from(gpu, [1, 2], [2, 1]);
  assertThrows(() => gather(table, table), Error, "u32 indices");
  assertEquals(gather(table, Tensor.from(gpu, Uint32Array.of(1), [1])).shape, [1, 1]);
});
