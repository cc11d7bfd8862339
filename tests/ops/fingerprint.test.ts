import { assert, assertEquals } from "@std/assert";
import { Random } from "../../lib/random.ts";
import { fingerprint } from "../../lib/tensor/ops/fingerprint.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { Tensor } from "../../lib/tensor/tensor.ts";
import { gpu } from "../gpu.ts";

/** The same hash in integers of the host. */
function reference(row: Float32Array): number {
  const bits = new Uint32Array(row.slice().buffer);
  let total = 0;
  bits.forEach((word, i) => {
    let h = (word + Math.imul(i, 0x9e3779b9)) >>> 0;
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    total = (total + ((h ^ (h >>> 16)) >>> 0)) >>> 0;
  });
  return total & 0xffffff;
}

Deno.test("fingerprints are those of the host, and one bit changes them", async () => {
  const random = new Random("fingerprint");
  for (const [rows, length] of [[1, 1], [3, 7], [2, 64], [5, 1000], [200, 3]]) {
    using _ = new Scope(gpu);
    const data = Float32Array.from({ length: rows * length }, () => random.normal());
    const row = (values: Float32Array, i: number) => values.subarray(i * length, (i + 1) * length);
    const hashes = await fingerprint(Tensor.from(gpu, data, [rows, length])).data();
    assertEquals([...hashes], Array.from({ length: rows }, (_, i) => reference(row(data, i))));
    const changed = data.slice();
    new Uint32Array(changed.buffer)[rows * length - 1] ^= 1;
    const others = await fingerprint(Tensor.from(gpu, changed, [rows, length])).data();
    assertEquals([...others.subarray(0, -1)], [...hashes.subarray(0, -1)]);
    assert(others[rows - 1] !== hashes[rows - 1]);
  }
});

Deno.test("zeros, minus zeros and NaN have fingerprints too", async () => {
  using _ = new Scope(gpu);
  const data = Float32Array.of(0, 0, -0, -0, NaN, NaN);
  const hashes = await fingerprint(Tensor.from(gpu, data, [3, 2])).data();
  assertEquals(new Set(hashes).size, 3);
});
