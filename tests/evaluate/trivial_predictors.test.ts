import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { evaluationPrompt } from "../../lib/evaluate/scored_prompts.ts";
import { dice } from "../../lib/metrics/metrics.ts";
import {
  allOnes,
  filledBox,
  inscribedEllipse,
  scoreTrivialPredictors,
} from "../../lib/evaluate/trivial_predictors.ts";
import { discs } from "../train/discs.ts";

/** The set pixels as text, one line a row. */
function rows(mask: Uint8Array, width: number): string[] {
  return Array.from(
    { length: mask.length / width },
    (_, row) => Array.from(mask.subarray(row * width, (row + 1) * width), (v) => ".#"[v]).join(""),
  );
}

const grid = { width: 6, height: 5 };

Deno.test("all ones scores 2a / (1 + a) where a is the tumour's share", () => {
  const truth = new Uint8Array(30);
  truth.set([1, 1, 1], 7);
  const share = 3 / 30;
  assertAlmostEquals(dice(allOnes(grid), truth), (2 * share) / (1 + share));
});

Deno.test("the filled box covers its columns and rows, the last ones exclusive", () => {
  assertEquals(rows(filledBox([1, 1, 4, 3], grid), 6), [
    "......",
    ".###..",
    ".###..",
    "......",
    "......",
  ]);
});

Deno.test("a box of fractional pixels takes the pixels whose centres it holds", () => {
  assertEquals(rows(filledBox([-2, 3.6, 1.5, 9], grid), 6), [
    "......",
    "......",
    "......",
    "......",
    "#.....",
  ]);
});

Deno.test("the inscribed ellipse leaves out the corners of its box and reaches its sides", () => {
  assertEquals(rows(inscribedEllipse([0, 0, 6, 5], grid), 6), [
    ".####.", // its row of centres at v = 0.8 holds |u| <= 0.6: columns 1 to 4
    "######",
    "######",
    "######",
    ".####.",
  ]);
});

Deno.test("the inscribed ellipse of a large box fills pi / 4 of it", () => {
  const large = { width: 200, height: 100 };
  const area = inscribedEllipse([10, 10, 190, 90], large).reduce((sum, v) => sum + v, 0);
  assertAlmostEquals(area / (180 * 80), Math.PI / 4, 2e-3);
});

Deno.test("the predictors are scored on the boxes that models are given", async () => {
  const data = discs("trivial", { count: 3 });
  const found = await scoreTrivialPredictors({ reader: data, refs: data.refs }, { seed: 2 });
  assertEquals(Object.keys(found), ["All ones", "Filled box", "Inscribed ellipse"]);
  for (const [i, ref] of data.refs.entries()) {
    const slice = await data.read(ref);
    const { box } = evaluationPrompt("jittered-box-40", slice, 2);
    const { scores } = found["Filled box"].slices[i];
    assertEquals(scores["jittered-box-40"]!.dice, dice(filledBox(box!, ref), slice.mask));
    assertEquals(found["All ones"].slices[i].scores["tight-box"]!.predicted, 64 * 64);
    assert(found["Inscribed ellipse"].slices[i].scores["tight-box"]!.dice > 0.95, "discs");
    assert(!("point" in scores) && !("clicks-5" in scores));
  }
});
