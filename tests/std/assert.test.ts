import nodeAssert from "node:assert/strict";
import * as std from "@std/assert";
import { assertEquals as fromSubpath } from "@std/assert/equals";

/** Node's own assertions judge the stand-in, so that it does not judge itself. */
const holds = (check: () => unknown) => nodeAssert.doesNotThrow(check);
const breaks = (check: () => unknown, message = /./) =>
  nodeAssert.throws(check, (error: unknown) => {
    nodeAssert.ok(error instanceof std.AssertionError, `not an AssertionError: ${error}`);
    nodeAssert.match(error.message, message);
    return true;
  });

Deno.test("assert and its relatives hold for what they claim and break for the rest", () => {
  holds(() => std.assert(1));
  breaks(() => std.assert(0, "zero"), /^zero$/);
  holds(() => std.assertFalse(""));
  breaks(() => std.assertFalse("x"));
  holds(() => std.assertExists(0));
  breaks(() => std.assertExists(undefined), /undefined/);
  breaks(() => std.assertExists(null), /null/);
  holds(() => std.assertInstanceOf(new RangeError(), Error));
  breaks(() => std.assertInstanceOf(new Error(), RangeError), /RangeError, got Error/);
  breaks(() => std.fail("because"), /because/);
});

Deno.test("assertEquals compares deeply, types and keys included", () => {
  holds(() =>
    std.assertEquals({ a: [1, new Map([["k", NaN]])] }, { a: [1, new Map([["k", NaN]])] })
  );
  holds(() => std.assertEquals(new Float32Array([1, 2]), new Float32Array([1, 2])));
  breaks(() => std.assertEquals(new Float32Array([1, 2]), new Float32Array([1, 3])));
  breaks(() => std.assertEquals<unknown>([1], new Float32Array([1])));
  breaks(() => std.assertEquals<unknown>({ a: undefined }, {}));
  breaks(() => std.assertEquals(1, 2, "the sizes"), /^the sizes: /);
  holds(() => std.assertNotEquals([1], [2]));
  breaks(() => std.assertNotEquals([1], [1]));
  nodeAssert.equal(std.equal(new Set([1]), new Set([1])), true);
  nodeAssert.equal(std.equal(new Set([1]), new Set([2])), false);
  nodeAssert.equal(fromSubpath, std.assertEquals);
});

Deno.test("assertStrictEquals wants the same reference", () => {
  const list = [1];
  holds(() => std.assertStrictEquals(list, list));
  breaks(() => std.assertStrictEquals(list, [1]));
});

Deno.test("assertArrayIncludes and assertObjectMatch accept subsets only", () => {
  holds(() => std.assertArrayIncludes([{ a: 1 }, { a: 2 }], [{ a: 2 }]));
  breaks(() => std.assertArrayIncludes([1, 2], [2, 3]), /3/);
  holds(() => std.assertObjectMatch({ a: { b: 1, c: 2 }, d: [1, 2] }, { a: { c: 2 }, d: [1, 2] }));
  breaks(() => std.assertObjectMatch({ a: { b: 1 } }, { a: { c: 2 } }));
  breaks(() => std.assertObjectMatch({ d: [1, 2] }, { d: [1] }));
  breaks(() => std.assertObjectMatch({ d: null }, { d: {} }));
});

Deno.test("the comparisons refuse NaN and what lies on the wrong side", () => {
  holds(() => std.assertGreater(2, 1));
  breaks(() => std.assertGreater(1, 1));
  holds(() => std.assertGreaterOrEqual(1, 1));
  breaks(() => std.assertGreaterOrEqual(NaN, 1));
  holds(() => std.assertLess(1, 2));
  breaks(() => std.assertLess(NaN, 2));
  holds(() => std.assertLessOrEqual(2, 2));
  breaks(() => std.assertLessOrEqual(3, 2));
});

Deno.test("assertAlmostEquals allows a relative 1e-7 or the given tolerance", () => {
  holds(() => std.assertAlmostEquals(1e6, 1e6 + 0.05));
  breaks(() => std.assertAlmostEquals(1e6, 1e6 + 0.2));
  holds(() => std.assertAlmostEquals(1, 1.5, 0.5));
  breaks(() => std.assertAlmostEquals(1, 1.5, 0.4));
  holds(() => std.assertAlmostEquals(NaN, NaN));
  breaks(() => std.assertAlmostEquals(NaN, 1));
  breaks(() => std.assertAlmostEquals(Infinity, 1, 10));
  breaks(() => std.assertAlmostEquals(Infinity, -Infinity));
});

Deno.test("assertStringIncludes and assertMatch read text", () => {
  holds(() => std.assertStringIncludes("meningioma", "ning"));
  breaks(() => std.assertStringIncludes("meningioma", "glio"));
  holds(() => std.assertMatch("lora_16", /_\d+$/));
  breaks(() => std.assertMatch("lora", /_\d+$/));
});

Deno.test("assertThrows returns the error and checks its class and message", () => {
  const thrower = () => {
    throw new RangeError("rank 0");
  };
  nodeAssert.ok(std.assertThrows(thrower) instanceof RangeError);
  nodeAssert.equal(std.assertThrows(thrower, RangeError, "rank").message, "rank 0");
  breaks(() => std.assertThrows(thrower, TypeError), /TypeError/);
  breaks(() => std.assertThrows(thrower, RangeError, "alpha"), /alpha/);
  breaks(() => std.assertThrows(() => 1), /to throw/);
  breaks(() =>
    std.assertThrows(() => {
      throw "text";
    }, Error)
  );
});

Deno.test("assertRejects wants a rejection, not a result and not a synchronous throw", async () => {
  const error = await std.assertRejects(() => Promise.reject(new RangeError("r")), RangeError, "r");
  nodeAssert.equal(error.message, "r");
  const wants = (run: () => Promise<unknown>) => nodeAssert.rejects(run, std.AssertionError);
  await wants(() => std.assertRejects(() => Promise.resolve(1)));
  await wants(() => std.assertRejects(() => Promise.reject(new Error("r")), RangeError));
  await wants(() => std.assertRejects(() => Promise.reject(new Error("r")), Error, "other"));
  await wants(() =>
    std.assertRejects(() => {
      throw new Error("too early");
    })
  );
});
