import { assert, assertEquals } from "@std/assert";
import { Random } from "../lib/random.ts";

Deno.test("equal seeds give equal streams, and a fork does not depend on how much was drawn", () => {
  const [a, b] = [new Random(7), new Random(7)];
  for (let i = 0; i < 5; i++) a.uniform();
  assertEquals(a.fork("boxes").uniform(), b.fork("boxes").uniform());
});

Deno.test("streams whose names differ in the last character alone are not correlated", () => {
  const first = Array.from({ length: 2000 }, (_, i) => new Random(`slice/${i}`).uniform());
  const mean = first.reduce((sum, x) => sum + x, 0) / first.length;
  const product = (lag: number) =>
    first.slice(lag).reduce((sum, x, i) => sum + (x - mean) * (first[i] - mean), 0);
  for (let lag = 1; lag <= 10; lag++) {
    const correlation = product(lag) / product(0);
    // Four deviations of the correlation of 2,000 independent numbers.
    assert(Math.abs(correlation) < 0.09, `correlation ${correlation} at distance ${lag}`);
  }
});

Deno.test("a stream goes on from the state that another one stood at", () => {
  const first = new Random(5);
  for (let i = 0; i < 7; i++) first.normal();
  const second = new Random(5);
  second.restore(JSON.parse(JSON.stringify(first.state)));
  assertEquals([1, 2, 3].map(() => second.uniform()), [1, 2, 3].map(() => first.uniform()));
  assertEquals(second.fork("a").uniform(), new Random(5).fork("a").uniform());
});
