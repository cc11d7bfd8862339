import { assertAlmostEquals, assertEquals } from "@std/assert";
import { scoreMask } from "../../lib/metrics/mask_score.ts";
import fixtures from "./fixtures/lesion_wise.json" with { type: "json" };

type Triple = readonly [number, number, number];

/** A mask from bits, the lowest of each byte first. */
function unpack(text: string, count: number): Uint8Array {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return Uint8Array.from({ length: count }, (_, i) => bytes[i >> 3] >> (i & 7) & 1);
}

Deno.test("lesion-wise Dice and HD95 are those of a reference after BraTS-MEN's rule", () => {
  for (const [i, fixture] of fixtures.entries()) {
    const shape = fixture.shape as unknown as Triple;
    const count = shape.reduce((a, b) => a * b);
    const score = scoreMask(unpack(fixture.prediction, count), unpack(fixture.truth, count), {
      level: "case",
      shape,
      spacing: fixture.spacing as unknown as Triple,
    });
    for (const metric of ["lesionDice", "lesionHd95"] as const) {
      assertAlmostEquals(score[metric]!, fixture[metric], 1e-9, `${i}: ${metric}`);
    }
  }
});

/** A volume of 40 x 12 x 12 voxels of 1 mm with cubes of a side at places along x. */
function cubes(...places: readonly (readonly [x: number, side: number])[]): Uint8Array {
  const volume = new Uint8Array(40 * 12 * 12);
  for (const [from, side] of places) {
    for (let z = 2; z < 2 + side; z++) {
      for (let y = 2; y < 2 + side; y++) {
        volume.fill(1, (z * 12 + y) * 40 + from, (z * 12 + y) * 40 + from + side);
      }
    }
  }
  return volume;
}

const score = (prediction: Uint8Array, truth: Uint8Array) => {
  const { dice, hd95, lesionDice, lesionHd95 } = scoreMask(prediction, truth, {
    level: "case",
    shape: [40, 12, 12],
    spacing: [1, 1, 1],
  });
  return { dice, hd95, lesionDice, lesionHd95 };
};

Deno.test("a single lesion found in one piece has the case's own Dice and HD95", () => {
  const { dice, hd95, lesionDice, lesionHd95 } = score(cubes([6, 6]), cubes([4, 6]));
  assertEquals([lesionDice, lesionHd95], [dice, hd95]);
  assertEquals(dice, 2 / 3);
});

Deno.test("a missed lesion counts as much as a found one, and so does an invented one", () => {
  const [first, second, third] = [[2, 4], [12, 5], [24, 6]] as const;
  const missed = score(cubes(second), cubes(first, second));
  assertEquals([missed.lesionDice, missed.lesionHd95], [1 / 2, 374 / 2]);
  const invented = score(cubes(first, second, third), cubes(first, second));
  assertEquals([invented.lesionDice, invented.lesionHd95], [2 / 3, 374 / 3]);
});

Deno.test("lesions with two voxels between them are one, with three they are two", () => {
  const [first, near, far] = [[2, 4], [8, 4], [9, 4]] as const;
  assertEquals(score(cubes(first), cubes(first, near)).lesionDice, 2 / 3);
  assertEquals(score(cubes(first), cubes(first, far)).lesionDice, 1 / 2);
});

Deno.test("lesions of 50 mm³ or less are left out with what was predicted of them, inventions of any size count", () => {
  const [small, large] = [[2, 3], [20, 5]] as const;
  assertEquals(score(cubes(large), cubes(small, large)).lesionDice, 1);
  assertEquals(score(cubes(small, large), cubes(small, large)).lesionDice, 1);
  assertEquals(score(cubes(small, large), cubes(large)).lesionDice, 1 / 2);
});

Deno.test("slices have no lesion-wise scores", () => {
  const mask = new Uint8Array(16).fill(1);
  const slice = scoreMask(mask, mask, { level: "slice", shape: [4, 4, 1], spacing: [1, 1, 1] });
  assertEquals("lesionDice" in slice, false);
});
