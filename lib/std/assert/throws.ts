import { AssertionError } from "./assertion_error.ts";

/** The class that a thrown error is expected to be of. */
// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = new (...args: any[]) => E;

/** Arguments of both functions, whichever overload was called. */
interface Expected<E extends Error> {
  errorClass?: ErrorClass<E>;
  msgIncludes?: string;
  msg?: string;
}

function normalise<E extends Error>(
  classOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): Expected<E> {
  if (typeof classOrMsg === "string") return { msg: classOrMsg };
  return { errorClass: classOrMsg, msgIncludes, msg };
}

function checkError<E extends Error>(error: unknown, expected: Expected<E>): void {
  const { errorClass, msgIncludes, msg } = expected;
  const suffix = msg ? `: ${msg}` : ".";
  if (!errorClass) return;
  if (!(error instanceof Error)) {
    throw new AssertionError(`Something that is not an Error was thrown${suffix}`);
  }
  if (!(error instanceof errorClass)) {
    throw new AssertionError(
      `Expected ${errorClass.name}, got ${error.constructor.name} ("${error.message}")${suffix}`,
    );
  }
  if (msgIncludes && !error.message.includes(msgIncludes)) {
    throw new AssertionError(
      `Expected the error's message "${error.message}" to include "${msgIncludes}"${suffix}`,
    );
  }
}

/** Throws unless `fn` throws; returns what it threw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/**
 * Throws unless `fn` throws an error of class `ErrorClass` whose message includes `msgIncludes`;
 * returns that error.
 */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  // deno-lint-ignore no-explicit-any
  ErrorClass: new (...args: any[]) => E,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error>(
  fn: () => unknown,
  classOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const expected = normalise(classOrMsg, msgIncludes, msg);
  try {
    fn();
  } catch (error) {
    checkError(error, expected);
    return error;
  }
  throw new AssertionError(
    `Expected the function to throw${expected.msg ? `: ${expected.msg}` : "."}`,
  );
}

/** Rejects unless the promise of `fn` rejects; resolves to what it rejected with. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/**
 * Rejects unless the promise of `fn` rejects with an error of class `ErrorClass` whose message
 * includes `msgIncludes`; resolves to that error. A synchronous throw does not count.
 */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  // deno-lint-ignore no-explicit-any
  ErrorClass: new (...args: any[]) => E,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error>(
  fn: () => PromiseLike<unknown>,
  classOrMsg?: ErrorClass<E> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const expected = normalise(classOrMsg, msgIncludes, msg);
  const suffix = expected.msg ? `: ${expected.msg}` : ".";
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch (error) {
    throw new AssertionError(`The function threw instead of rejecting (${error})${suffix}`);
  }
  try {
    await promise;
  } catch (error) {
    checkError(error, expected);
    return error;
  }
  throw new AssertionError(`Expected the function to reject${suffix}`);
}
