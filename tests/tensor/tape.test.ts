import { assert, assertEquals, assertThrows } from "@std/assert";
import { enableGrad, noGrad } from "../../lib/tensor/autograd.ts";
import { checkpoint } from "../../lib/tensor/checkpoint.ts";
import { withStorage } from "../../lib/tensor/half.ts";
import { mul } from "../../lib/tensor/ops/arithmetic.ts";
import { currentScope, Scope, tidy } from "../../lib/tensor/scope.ts";
import { Tape } from "../../lib/tensor/tape.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";

Deno.test("functions that change the tape refuse a promise, and restore what they changed", async () => {
  const before = { ...Tape.of(gpu).settings };
  const live = gpu.memory.live;
  using x = Tensor.from(gpu, [1, 2], [2]);
  const callers: Record<string, (compute: () => Promise<never>) => unknown> = {
    noGrad: (compute) => noGrad(gpu, compute),
    enableGrad: (compute) => noGrad(gpu, () => enableGrad(gpu, compute)),
    withStorage: (compute) => withStorage(gpu, "f16", compute),
    tidy: (compute) => tidy(gpu, compute as unknown as () => Tensor),
    checkpoint: (compute) =>
      checkpoint(x, { run: compute as unknown as () => Tensor, parameters: [] }),
  };
  for (const [name, call] of Object.entries(callers)) {
    let wasMade: Tensor | undefined;
    // Nobody awaits it: its rejection must not end the process as unhandled.
    const compute = async (): Promise<never> => {
      wasMade = mul(x, x);
      await Promise.resolve();
      throw new Error(`${name} went on`);
    };
    assertThrows(() => call(compute), Error, "pass a function that is not async", name);
    await new Promise((done) => setTimeout(done));
    assertEquals({ ...Tape.of(gpu).settings }, before, name);
    assertEquals(currentScope(gpu), undefined, name);
    wasMade!.dispose();
    assertEquals(gpu.memory.live, live + 1, name);
  }
});

Deno.test("a value that merely has a field `then` is no promise", () => {
  assertEquals(noGrad(gpu, () => ({ then: 1 })), { then: 1 });
  assertEquals(noGrad(gpu, () => null), null);
});

Deno.test("f32 storage within f16 storage keeps activations as they are", () => {
  using _ = new Scope(gpu);
  const x = Tensor.from(gpu, new Float32Array(4096).fill(1), [4096]).setParameter(true);
  withStorage(gpu, "f16", () => {
    withStorage(gpu, "f32", () => {
      const y = mul(x, x);
      mul(y, x);
      assert(y.shared, "the tape holds y itself");
    });
    const y = mul(x, x);
    mul(y, x);
    assert(!y.shared, "the tape holds y's halves");
  });
});
