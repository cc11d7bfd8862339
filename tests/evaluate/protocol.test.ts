import { assert, assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { loadSam } from "../../lib/files/pretrained.ts";
import { drawPrompt, errorClick, PROMPT_KINDS, type PromptPoint } from "../../lib/data/prompts.ts";
import type { SliceReader } from "../../lib/data/loader.ts";
import type { Slice, SliceRef } from "../../lib/data/slices.ts";
import { InputError } from "../../lib/errors.ts";
import { Random } from "../../lib/random.ts";
import { SamPredictor } from "../../lib/sam/predictor.ts";
import { mean } from "../../lib/stats/summary.ts";
import { scoreMask } from "../../lib/metrics/mask_score.ts";
import { dice, metricsAt } from "../../lib/metrics/metrics.ts";
import { protocolText } from "../../lib/report/protocol_table.ts";
import { PROTOCOL } from "../../lib/evaluate/scored_prompts.ts";
import { runProtocol } from "../../lib/evaluate/protocol.ts";
import { summarizeProtocol } from "../../lib/evaluate/protocol_summary.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import { gpu } from "../gpu.ts";
import { discs } from "../train/discs.ts";

const sam = await loadSam(gpu);
const made = discs("protocol", { count: 5 });

/**
 * Two cases: three slices of eight of one, with a gap, and all two of the other, one of them without
 * tumour.
 */
const slices = await Promise.all(made.refs.map(async (ref, i): Promise<Slice> => {
  const slice = await made.read(ref);
  const [caseId, index] = [["a", 4], ["a", 5], ["a", 7], ["b", 0], ["b", 1]][i] as [string, number];
  const empty = i === 4;
  return {
    image: slice.image,
    mask: empty ? new Uint8Array(slice.mask.length) : slice.mask,
    ref: {
      ...ref,
      id: `${caseId}:2:${index}`,
      caseId,
      patient: caseId,
      index,
      spacing: [0.5, 0.75],
      sliceSpacing: 3,
      orientation: null,
      depth: caseId === "a" ? 8 : 2,
      tumourVoxels: empty ? 0 : ref.tumourVoxels,
    },
  };
}));
const refs = slices.map(({ ref }) => ref);
const reader: SliceReader = {
  read: (ref) => Promise.resolve(slices.find((slice) => slice.ref.id === ref.id)!),
};

/** The masks of a slice by the predictor, which is checked against SAM's own: a path of its own. */
async function predicted(slice: Slice, seed: number): Promise<Record<string, Uint8Array>> {
  const { mask, ref: { id, width, height } } = slice;
  using predictor = new SamPredictor(sam, { side: 64 });
  predictor.setImage({ data: slice.image, width, height });
  const masks: Record<string, Uint8Array> = {};
  const ask = async (
    { box, points = [], lowRes }: {
      box?: [number, number, number, number];
      points?: PromptPoint[];
      lowRes?: Float32Array;
    },
  ) =>
    await predictor.predict({
      box,
      pointCoords: points.map(({ x, y }) => [x, y]),
      pointLabels: points.map(({ label }) => label),
      maskInput: lowRes,
      multimaskOutput: false,
    });
  for (const kind of PROMPT_KINDS) {
    const random = new Random(`${seed}/${kind}/${id}`);
    masks[kind] = (await ask(drawPrompt(kind, { mask, width, height, random }))).masks[0];
  }
  const truth = { mask, width, height };
  const { points = [] } = drawPrompt("point", { ...truth, random: new Random(0) });
  let lowRes: Float32Array | undefined;
  for (let click = 1; click <= 5; click++) {
    const found = await ask({ points, lowRes });
    masks[`clicks-${click}`] = found.masks[0];
    lowRes = found.lowResMasks;
    const next = errorClick(found.masks[0], truth);
    if (!next) throw new Error("a disc in noise is never perfect: the test needs an error");
    points.push(next);
  }
  return masks;
}

using model = new SliceModel(sam, { side: 64 });
const result = await runProtocol(model, { reader, refs }, { seed: 3, batchSize: 2 });

Deno.test("every prompt's mask is the one that the predictor gives, and every score is its", async () => {
  assertEquals(result.slices.map(({ id }) => id), refs.map(({ id }) => id));
  for (const [i, slice] of slices.slice(0, 4).entries()) {
    const masks = await predicted(slice, 3);
    const { scores, clicks } = result.slices[i];
    assertEquals(Object.keys(scores).sort(), [...PROTOCOL].sort());
    for (const prompt of PROTOCOL) {
      const expected = scoreMask(masks[prompt], slice.mask, {
        level: "slice",
        shape: [64, 64, 1],
        spacing: [0.5, 0.75, 1],
      });
      // Batches round otherwise: a pixel at the threshold may fall to the other side.
      assertAlmostEquals(scores[prompt]!.dice, expected.dice, 5e-3, `${slice.ref.id} ${prompt}`);
      assertAlmostEquals(scores[prompt]!.hd95!, expected.hd95!, 0.6, `${slice.ref.id} ${prompt}`);
      assertEquals(scores[prompt]!.truth, expected.truth);
    }
    assertEquals(clicks!.length, 5);
    clicks!.forEach((score, click) =>
      assertAlmostEquals(score, dice(masks[`clicks-${click + 1}`], slice.mask), 5e-3)
    );
    assertEquals(clicks![0], scores["point"]!.dice);
    assertEquals([clicks![2], clicks![4]], [scores["clicks-3"]!.dice, scores["clicks-5"]!.dice]);
  }
});

Deno.test("a slice without tumour is scored without a prompt alone, and empty otherwise", () => {
  const { scores, tumourPixels, ...rest } = result.slices[4];
  assertEquals(tumourPixels, 0);
  assertEquals(Object.keys(scores), ["whole-image"]);
  assert(!("clicks" in rest));
  assertEquals(scores["whole-image"]!.dice, scores["whole-image"]!.predicted === 0 ? 1 : 0);
});

/** The scores of a run's slices under a prompt, from one index to another. */
const of = (prompt: (typeof PROTOCOL)[number], from: number, to: number) =>
  result.slices.slice(from, to).map(({ scores }) => scores[prompt]);

Deno.test("cases are scored as the volumes that their slices make, in mm³", () => {
  assertEquals(result.cases.map(({ id, slices }) => [id, slices]), [["a", 3], ["b", 2]]);
  const [a, b] = result.cases;
  for (const prompt of PROTOCOL) {
    for (const [volume, parts] of [[a, of(prompt, 0, 3)], [b, of(prompt, 3, 5)]] as const) {
      const sum = (value: "truth" | "predicted" | "falsePositive") =>
        3 * parts.reduce((total, part) => total + (part?.[value] ?? 0), 0);
      const score = volume.scores[prompt]!;
      assertAlmostEquals(score.truth, sum("truth"), 1e-9);
      assertAlmostEquals(score.predicted, sum("predicted"), 1e-9);
      const shared = sum("predicted") - sum("falsePositive");
      const total = sum("predicted") + sum("truth");
      assertAlmostEquals(score.dice, 2 * shared / total, 1e-12);
    }
    const { truth, predicted, signedVolumeError, absoluteVolumeError } = b.scores[prompt]!;
    assertAlmostEquals(signedVolumeError!, (predicted - truth) / truth, 1e-12);
    assertAlmostEquals(absoluteVolumeError!, Math.abs(predicted - truth) / truth, 1e-12);
  }
});

Deno.test("a volume of which slices were left out has an overlap, and no surface or size", () => {
  const [{ scores: part }, { scores: whole }] = result.cases;
  for (const prompt of PROTOCOL) {
    const found = (score: object) =>
      Object.entries(score).filter(([, value]) => value !== null).map(([name]) => name);
    assertEquals(found(part[prompt]!), ["dice", "iou", "truth", "predicted"]);
    assertEquals(found(whole[prompt]!), [...metricsAt("case"), "truth", "predicted"]);
  }
});

/** The result of some slices as volumes of their own, each as deep as it has slices. */
async function scoreVolume(chosen: readonly Slice[]) {
  const own = chosen.map(({ ref, ...pixels }, index): Slice => ({
    ...pixels,
    ref: { ...ref, id: `v:2:${index}`, caseId: "v", index, depth: chosen.length },
  }));
  const read = (ref: SliceRef) => Promise.resolve(own.find((slice) => slice.ref.id === ref.id)!);
  return await runProtocol(model, { reader: { read }, refs: own.map(({ ref }) => ref) }, {
    seed: 3,
  });
}

Deno.test("a scan of one slice has the outline in its plane as boundary, as the slice has", async () => {
  const { cases: [{ scores }], slices: [slice] } = await scoreVolume(slices.slice(0, 1));
  for (const prompt of PROTOCOL) {
    for (const metric of ["hd95", "surfaceDice1mm", "surfaceDice2mm"] as const) {
      assertEquals(scores[prompt]![metric], slice.scores[prompt]![metric], `${prompt} ${metric}`);
    }
  }
});

Deno.test("a volume without tumour has no figure under prompts that nobody gave", async () => {
  const found = await scoreVolume([slices[4], slices[4]]);
  assertEquals(Object.keys(found.cases[0].scores), ["whole-image"]);
  const summary = summarizeProtocol(found);
  assertEquals(Object.keys(summary.prompts), ["whole-image"]);
  // Beside a volume with tumour the boxes are of that alone.
  const { prompts } = summarizeProtocol({
    slices: [...found.slices, ...result.slices],
    cases: [...found.cases.map((one) => ({ ...one, patient: "c" })), ...result.cases],
  });
  assertEquals(prompts["tight-box"]!.cases.dice!.n, 2);
  assertEquals(prompts["whole-image"]!.cases.dice!.n, 3);
  const text = protocolText(summary);
  assert(!text.includes("box") && !text.includes("100.0 [100.0"), text);
});

Deno.test("batches and order decide no score, the seed decides jitter and points", async () => {
  const other = await runProtocol(model, { reader, refs: refs.toReversed() }, {
    seed: 3,
    batchSize: 4,
  });
  other.slices.toReversed().forEach(({ id, scores }, i) => {
    assertEquals(id, result.slices[i].id);
    for (const prompt of PROTOCOL) {
      const expected = result.slices[i].scores[prompt]?.dice;
      if (expected === undefined) assertEquals(scores[prompt], undefined);
      else assertAlmostEquals(scores[prompt]!.dice, expected, 5e-3, `${id} ${prompt}`);
    }
  });
  const reseeded = await runProtocol(model, { reader, refs }, {
    seed: 4,
    prompts: ["tight-box", "jittered-box-40"],
  });
  const [{ scores }] = reseeded.slices;
  assertEquals(Object.keys(scores), ["tight-box", "jittered-box-40"]);
  assertAlmostEquals(scores["tight-box"]!.dice, result.slices[0].scores["tight-box"]!.dice, 5e-3);
  assert(scores["jittered-box-40"]!.dice !== result.slices[0].scores["jittered-box-40"]!.dice);
});

Deno.test("the summary holds means over patients, each of them the mean over their slices", () => {
  const { prompts, clicks, strataEdges } = summarizeProtocol(result);
  assertEquals(Object.keys(prompts), [...PROTOCOL]);
  const tight = of("tight-box", 0, 4).map((score) => score!);
  const overPatients = (values: readonly number[]) => mean([mean(values.slice(0, 3)), values[3]]);
  const { slices, cases, strata } = prompts["tight-box"]!;
  assertAlmostEquals(slices.dice!.mean, overPatients(tight.map(({ dice }) => dice)), 1e-12);
  assertAlmostEquals(slices.hd95!.mean, overPatients(tight.map(({ hd95 }) => hd95!)), 1e-12);
  assertEquals([slices.dice!.n, cases.dice!.n, slices.dice!.interval], [2, 2, null]);
  // Distances of volumes are those of the whole one alone.
  assertEquals(cases.hd95!.n, 1);
  assertEquals(cases.hd95!.mean, result.cases[1].scores["tight-box"]!.hd95);
  for (const { n } of Object.values(strata)) assert(n === 1 || n === 2);
  assert(strataEdges![0] <= strataEdges![1]);
  // Under no prompt the slice without tumour counts too, but has no relative error.
  const none = prompts["whole-image"]!.slices;
  const [b, empty] = of("whole-image", 3, 5).map((score) => score!);
  const a = of("whole-image", 0, 3).map((score) => score!.dice);
  assertAlmostEquals(none.dice!.mean, mean([mean(a), mean([b.dice, empty.dice])]), 1e-12);
  assertEquals(empty.signedVolumeError, null);
  assertEquals(none.signedVolumeError!.n, 2);
  assertEquals(clicks.map(({ n }) => n), [2, 2, 2, 2, 2]);
  const fifth = result.slices.slice(0, 4).map(({ clicks }) => clicks![4]);
  assertAlmostEquals(clicks[4].mean, overPatients(fifth), 1e-12);
});

Deno.test("scoring leaves nothing on the device, and nothing to score is refused", async () => {
  const before = gpu.memory.live;
  await runProtocol(model, { reader, refs: refs.slice(0, 2) }, { seed: 5 });
  assertEquals(gpu.memory.live, before);
  await assertRejects(() => runProtocol(model, { reader, refs: [] }), InputError, "no slices");
});
