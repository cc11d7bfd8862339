import {
  assert,
  assertEquals,
  assertNotEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { fill } from "../../lib/tensor/ops/fill.ts";
import { dropout } from "../../lib/tensor/ops/dropout.ts";
import { sum } from "../../lib/tensor/ops/sum.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { gpu } from "../gpu.ts";

const zerosOf = (x: Float32Array) => x.reduce((count, v) => count + (v === 0 ? 1 : 0), 0);

Deno.test("dropout zeroes the share p and scales the rest by 1 / (1 - p)", async () => {
  for (const p of [0.1, 0.5, 0.9]) {
    using _ = new Scope(gpu);
    const n = 40_001;
    const out = await dropout(fill(gpu, [n], 1), { p, seed: 3 }).data();
    // Five standard deviations of a binomial count.
    assert(Math.abs(zerosOf(out) - p * n) < 5 * Math.sqrt(n * p * (1 - p)), `p = ${p}`);
    assertEquals([...new Set(out)].sort(), [0, Math.fround(1 / (1 - p))].sort());
  }
});

Deno.test("dropout of one seed repeats, and seeds drop independently", async () => {
  using _ = new Scope(gpu);
  const n = 20_000;
  const x = fill(gpu, [n], 1);
  const mask = (seed: number) => dropout(x, { p: 0.5, seed }).data();
  const [first, again, next] = [await mask(1), await mask(1), await mask(2)];
  assertEquals(first, again);
  assertNotEquals(first, next);
  // Independent masks agree on half of the elements, whatever the distance between them.
  for (const shift of [0, 1, 4]) {
    let agree = 0;
    for (let i = 0; i + shift < n; i++) if (first[i + shift] === next[i]) agree++;
    assert(Math.abs(agree - n / 2) < 5 * Math.sqrt(n / 4), `${agree} agree at shift ${shift}`);
  }
});

Deno.test("dropout's gradient goes through the mask of the forward pass", async () => {
  using _ = new Scope(gpu);
  const x = fill(gpu, [7, 13], 1).setParameter(true);
  const out = dropout(x, { p: 0.3, seed: 11 });
  sum(out).backward();
  assertEquals(await x.grad!.data(), await out.data());
});

Deno.test("dropout with p = 0 gives x itself, and refuses p = 1", () => {
  using _ = new Scope(gpu);
  const x = fill(gpu, [3], 1);
  assertStrictEquals(dropout(x, { p: 0, seed: 1 }), x);
  assertThrows(() => dropout(x, { p: 1, seed: 1 }), Error, "p is 1");
});
