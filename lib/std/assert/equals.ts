import nodeAssert from "node:assert/strict";
import { inspect, isDeepStrictEqual } from "node:util";
import { AssertionError } from "./assertion_error.ts";

/** Runs a check of `node:assert` and rethrows its failure as this package's own error. */
function delegate(check: () => void, msg?: string): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof nodeAssert.AssertionError)) throw error;
    throw new AssertionError(msg ? `${msg}: ${error.message}` : error.message);
  }
}

/** True if two values are deeply equal: same types, same keys, same values. */
export function equal(a: unknown, b: unknown): boolean {
  return isDeepStrictEqual(a, b);
}

/** Throws unless `actual` and `expected` are deeply equal; the message shows the difference. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  delegate(() => nodeAssert.deepStrictEqual(actual, expected), msg);
}

/** Throws if `actual` and `expected` are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  delegate(() => nodeAssert.notDeepStrictEqual(actual, expected), msg);
}

/** Throws unless `actual` and `expected` are the same value by `Object.is`. */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  delegate(() => nodeAssert.strictEqual(actual, expected), msg);
}

/** Throws unless every element of `expected` deeply equals one of `actual`. */
export function assertArrayIncludes<T>(
  actual: ArrayLike<T>,
  expected: ArrayLike<T>,
  msg?: string,
): void {
  const missing = Array.from(expected).filter((wanted) =>
    !Array.from(actual).some((element) => isDeepStrictEqual(element, wanted))
  );
  if (missing.length === 0) return;
  throw new AssertionError(
    `Expected ${inspect(actual)} to include ${inspect(missing)}${msg ? `: ${msg}` : "."}`,
  );
}

function isObject(value: unknown): value is Record<PropertyKey, unknown> {
  return typeof value === "object" && value !== null;
}

/** True if all that `expected` names stands in `actual`; arrays match element by element. */
function matches(actual: unknown, expected: unknown): boolean {
  if (!isObject(actual) || !isObject(expected)) return isDeepStrictEqual(actual, expected);
  const plain = Array.isArray(expected) || Object.getPrototypeOf(expected) === Object.prototype ||
    Object.getPrototypeOf(expected) === null;
  if (!plain) return isDeepStrictEqual(actual, expected);
  if (Array.isArray(expected)) {
    if (!Array.isArray(actual) || actual.length !== expected.length) return false;
  }
  return Reflect.ownKeys(expected).every((key) =>
    key in actual && matches(actual[key], expected[key])
  );
}

/** Throws unless `expected` is a subset of `actual`, at every depth. */
export function assertObjectMatch(
  // deno-lint-ignore no-explicit-any
  actual: Record<PropertyKey, any>,
  expected: Record<PropertyKey, unknown>,
  msg?: string,
): void {
  if (matches(actual, expected)) return;
  throw new AssertionError(
    `Expected ${inspect(actual)} to contain ${inspect(expected)}${msg ? `: ${msg}` : "."}`,
  );
}
