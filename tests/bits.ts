import { assert, assertEquals } from "@std/assert";

type Numbers = Float32Array | Uint8Array;

/**
 * Asserts that two arrays hold the same bits. Large arrays that differ are not written out, as
 * `assertEquals` would.
 */
export function assertSameBits(actual: Numbers, expected: Numbers, what: string): void {
  assertEquals(actual.length, expected.length, `${what}: number of elements`);
  const bytes = (data: Numbers) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  const [a, b] = [bytes(actual), bytes(expected)];
  const size = actual.BYTES_PER_ELEMENT;
  const at = Math.floor(a.findIndex((byte, i) => byte !== b[i]) / size);
  assert(at < 0, `${what}: element ${at} is ${actual[at]}, not ${expected[at]}`);
}
