import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { mean, standardDeviation, summarize } from "../../lib/stats/summary.ts";
import { MaskPair } from "../../lib/metrics/mask_pair.ts";
import { dice, measure } from "../../lib/metrics/metrics.ts";

const truth = new Uint8Array([1, 1, 1, 0, 0, 0]);
const grid = { shape: [6, 1, 1], spacing: [1, 1, 1] } as const;
const iou = (prediction: Uint8Array, truth: Uint8Array) =>
  measure("iou", new MaskPair(prediction, truth, grid))!;

Deno.test("dice and iou of hand-made masks are what counting gives", () => {
  const prediction = new Uint8Array([0, 1, 1, 1, 1, 0]); // 2 shared, 3 + 4 set, 5 in the union
  assertAlmostEquals(dice(prediction, truth), 4 / 7);
  assertAlmostEquals(iou(prediction, truth), 2 / 5);
});

Deno.test("dice and iou are 1 for equal masks and 0 for disjoint ones", () => {
  const complement = truth.map((value) => 1 - value);
  assertEquals([dice(truth, truth), iou(truth, truth)], [1, 1]);
  assertEquals([dice(complement, truth), iou(complement, truth)], [0, 0]);
});

Deno.test("a mask of any label counts as one of ones", () => {
  const labels = new Uint8Array([3, 255, 2, 0, 0, 0]);
  assertEquals([dice(labels, truth), iou(truth, labels)], [1, 1]);
});

Deno.test("two empty masks score 1 and one empty mask scores 0", () => {
  const empty = new Uint8Array(6);
  assertEquals([dice(empty, empty), iou(empty, empty)], [1, 1]);
  assertEquals([dice(empty, truth), dice(truth, empty)], [0, 0]);
  assertEquals([iou(empty, truth), iou(truth, empty)], [0, 0]);
});

Deno.test("masks on different grids are refused", () => {
  assertThrows(() => dice(truth, new Uint8Array(5)), RangeError, "6 and 5 pixels");
});

Deno.test("mean and sample standard deviation agree with a worked example", () => {
  assertEquals(mean([2, 4, 9]), 5);
  assertAlmostEquals(standardDeviation([2, 4, 9]), Math.sqrt(13)); // (9 + 1 + 16) / 2
  assertEquals(summarize([0.5]), { mean: 0.5, sd: 0, n: 1 });
});
