import { assert, assertEquals } from "@std/assert";
import { augment, flip } from "../../lib/data/augment.ts";
import type { Slice } from "../../lib/data/slices.ts";
import { Random } from "../../lib/random.ts";

const slice: Slice = {
  ref: {
    id: "a:2:0",
    caseId: "a",
    patient: "a",
    axis: 2,
    index: 0,
    width: 3,
    height: 2,
    spacing: [1, 1],
    sliceSpacing: 1,
    tumourVoxels: 2,
  },
  image: Float32Array.of(1, 2, 3, 4, 5, 6),
  mask: Uint8Array.of(1, 0, 0, 0, 0, 1),
};

Deno.test("a flip mirrors image and mask alike and leaves its input alone", () => {
  const across = flip(slice, "horizontal");
  assertEquals([...across.image], [3, 2, 1, 6, 5, 4]);
  assertEquals([...across.mask], [0, 0, 1, 1, 0, 0]);
  const down = flip(slice, "vertical");
  assertEquals([...down.image], [4, 5, 6, 1, 2, 3]);
  assertEquals([...down.mask], [0, 0, 1, 1, 0, 0]);
  assertEquals([...slice.image], [1, 2, 3, 4, 5, 6]);
  assertEquals(flip(across, "horizontal"), slice);
});

Deno.test("half of the slices are mirrored left to right and none upside down, by default", () => {
  const random = new Random(1);
  let mirrored = 0;
  for (let i = 0; i < 1000; i++) {
    const first = augment(slice, random).slice.image[0];
    assert(first === 1 || first === 3);
    if (first === 3) mirrored++;
  }
  assert(Math.abs(mirrored - 500) < 60, `${mirrored}`);
});

Deno.test("the chances are those asked for, and one option does not shift the other's draws", () => {
  assertEquals(augment(slice, new Random(1), { horizontal: 0 }), { slice, variant: "" });
  const both = augment(slice, new Random(1), { horizontal: 1, vertical: 1 });
  assertEquals([...both.slice.image], [6, 5, 4, 3, 2, 1]);
  assertEquals(both.variant, "/horizontal/vertical");
  const pattern = (vertical: number) => {
    const random = new Random(7);
    return Array.from({ length: 50 }, () => {
      const { slice: { image } } = augment(slice, random, { vertical });
      return image[0] < image[2]; // not mirrored left to right
    });
  };
  assertEquals(pattern(0), pattern(1));
});

Deno.test("slices of one variant have the same pixels, those of different ones have not", () => {
  const seen = new Map<string, string>();
  const random = new Random(5);
  for (let i = 0; i < 50; i++) {
    const augmented = augment(slice, random, { horizontal: 0.5, vertical: 0.5 });
    const pixels = augmented.slice.image.join();
    assertEquals(seen.get(augmented.variant) ?? pixels, pixels);
    seen.set(augmented.variant, pixels);
  }
  assertEquals(new Set(seen.values()).size, 4);
  assertEquals(seen.get(""), slice.image.join());
});
