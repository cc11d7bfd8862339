import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import type { Slice } from "../../lib/data/slices.ts";
import { fitClassifier, imageStatistics } from "../../lib/evaluate/controls/image_statistics.ts";
import {
  mirroredHalves,
  mirrorHealthyHalf,
  symmetryAxis,
} from "../../lib/data/counterfactual/mirrored_half.ts";
import {
  headBox,
  pastedTumours,
  pasteTumour,
} from "../../lib/data/counterfactual/pasted_tumour.ts";
import { type ControlScore, worstOf } from "../../lib/evaluate/controls/score_controls.ts";
import { controlsGrid, controlsNotes } from "../../lib/report/controls_table.ts";
import { discs } from "../train/discs.ts";

const [ref] = discs("controls", { count: 1 }).refs;

/** A slice by the value and the truth of each pixel. */
function slice(
  id: string,
  { width = 40, height = 30, value, truth = () => false }: {
    width?: number;
    height?: number;
    value: (x: number, y: number) => number;
    truth?: (x: number, y: number) => boolean;
  },
): Slice {
  const places = Array.from({ length: width * height }, (_, i) => [
    i % width,
    Math.floor(i / width),
  ]);
  const mask = Uint8Array.from(places, ([x, y]) => Number(truth(x, y)));
  return {
    image: Float32Array.from(places, ([x, y]) => value(x, y)),
    mask,
    ref: {
      ...ref,
      id,
      caseId: id,
      patient: id,
      width,
      height,
      tumourVoxels: mask.reduce((a, b) => a + b, 0),
    },
  };
}

const readerOf = (...slices: Slice[]) => ({
  read: ({ id }: { id: string }) => Promise.resolve(slices.find((one) => one.ref.id === id)!),
});

/** A head that is symmetric about column 18.5, with stripes, and a tumour in it. */
const head = (x: number, y: number) =>
  Math.hypot(x - 18.5, y - 15) < 12 ? 60 + 10 * (y % 7) + Math.abs(x - 18.5) : 0;
const within = (cx: number) => (x: number, y: number) => Math.hypot(x - cx, y - 14) < 3.2;
const withTumour = (cx: number) => (x: number, y: number) => within(cx)(x, y) ? 220 : head(x, y);

Deno.test("the half with the tumour becomes the mirrored other", () => {
  const plain = slice("plain", { value: head });
  assertEquals(symmetryAxis({ ...plain, ...plain.ref }).sum, 37);
  for (const cx of [12, 26]) {
    const tumour = slice("tumour", { value: withTumour(cx), truth: within(cx) });
    const made = mirrorHealthyHalf(tumour)!;
    assertEquals(made.image, plain.image);
    assertEquals([made.ref.tumourVoxels, made.mask.some(Boolean)], [0, false]);
    assertEquals(made.ref.id, "tumour:mirrored");
  }
});

Deno.test("a slice without two sides, or with tumour on both, is left out and counted", async () => {
  const middle = slice("middle", { value: withTumour(18), truth: within(18) });
  assertEquals(mirrorHealthyHalf(middle), null);
  const sagittal = slice("sagittal", {
    value: (x, y) => (x * 7 + y * 3) % 31 + x * 4,
    truth: within(12),
  });
  assertEquals(mirrorHealthyHalf(sagittal), null);
  const left = slice("left", { value: withTumour(12), truth: within(12) });
  const { refs, leftOut, read } = await mirroredHalves(readerOf(middle, sagittal, left), [
    middle.ref,
    sagittal.ref,
    left.ref,
  ]);
  assertEquals([refs.map(({ id }) => id), leftOut], [["left:mirrored"], 2]);
  assertEquals((await read(refs[0])).ref, refs[0]);
});

Deno.test("a pasted tumour lies at the same place of the head, in its size, and leaves the rest alone", async () => {
  const donor = slice("donor", { value: withTumour(26), truth: within(26) });
  // Twice the size, of half the brightness.
  const host = slice("host", {
    width: 80,
    height: 60,
    value: (x, y) => Math.hypot(x - 41.5, y - 30) < 24 ? 45 : 0,
  });
  assertEquals(headBox(host), [18, 7, 66, 54]);
  const made = pasteTumour(donor, host);
  const area = donor.ref.tumourVoxels;
  assert(Math.abs(made.ref.tumourVoxels / area - 4) < 0.5, `${made.ref.tumourVoxels} of ${area}`);
  const centre = (axis: 0 | 1) => {
    const places = [...made.mask.keys()].filter((i) => made.mask[i])
      .map((i) => [i % 80, Math.floor(i / 80)][axis]);
    return places.reduce((a, b) => a + b, 0) / places.length;
  };
  // 7.5 columns right of the head's middle, at twice the scale.
  assertAlmostEquals(centre(0), 41.5 + 15, 1);
  assertAlmostEquals(centre(1), 30 - 2, 1.5);
  // Brighter than its host, by as much as it was than its surroundings.
  const inside = made.image[28 * 80 + 56];
  assert(inside > 90 && inside < 200, `${inside}`);
  assertEquals(made.image[28 * 80 + 30], 45);
  assertEquals(made.image[0], 0);
  assertEquals(made.ref.patient, "donor");

  // Of several hosts the head that looks most like it is taken.
  const other = slice("other", { value: (x, y) => y > 20 ? 200 : x > 20 ? 40 : 0 });
  const like = slice("like", { value: head });
  const reader = readerOf(donor, other, like);
  const { refs, leftOut, read } = await pastedTumours(reader, [donor.ref], [other.ref, like.ref]);
  assertEquals([refs.map(({ id }) => id), leftOut], [["donor:in:like"], 0]);
  assertEquals(await read(refs[0]), pasteTumour(donor, like));
  // Or every host gets the tumour of the head that looks most like its own.
  const each = await pastedTumours(reader, [donor.ref], [other.ref, like.ref], { each: "host" });
  assertEquals(each.refs.map(({ id }) => id), ["donor:in:other", "donor:in:like"]);
  assertEquals((await pastedTumours(reader, [donor.ref], [])).refs, []);
});

Deno.test("statistics are the histogram's shares and the size", () => {
  const made = slice("one", { width: 4, height: 2, value: (x) => [0, 15.9, 16, 255][x] });
  const expected = new Array(18).fill(0);
  [expected[0], expected[1], expected[15], expected[16], expected[17]] = [0.5, 0.25, 0.25, 4, 2];
  assertEquals(imageStatistics(made), expected);
});

Deno.test("the classifier is where the gradient of its loss vanishes", () => {
  const samples = [[0, 5], [1, 5], [2, 4], [1, 7], [3, 5], [4, 6], [2, 5]].map((features, i) => ({
    features,
    tumour: i > 3,
  }));
  const classify = fitClassifier(samples);
  // The loss in the standardised features: balanced cross-entropy and a ridge of 0.01 / 2.
  const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const scales = [0, 1].map((k) => {
    const values = samples.map(({ features }) => features[k]);
    const centre = mean(values);
    return { centre, deviation: Math.sqrt(mean(values.map((x) => (x - centre) ** 2))) };
  });
  const { deviation } = scales[0];
  const slope = (k: number) => {
    const at = [0, 1].map((j) => scales[j].centre);
    const moved = at.map((x, j) => j === k ? x + scales[k].deviation : x);
    return classify(moved) - classify(at);
  };
  for (const k of [0, 1]) {
    let gradient = 0.01 * slope(k);
    for (const { features, tumour } of samples) {
      const error = 1 / (1 + Math.exp(-classify(features))) - Number(tumour);
      const weight = 0.5 / (tumour ? 3 : 4);
      gradient += weight * error * (features[k] - scales[k].centre) / scales[k].deviation;
    }
    assertAlmostEquals(gradient, 0, 1e-6);
  }
  assert(deviation > 0 && classify([4, 5]) > classify([0, 5]));
});

Deno.test("the worst of the controls is named, by the rule where there is one", () => {
  const score = (mean: number) => ({ mean, sd: 0, n: 3 });
  const row = (name: string, tumour: boolean, all: number, ruled: number): ControlScore => {
    const metric = tumour ? "sensitivity" : "healthyPainted";
    const values = (mean: number) => ({ [metric]: score(mean) });
    return {
      ...{ name, tumour, slices: 3, patients: 3, leftOut: name === "mirrored" ? 2 : 0, auc: 0.9 },
      all: values(all),
      ruled: values(ruled),
    };
  };
  const scores = [
    row("own", true, 1, 0.95),
    row("free", false, 1, 0.1),
    row("mirrored", false, 0.9, 0.4),
    row("pasted", true, 1, 0.7),
  ];
  const { painted, found } = worstOf({ scores });
  assertEquals([painted!.name, found!.name], ["mirrored", "pasted"]);
  assertEquals(worstOf({ scores: [scores[0]] }).painted, undefined);
  const controls = { scores, statistics: { auc: 0.96, slices: 40 }, counterfactuals: false };
  const notes = controlsNotes(controls).join("\n");
  assert(
    notes.includes("40.0 % painted (mirrored)") && notes.includes("70.0 % found (pasted)"),
    notes,
  );
  assert(notes.includes("mirrored: made of 3 of 5 slices."), notes);
  const taught = controlsNotes({ ...controls, counterfactuals: true });
  assertEquals(taught.length, controlsNotes(controls).length + 1);
  const { header, rows } = controlsGrid(controls);
  assertEquals(rows.length, 9);
  assert(rows.every((cells) => cells.length === header.length));
});
