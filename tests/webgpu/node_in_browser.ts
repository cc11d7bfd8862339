// Stands in for the parts of node:assert and node:util that lib/std/assert uses, in a page.

class AssertionError extends Error {}

/** Text of a value for messages. */
export function inspect(value: unknown): string {
  return JSON.stringify(
    value,
    (_, part) => ArrayBuffer.isView(part) ? Array.from(part as never) : part,
  );
}

/** True if values are equal by Object.is, or objects of one class with equal entries. */
export function isDeepStrictEqual(a: unknown, b: unknown): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) {
    return Object.is(a, b);
  }
  if (a.constructor !== b.constructor) return false;
  if (a instanceof Map || a instanceof Set) {
    return isDeepStrictEqual([...a], [...b as typeof a]);
  }
  const [keys, others] = [Object.keys(a), Object.keys(b)];
  return keys.length === others.length &&
    keys.every((key) =>
      Object.hasOwn(b, key) && isDeepStrictEqual(Reflect.get(a, key), Reflect.get(b, key))
    );
}

function check(holds: boolean, actual: unknown, expected: unknown, what: string): void {
  if (!holds) throw new AssertionError(`${inspect(actual)} ${what} ${inspect(expected)}`);
}

export default {
  AssertionError,
  deepStrictEqual: (a: unknown, b: unknown) => check(isDeepStrictEqual(a, b), a, b, "is not"),
  notDeepStrictEqual: (a: unknown, b: unknown) => check(!isDeepStrictEqual(a, b), a, b, "is"),
  strictEqual: (a: unknown, b: unknown) => check(Object.is(a, b), a, b, "is not"),
};
