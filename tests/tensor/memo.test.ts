import { assert, assertEquals } from "@std/assert";
import { Memo } from "../../lib/tensor/memo.ts";

Deno.test("equal keys give the same object, made once; others their own", () => {
  const memo = new Memo<{ key: number[] }>();
  let made = 0;
  const get = (...key: number[]) =>
    memo.get(key, () => {
      made++;
      return { key };
    });
  // The third differs by what a hash of integers drops, the last two by length alone.
  const keys = [[1, 2], [2, 1], [1, 2.5], [1, -2], [1], [1, 2, 0]];
  const first = keys.map((key) => get(...key));
  assertEquals(first.map(({ key }) => key), keys);
  assertEquals(made, keys.length);
  keys.forEach((key, i) => assert(get(...key) === first[i]));
  assertEquals(made, keys.length);
});

Deno.test("beyond its limit a memory starts anew and still answers by the key", () => {
  const memo = new Memo<number>();
  for (const _ of [1, 2]) {
    for (let i = 0; i < 10_000; i++) assertEquals(memo.get([i, 7], () => 3 * i), 3 * i);
  }
});
