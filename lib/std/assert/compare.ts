import { AssertionError } from "./assertion_error.ts";

function require(holds: boolean, claim: string, msg?: string): void {
  if (!holds) throw new AssertionError(`Expected ${claim}${msg ? `: ${msg}` : "."}`);
}

/** Throws unless `actual` > `expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  require(actual > expected, `${actual} > ${expected}`, msg);
}

/** Throws unless `actual` >= `expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  require(actual >= expected, `${actual} >= ${expected}`, msg);
}

/** Throws unless `actual` < `expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  require(actual < expected, `${actual} < ${expected}`, msg);
}

/** Throws unless `actual` <= `expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  require(actual <= expected, `${actual} <= ${expected}`, msg);
}

/**
 * Throws unless |`actual` - `expected`| <= `tolerance`, which is 1e-7 of `expected` by default. NaN
 * equals NaN alone, an infinity itself alone.
 */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  msg?: string,
): void {
  if (Object.is(actual, expected)) return;
  const allowed = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected) * 1e-7 : 1e-7);
  const delta = Math.abs(actual - expected);
  require(
    delta <= allowed,
    `${actual} to be within ${allowed} of ${expected} (off by ${delta})`,
    msg,
  );
}
