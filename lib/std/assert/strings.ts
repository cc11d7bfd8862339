import { AssertionError } from "./assertion_error.ts";

/** Throws unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (actual.includes(expected)) return;
  throw new AssertionError(
    `Expected "${actual}" to contain "${expected}"${msg ? `: ${msg}` : "."}`,
  );
}

/** Throws unless `actual` matches the pattern `expected`. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (expected.test(actual)) return;
  throw new AssertionError(`Expected "${actual}" to match ${expected}${msg ? `: ${msg}` : "."}`);
}
