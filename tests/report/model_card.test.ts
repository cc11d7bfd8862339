import { assertAlmostEquals, assertEquals } from "@std/assert";
import {
  calibrationError,
  iouCalibration,
  presenceCalibration,
} from "../../lib/report/calibration.ts";
import { worstSlices } from "../../lib/report/failures.ts";
import { scoreMask } from "../../lib/metrics/mask_score.ts";
import type { Records, SliceRecord } from "../../lib/study/records.ts";
import type { Run } from "../../lib/study/results.ts";

/** A slice of ten pixels of 100 mm² each, its truth and mask as text. */
function slice(id: string, truth: string, mask: string, presence: number): SliceRecord {
  const bytes = (text: string) => Uint8Array.from(text.padEnd(10, "0"), Number);
  const grid = { level: "slice", shape: [10, 1, 1], spacing: [10, 10, 1] } as const;
  return {
    id,
    caseId: id,
    patient: `patient of ${id}`,
    tumourPixels: bytes(truth).filter(Boolean).length,
    scores: { "whole-image": scoreMask(bytes(mask), bytes(truth), grid) },
    presence: { meanLogit: presence, maxLogit: presence, stability: presence, iou: presence },
  };
}

const tumour = [
  slice("good", "1111", "1111", 0.9),
  slice("outline", "11110", "01111", 0.8),
  slice("much", "1100", "1111", 0.8),
  slice("little", "1111", "0001", 0.8),
  slice("elsewhere", "11000", "00011", 0.8),
  slice("unpainted", "11", "", 0),
  slice("quiet", "1111", "1111", 0.2),
];
const healthy = [
  slice("small", "", "1", 0.6),
  slice("large", "", "111", 0.7),
  slice("silent", "", "11111", 0.1),
  slice("empty", "", "", 0),
];
const records = [
  {
    part: "",
    row: "own",
    trivial: false,
    slices: tumour,
    healthy,
    cases: [],
    masks: [],
    sample: null,
  },
] satisfies Records[];
const runs = [{
  part: "",
  experiment: { name: "own" },
  presence: { score: "iou", threshold: 0.5 },
}];
const study = { runs: runs as unknown as Run[], records };

Deno.test("the worst slices are told by their kind, those that the rule leaves empty as passed over", () => {
  const found = worstSlices(study, { row: "own", count: 20 });
  assertEquals(
    found.map(({ id, kind, area }) => [id, kind, area]),
    [
      ["large", "invented", 300],
      ["small", "invented", 100],
      ["elsewhere", "elsewhere", 200],
      ["quiet", "missed", 400],
      ["unpainted", "missed", 0],
      ["little", "little", 100],
      ["much", "much", 400],
      ["outline", "outline", 400],
      ["good", "outline", 400],
    ],
  );
  assertEquals(found.find(({ id }) => id === "quiet")!.dice, 0);
  const few = worstSlices(study, { row: "own", count: 3 }).map(({ id }) => id);
  assertEquals(few, ["large", "elsewhere", "quiet"]);
  const one = worstSlices({ ...study, records: [{ ...records[0], slices: [] }] }, {
    row: "own",
    count: 3,
  });
  assertEquals(one.map(({ id }) => id), ["large", "small"]);
  assertEquals(worstSlices(study, { row: "other", count: 3 }), []);
});

Deno.test("calibration compares what is said with what is found, in bins of as many slices", () => {
  const bins = iouCalibration([...tumour, ...healthy]);
  assertEquals(bins.map(({ slices }) => slices), [2, 2, 3, 2, 2]);
  // The first two say 0: an unpainted tumour of IoU 0, and an empty slice.
  assertEquals([bins[0].said, bins[0].found, bins[0].from, bins[0].to], [0, 0, 0, 0]);
  // Then 0.1 of a tumour-free slice, and 0.2 of a mask that is all right.
  assertAlmostEquals(bins[1].said, 0.15);
  assertEquals(bins[1].found, 0.5);
  const away = bins.reduce(
    (sum, { said, found, slices }) => sum + slices * Math.abs(said - found),
    0,
  );
  assertAlmostEquals(calibrationError(bins), away / 11);
  const shares = presenceCalibration([...tumour, ...healthy], "meanLogit");
  assertEquals(shares.map(({ found }) => Number(found.toFixed(2))), [0.5, 0.5, 0.33, 1, 1]);
});
