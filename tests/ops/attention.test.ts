import { assertEquals, assertThrows } from "@std/assert";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { attention, qkvAttention } from "../../lib/tensor/ops/attention.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";
import { checkOp } from "./check.ts";
import { attention64, qkvAttention64 } from "./references/attention.ts";

const separate = [
  { batch: 1, heads: 1, queries: 1, keys: 1, depth: 4 },
  { batch: 2, heads: 2, queries: 3, keys: 5, depth: 4 },
  { batch: 1, heads: 3, queries: 5, keys: 3, depth: 7 },
  { batch: 2, heads: 1, queries: 7, keys: 4, depth: 1 },
  { batch: 1, heads: 2, queries: 2, keys: 9, depth: 32 },
];

for (const { batch, heads, queries, keys, depth } of separate) {
  const name = `${batch} x ${heads} heads of ${depth}, ${queries} queries and ${keys} keys`;
  Deno.test(`attention with ${name} and its gradients match float64`, async () => {
    const width = heads * depth;
    await checkOp(name, {
      inputs: [[batch, queries, width], [batch, keys, width], [batch, keys, width]],
      op: (q, k, v) => attention(q, k, v, { heads }),
      reference: (q, k, v) => attention64([q, k, v], { heads }),
    });
  });
}

const fused = [
  { batch: 1, heads: 1, n: 1, depth: 4 },
  { batch: 2, heads: 2, n: 5, depth: 4 },
  { batch: 2, heads: 5, n: 3, depth: 7 },
  { batch: 3, heads: 4, n: 4, depth: 4 },
  { batch: 1, heads: 1, n: 17, depth: 4 },
  { batch: 1, heads: 1, n: 49, depth: 4 },
];

for (const layout of ["per-head", "thirds"] as const) {
  for (const { batch, heads, n, depth } of fused) {
    // Differences with respect to each of 49 x 49 elements of a bias would take seconds.
    for (const withBias of n < 49 ? [false, true] : [false]) {
      const name = `${batch} x ${heads} heads of ${depth} over ${n} rows, ${layout}${
        withBias ? ", with a bias" : ""
      }`;
      Deno.test(`qkvAttention with ${name} and its gradients match float64`, async () => {
        const scale = 0.7;
        await checkOp(name, {
          inputs: [[batch, n, 3 * heads * depth], ...(withBias ? [[heads, n, n]] : [])],
          op: (qkv, bias) => qkvAttention(qkv, { heads, layout, bias, scale }),
          reference: (qkv, bias) => qkvAttention64(qkv, { heads, layout, bias, scale }),
        });
      });
    }
  }
}

Deno.test("what lies in memory after the last key stays out of attention", async () => {
  // Each window's scores are computed to a multiple of 4 columns, past its last key.
  using _ = new Scope(gpu);
  const [n, width] = [5, 12];
  const window = Float32Array.from({ length: n * width }, (_, i) => Math.sin(i));
  const neighbour = Float32Array.from(window, (v) => 1e6 * v);
  const attend = (...windows: Float32Array[]) => {
    const qkv = Tensor.from(gpu, windows.flatMap((w) => [...w]), [windows.length, n, width]);
    return qkvAttention(qkv, { heads: 1, layout: "per-head" }).data();
  };
  const alone = await attend(window);
  assertEquals([...(await attend(window, neighbour)).subarray(0, alone.length)], [...alone]);
});

Deno.test("what the padding of scores held before stays out of attention", async () => {
  const [heads, n, depth] = [2, 5, 7];
  const data = Float32Array.from({ length: 3 * n * heads * depth }, (_, i) => Math.sin(i));
  const run = async () => {
    using _ = new Scope(gpu);
    const qkv = Tensor.from(gpu, data, [1, n, 3 * heads * depth]).setParameter(true);
    const bias = Tensor.from(gpu, new Float32Array(heads * n * n), [heads, n, n]).setParameter(
      true,
    );
    const out = qkvAttention(qkv, { heads, layout: "thirds", bias });
    sum(mul(out, out)).backward();
    const results = [out, qkv.grad!, bias.grad!];
    const values = await Promise.all(results.map(async (x) => [...await x.data()]));
    for (const x of [qkv, bias]) x.zeroGrad();
    return values;
  };
  const expected = await run();
  // Rows of 5 scores are padded to 8; the pool lends these buffers again.
  const poison = new Float32Array(heads * n * 8).fill(NaN);
  const lent = Array.from({ length: 8 }, () => Tensor.from(gpu, poison, [heads * n * 8]));
  for (const tensor of lent) tensor.dispose();
  assertEquals(await run(), expected);
});

Deno.test("attention over frozen keys and values computes the gradient of the queries alone", () => {
  using _ = new Scope(gpu);
  const make = () => Tensor.from(gpu, Array(24).fill(1), [1, 3, 8]);
  const [q, k, v] = [make().setParameter(true), make(), make()];
  const cost = () => {
    const loss = sum(attention(q, k, v, { heads: 2 }));
    const before = gpu.dispatches;
    loss.backward();
    for (const x of [q, k, v]) x.zeroGrad();
    return gpu.dispatches - before;
  };
  const queriesAlone = cost();
  k.setParameter(true);
  v.setParameter(true);
  assertEquals(cost(), queriesAlone + 1);
  q.setParameter(false);
  k.setParameter(false);
  assertEquals(cost(), queriesAlone);
});

Deno.test("attention refuses channels that do not divide into heads, and a bias of another shape", () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, Array(12).fill(0), [1, 2, 6]);
  assertThrows(() => attention(x, x, x, { heads: 4 }), Error, "4 heads");
  assertThrows(
    () => qkvAttention(x, { heads: 1, layout: "thirds", bias: x }),
    Error,
    "bias [1, 2, 6]",
  );
});
