import { assert, assertEquals, assertNotEquals, assertRejects, assertThrows } from "@std/assert";
import { loadBatches, planBatches, type SliceReader } from "../../lib/data/loader.ts";
import type { Slice, SliceRef } from "../../lib/data/slices.ts";
import { InputError } from "../../lib/errors.ts";
import { Random } from "../../lib/random.ts";

const ref = (index: number, width = 4): SliceRef => ({
  id: `a:2:${index}`,
  caseId: "a",
  patient: "a",
  axis: 2,
  index,
  width,
  height: 4,
  spacing: [1, 1],
  sliceSpacing: 1,
  orientation: null,
  depth: 8,
  tumourVoxels: 1,
});
const refs = (n: number) => Array.from({ length: n }, (_, i) => ref(i));
const indices = (plan: SliceRef[][]) => plan.map((batch) => batch.map((r) => r.index));

/** A reader that counts its reads: those begun, in order, and those under way. */
class Shelf implements SliceReader {
  readonly started: number[] = [];
  under = 0;
  readonly failing = new Set<number>();

  async read(slice: SliceRef): Promise<Slice> {
    this.started.push(slice.index);
    this.under++;
    await new Promise((resolve) => setTimeout(resolve)); // let everything else run first
    this.under--;
    if (this.failing.has(slice.index)) throw new InputError(`slice ${slice.index} is bad`);
    return { ref: slice, image: new Float32Array(16), mask: new Uint8Array(16) };
  }
}

Deno.test("each slice is in one batch, the same order for the same seed", () => {
  const plan = (seed: number) =>
    indices(planBatches(refs(10), { batchSize: 4, random: new Random(seed) }));
  assertEquals(plan(1).map((batch) => batch.length), [4, 4, 2]);
  assertEquals(plan(1).flat().sort((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assertEquals(plan(1), plan(1));
  assertNotEquals(plan(1), plan(2));
  assertEquals(indices(planBatches(refs(5), { batchSize: 2 })), [[0, 1], [2, 3], [4]]);
});

Deno.test("a batch has slices of one size only", () => {
  const mixed = Array.from({ length: 30 }, (_, i) => ref(i, 4 + i % 3));
  const plan = planBatches(mixed, { batchSize: 4, random: new Random(1) });
  for (const batch of plan) assertEquals(new Set(batch.map((r) => r.width)).size, 1);
  assertEquals(plan.flat().length, 30);
  assertEquals(plan.filter((batch) => batch.length < 4).length, 3);
});

Deno.test("a batch size of 0 is refused", () => {
  assertThrows(() => planBatches(refs(3), { batchSize: 0 }), InputError, "batch size cannot be 0");
});

for (const depth of [0, 1, 2, 100]) {
  Deno.test(`batches come in order, ${depth} of them read ahead`, async () => {
    const shelf = new Shelf();
    const plan = planBatches(refs(11), { batchSize: 2 });
    const got: number[] = [];
    for await (const slices of loadBatches(shelf, plan, { depth })) {
      got.push(...slices.map((slice) => slice.ref.index));
      const ahead = Math.min(11, got.length + 2 * depth);
      assertEquals(shelf.started.length, ahead);
    }
    assertEquals(got, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    assertEquals(shelf.started, got);
  });
}

Deno.test("a failing read is thrown at its own batch, not earlier and not lost", async () => {
  const shelf = new Shelf();
  shelf.failing.add(5);
  const got: number[] = [];
  await assertRejects(
    async () => {
      for await (const slices of loadBatches(shelf, planBatches(refs(10), { batchSize: 2 }))) {
        got.push(...slices.map((slice) => slice.ref.index));
      }
    },
    InputError,
    "slice 5 is bad",
  );
  assertEquals(got, [0, 1, 2, 3]);
  assertEquals(shelf.under, 0);
});

Deno.test("leaving the loop early waits for the reads under way and swallows their errors", async () => {
  const shelf = new Shelf();
  shelf.failing.add(4);
  for await (const slices of loadBatches(shelf, planBatches(refs(20), { batchSize: 2 }))) {
    assertEquals(slices[0].ref.index, 0);
    break;
  }
  assertEquals(shelf.under, 0);
  assert(shelf.started.length <= 6);
});

Deno.test("an empty plan has no batches", async () => {
  for await (const _ of loadBatches(new Shelf(), [])) throw new Error("there is nothing to load");
});
