/**
 * Changes of any file, and of any JSON: the kinds add what only they know.
 *
 * @module
 */
import fc from "fast-check";

/** A change to some content, and its name. */
export interface Edit<T = Uint8Array> {
  /** Name of the change. */
  readonly label: string;
  /** The changed content; the given one is left alone. */
  readonly apply: (content: T) => T;
}

/** Applies edits one after another. */
export function applyAll<T>(content: T, edits: readonly Edit<T>[]): T {
  return edits.reduce((current, { apply }) => apply(current), content);
}

/** The names of edits. */
export function labels(edits: readonly { readonly label: string }[]): string[] {
  return edits.map(({ label }) => label);
}

/** A place in some content as a share of its length, often near one of its ends. */
export const place: fc.Arbitrary<number> = fc.oneof(
  fc.nat({ max: 65535 }).map((n) => n / 65536),
  fc.nat({ max: 400 }).map((n) => -1 - n), // so many bytes from the start
);

/** The index that a place means. */
export function indexOf(place: number, length: number): number {
  return place >= 0 ? Math.floor(place * length) : Math.min(-1 - place, Math.max(0, length - 1));
}

/** Whole numbers at which fields overflow, change sign or mean something special. */
export const HOSTILE_INTEGERS: readonly number[] = [
  ...[0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536],
  ...[2 ** 24, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, -1, -2, -32768, -(2 ** 31)],
];

/** Numbers that are no ordinary floats. */
export const HOSTILE_FLOATS: readonly number[] = [
  ...[NaN, Infinity, -Infinity, 0, -0, -1, 0.5, 1e-45, -1e-45, 3.4e38, -3.4e38, 1e308],
  ...[352, 351.5, 348, 540, 2 ** 24, 2 ** 31, 2 ** 53],
];

function splice(bytes: Uint8Array, at: number, { remove, insert }: {
  remove: number;
  insert: Uint8Array;
}): Uint8Array {
  const result = new Uint8Array(bytes.length - Math.min(remove, bytes.length - at) + insert.length);
  result.set(bytes.subarray(0, at));
  result.set(insert, at);
  result.set(bytes.subarray(Math.min(bytes.length, at + remove)), at + insert.length);
  return result;
}

/** Changes that need to know nothing of the format. */
export const byteEdit: fc.Arbitrary<Edit> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(place, fc.nat({ max: 7 })).map(([where, bit]) => ({
      label: `flip bit ${bit} at ${where}`,
      apply: (bytes: Uint8Array) => {
        if (bytes.length === 0) return bytes;
        const copy = bytes.slice();
        copy[indexOf(where, bytes.length)] ^= 1 << bit;
        return copy;
      },
    })),
  },
  {
    weight: 3,
    arbitrary: fc.tuple(
      place,
      fc.constantFrom(...HOSTILE_INTEGERS),
      fc.constantFrom(1, 2, 4, 8),
      fc.boolean(),
    ).map(([where, value, width, little]) => ({
      label: `put ${value} in ${width} bytes at ${where}`,
      apply: (bytes: Uint8Array) => {
        if (bytes.length < width) return bytes;
        const copy = bytes.slice();
        const view = new DataView(copy.buffer);
        const at = Math.min(indexOf(where, bytes.length), bytes.length - width);
        if (width === 1) view.setUint8(at, value);
        else if (width === 2) view.setUint16(at, value, little);
        else if (width === 4) view.setUint32(at, value, little);
        else view.setBigInt64(at, BigInt(value), little);
        return copy;
      },
    })),
  },
  {
    weight: 2,
    arbitrary: place.map((where) => ({
      label: `cut at ${where}`,
      apply: (bytes: Uint8Array) => bytes.slice(0, indexOf(where, bytes.length)),
    })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(place, fc.uint8Array({ minLength: 1, maxLength: 40 })).map((
      [where, insert],
    ) => ({
      label: `insert ${insert.length} bytes at ${where}`,
      apply: (bytes: Uint8Array) =>
        splice(bytes, indexOf(where, bytes.length), { remove: 0, insert }),
    })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(place, fc.integer({ min: 1, max: 64 })).map((
      [where, remove],
    ) => ({
      label: `remove ${remove} bytes at ${where}`,
      apply: (bytes: Uint8Array) =>
        splice(bytes, indexOf(where, bytes.length), { remove, insert: new Uint8Array(0) }),
    })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(place, place, fc.integer({ min: 1, max: 200 })).map((
      [from, to, length],
    ) => ({
      label: `repeat ${length} bytes of ${from} at ${to}`,
      apply: (bytes: Uint8Array) => {
        const start = indexOf(from, bytes.length);
        const insert = bytes.slice(start, start + length);
        return splice(bytes, indexOf(to, bytes.length), { remove: 0, insert });
      },
    })),
  },
);

/** At most so many edits, none now and then. */
export function some<T>(edit: fc.Arbitrary<Edit<T>>, most = 3): fc.Arbitrary<Edit<T>[]> {
  return fc.array(edit, { maxLength: most });
}

/** Stands in a JSON value for text that JSON.stringify would not write. */
const RAW = "\u0001raw ";

/** Values as they stand in a file; the deep and the long ones break what recurses or copies. */
const HOSTILE_JSON: Readonly<Record<string, string>> = {
  "null": "null",
  "true": "true",
  "a text": '"text"',
  "no text": '""',
  "an object": "{}",
  "a list": "[]",
  "a list of null": "[null]",
  "zero": "0",
  "minus zero": "-0",
  "minus one": "-1",
  "a half": "0.5",
  "one": "1",
  "a million": "1000000",
  "2^31": "2147483648",
  "2^53": "9007199254740992",
  "1e308": "1e308",
  "infinity": "1e999",
  "NaN": "NaN",
  "a deep list": "[".repeat(20_000) + "]".repeat(20_000),
  "a deep object": '{"a":'.repeat(20_000) + "1" + "}".repeat(20_000),
  "a long text": `"${"x".repeat(300_000)}"`,
  "a long list": `[${"1,".repeat(20_000)}1]`,
  "a list of large numbers": "[4294967296,4294967296,4294967296]",
  "a prototype": '{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}',
  "a path upwards": '"../../../../../../etc/passwd"',
  "an absolute path": '"/etc/passwd"',
  "an address": '"http://127.0.0.1:9/weights"',
  "a template": '"${process.exit(1)}"',
  "control characters": '"\\u0000\\n\\u001b[31m\\u0085"',
  "half a surrogate pair": '"\\ud800"',
  "a slow expression": '"(a+)+$"',
  "another slow expression": '"(.*.*)*.*x"',
  "an expression with many ways": '".*.*.*.*.*.*.*.*x"',
  "a look-behind": '"(?<=(a|aa)+)b"',
  "an open bracket": '"(["',
  "everything": '".*"',
};

/** A hostile JSON value. */
export const hostileJson: fc.Arbitrary<{ label: string; text: string }> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.constantFrom(...Object.entries(HOSTILE_JSON)).map(([label, text]) => ({
      label,
      text,
    })),
  },
  { weight: 1, arbitrary: fc.json({ maxDepth: 3 }).map((text) => ({ label: text, text })) },
  {
    weight: 1,
    arbitrary: fc.integer({ min: -3, max: 300 }).map((n) => ({
      label: String(n),
      text: String(n),
    })),
  },
);

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Every place of a JSON value: its container and key. */
function* places(value: Json): Generator<[Record<string, Json>, string]> {
  if (typeof value !== "object" || value === null) return;
  const container = value as Record<string, Json>;
  for (const key of Object.keys(container)) {
    yield [container, key];
    yield* places(container[key]);
  }
}

/** Sets an own field, whatever its name. */
function define(container: object, key: string, value: Json): void {
  Object.defineProperty(container, key, {
    value,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

/** Changes to a JSON value that keep it JSON, mostly. */
const jsonValueEdit: fc.Arbitrary<Edit<Json>> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.tuple(fc.nat(), hostileJson).map(([n, { label, text }]) => ({
      label: `set place ${n} to ${label}`,
      apply: (value: Json) => {
        const root = { root: structuredClone(value) };
        const all = [...places(root)];
        const [container, key] = all[n % all.length];
        define(container, key, RAW + text);
        return root.root;
      },
    })),
  },
  {
    weight: 2,
    arbitrary: fc.nat().map((n) => ({
      label: `remove place ${n}`,
      apply: (value: Json) => {
        const root = { root: structuredClone(value) };
        const all = [...places(root.root)];
        if (all.length === 0) return value;
        const [container, key] = all[n % all.length];
        delete container[key];
        return root.root;
      },
    })),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(
      fc.nat(),
      fc.constantFrom("__proto__", "constructor", "toString", "", "length", "\n", "x".repeat(5000)),
      hostileJson,
    ).map(([n, name, { label, text }]) => ({
      label: `add ${JSON.stringify(name.slice(0, 20))}: ${label}`,
      apply: (value: Json) => {
        const root = { root: structuredClone(value) };
        const all = [...places(root)].map(([container, key]) => container[key])
          .filter((part) => typeof part === "object" && part !== null && !Array.isArray(part));
        if (all.length === 0) return value;
        define(all[n % all.length] as object, name, RAW + text);
        return root.root;
      },
    })),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.nat(), fc.nat()).map(([n, m]) => ({
      label: `copy place ${n} over ${m}`,
      apply: (value: Json) => {
        const root = { root: structuredClone(value) };
        const all = [...places(root)];
        const [from, fromKey] = all[n % all.length];
        const [to, toKey] = all[m % all.length];
        const copied = structuredClone(from[fromKey]);
        define(to, toKey, copied);
        return root.root;
      },
    })),
  },
);

/** The text of a JSON value with the hostile parts in it. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    /"\\u0001raw ((?:[^"\\]|\\.)*)"/g,
    (_, escaped) => JSON.parse(`"${escaped}"`),
  );
}

/** A JSON text in which a place stands twice: first with another value, then with its own. */
function repeated(value: Json, n: number, hostile: string): string {
  const root = { root: structuredClone(value) };
  const all = [...places(root.root)].filter(([container]) => !Array.isArray(container));
  if (all.length === 0) return JSON.stringify(value);
  const [container, key] = all[n % all.length];
  const entries = Object.entries(container);
  for (const name of Object.keys(container)) delete container[name];
  for (const [name, own] of entries) {
    // JSON.stringify writes no key twice: the second one is put beside the first.
    if (name === key) {
      define(container, name, `${RAW}${hostile},${JSON.stringify(key)}:${JSON.stringify(own)}`);
    } else define(container, name, own);
  }
  return jsonText(root.root);
}

/** Changes to a JSON text that may leave it broken. */
const jsonTextEdit: fc.Arbitrary<Edit<string>> = fc.oneof(
  fc.constantFrom("\ufeff", " ".repeat(100), "//", "{", "[", "null", "\0").map((text) => ({
    label: `begin with ${JSON.stringify(text.slice(0, 8))}`,
    apply: (content: string) => text + content,
  })),
  fc.constantFrom("}", ",", "\0", " ", "{}").map((text) => ({
    label: `end with ${JSON.stringify(text)}`,
    apply: (content: string) => content + text,
  })),
  fc.constantFrom("", "null", "[]", '"text"', "0", "{}", "NaN").map((text) => ({
    label: `replace by ${JSON.stringify(text)}`,
    apply: () => text,
  })),
);

/** Changes to the bytes of a JSON file: to its value, to its text, to its bytes. */
export const jsonEdit: fc.Arbitrary<Edit> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.array(jsonValueEdit, { minLength: 1, maxLength: 3 }).map((edits) => ({
      label: labels(edits).join(", "),
      apply: (bytes: Uint8Array) => {
        try {
          const value: Json = JSON.parse(new TextDecoder().decode(bytes));
          return new TextEncoder().encode(jsonText(applyAll(value, edits)));
        } catch {
          return bytes; // an edit before this one left no JSON, or one too deep to be copied
        }
      },
    })),
  },
  {
    weight: 1,
    arbitrary: jsonTextEdit.map(({ label, apply }) => ({
      label,
      apply: (bytes: Uint8Array) =>
        new TextEncoder().encode(apply(new TextDecoder().decode(bytes))),
    })),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.nat(), hostileJson).map(([n, { label, text }]) => ({
      label: `place ${n} twice, first as ${label}`,
      apply: (bytes: Uint8Array) => {
        try {
          const value: Json = JSON.parse(new TextDecoder().decode(bytes));
          return new TextEncoder().encode(repeated(value, n, text));
        } catch {
          return bytes;
        }
      },
    })),
  },
  { weight: 1, arbitrary: byteEdit },
);
