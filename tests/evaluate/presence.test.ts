import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  areaUnderCurve,
  choosePresence,
  isPresent,
  presenceCandidates,
  type PresenceSample,
  presenceScores,
} from "../../lib/evaluate/presence.ts";
import { summarizeUnprompted } from "../../lib/evaluate/unprompted.ts";
import { scoreMask } from "../../lib/metrics/mask_score.ts";
import { emptied } from "../../lib/metrics/metrics.ts";

const logits = (...values: number[]) => Float32Array.from(values);

Deno.test("presence scores of hand-made logits are what counting gives", () => {
  assertEquals(presenceScores({ logits: logits(-3, 0.5, 2.5, 3, -1), iou: 0.25 }), {
    meanLogit: 2,
    maxLogit: 3,
    stability: 2 / 3,
    iou: 0.25,
  });
  // Nothing is painted.
  assertEquals(presenceScores({ logits: logits(-3, -0.5, 0), iou: 0.9 }), {
    meanLogit: 0,
    maxLogit: 0,
    stability: 0,
    iou: 0.9,
  });
});

Deno.test("the area under the curve counts pairs, ties half", () => {
  assertEquals(areaUnderCurve([3, 4], [1, 2]), 1);
  assertEquals(areaUnderCurve([1, 3], [2, 2]), 0.5);
  assertEquals(areaUnderCurve([1, 3], [1, 2]), (0.5 + 0 + 1 + 1) / 4);
  assertEquals(areaUnderCurve([-Infinity], [-Infinity]), 0.5);
});

/** A slice whose scores are all one value. */
function sample(tumour: boolean, value: number, painted = true): PresenceSample {
  const scores = { meanLogit: value, maxLogit: value, stability: value, iou: value };
  return { tumour, painted, scores };
}

Deno.test("the threshold is the largest that keeps 95 % of the slices with tumour", () => {
  // 40 slices with tumour of scores 1 to 40: 38 must stay, those from 3 on.
  const tumour = Array.from({ length: 40 }, (_, i) => sample(true, i + 1));
  const healthy = [sample(false, 2), sample(false, 3), sample(false, 99, false), sample(false, 0)];
  const [first, ...others] = presenceCandidates([...tumour, ...healthy]);
  assertEquals(first.threshold, 3);
  assertEquals(first.sensitivity, 0.95);
  assertEquals(first.quiet, 3 / 4); // one is not painted at all, whatever its score
  // By pairs: of 40 scores 38.5 are above 2 (one alike), 37.5 above 3, all above the others.
  assertAlmostEquals(first.auc, (38.5 + 37.5 + 40 + 40) / 160);
  assertEquals(others.map(({ threshold }) => threshold), [3, 3, 3]);
});

Deno.test("where too few are painted, every painted one counts; without either kind there is no rule", () => {
  const few = [sample(true, 5), sample(true, 9, false), sample(false, 1)];
  const [{ threshold, sensitivity, quiet }] = presenceCandidates(few);
  assertEquals([threshold, sensitivity, quiet], [5, 0.5, 1]);
  assertEquals(presenceCandidates(few.filter(({ tumour }) => tumour)), []);
  assertEquals(presenceCandidates([sample(true, 1, false), sample(false, 1)]), []);
  assertEquals(choosePresence([]), null);
});

Deno.test("the score that tells the slices apart best is chosen, the first of those alike", () => {
  const scores = (meanLogit: number, iou: number) => ({
    meanLogit,
    maxLogit: 0,
    stability: 0,
    iou,
  });
  const chosen = choosePresence(presenceCandidates([
    { tumour: true, painted: true, scores: scores(1, 0.9) },
    { tumour: false, painted: true, scores: scores(2, 0.1) },
  ]))!;
  assertEquals([chosen.score, chosen.threshold, chosen.auc], ["iou", 0.9, 1]);
  assertEquals(isPresent(scores(0, 0.9), chosen), true);
  assertEquals(isPresent(scores(9, 0.899), chosen), false);
  assertEquals(isPresent({}, null), true);
  assertEquals(
    choosePresence(presenceCandidates([sample(true, 2), sample(false, 1)]))!.score,
    "meanLogit",
  );
});

/** A slice of four pixels of 100 mm² each, scored without a prompt. */
function slice(
  patient: string,
  { truth, mask, value }: { truth: number[]; mask: number[]; value: number },
) {
  const grid = { level: "slice", shape: [4, 1, 1], spacing: [10, 10, 1] } as const;
  return {
    id: `${patient}:2:0`,
    patient,
    tumourPixels: truth.filter(Boolean).length,
    scores: { "whole-image": scoreMask(Uint8Array.from(mask), Uint8Array.from(truth), grid) },
    presence: { meanLogit: value, maxLogit: value, stability: value, iou: value },
  };
}

Deno.test("masks without a prompt are summed up with and without the rule", () => {
  const slices = [
    slice("a", { truth: [1, 1, 0, 0], mask: [1, 1, 0, 0], value: 3 }),
    slice("b", { truth: [1, 1, 0, 0], mask: [1, 1, 1, 1], value: 1 }),
    slice("c", { truth: [0, 0, 0, 0], mask: [1, 0, 0, 0], value: 1 }),
    slice("d", { truth: [0, 0, 0, 0], mask: [1, 1, 1, 0], value: 4 }),
    slice("e", { truth: [0, 0, 0, 0], mask: [0, 0, 0, 0], value: 0 }),
  ];
  const means = (rule: Parameters<typeof summarizeUnprompted>[0][number]["rule"]) => {
    const found = summarizeUnprompted([{ slices, rule }]);
    return Object.fromEntries(Object.entries(found).map(([name, { mean }]) => [name, mean]));
  };
  assertEquals(means(null), {
    dice: (1 + 2 / 3) / 2,
    sensitivity: 1,
    healthyPainted: 2 / 3,
    healthyArea: 400 / 3,
  });
  assertEquals(means({ score: "iou", threshold: 2 }), {
    dice: 0.5,
    sensitivity: 0.5,
    healthyPainted: 1 / 3,
    healthyArea: 100,
  });
  // Two seeds: each slice counts once, by its mean over them.
  const rules = [{ slices, rule: null }, { slices, rule: { score: "iou", threshold: 2 } as const }];
  assertEquals(summarizeUnprompted(rules).sensitivity!.mean, 0.75);
});

Deno.test("a metric of an emptied mask is that of an empty prediction", () => {
  assertEquals(emptied("dice", { truth: true }), 0);
  assertEquals(emptied("healthyArea", { truth: false }), 0);
  assertThrows(() => emptied("hd95", { truth: true }), RangeError, "hd95");
});
