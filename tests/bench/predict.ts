// Measures `./run predict` against the truth: the Dice of volumes from one click and from a box in each slice, and
// the presence of slices without a prompt. Scans of patients that the adapter was trained or chosen on are left out.
//
// deno run -A tests/bench/predict.ts --adapter DIR --data DIR [--least SLICES] [--most SCANS] --out FILE.json
import { parseArgs } from "@std/cli/parse-args";
import { openDataset } from "../../lib/data/dataset.ts";
import { cut, planeOf, whole } from "../../lib/data/plane.ts";
import { centrePoint, type Prompt, tightBox } from "../../lib/data/prompts.ts";
import { binarise } from "../../lib/data/target.ts";
import { loadSam } from "../../lib/files/pretrained.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { segmentObject, SPREAD } from "../../lib/predict/segment_object.ts";
import { type SliceMask, SliceSegmenter } from "../../lib/predict/slice_segmenter.ts";
import { SamPredictor } from "../../lib/sam/predictor.ts";
import { applyAdapter } from "../../lib/adapters/apply_adapter.ts";
import { openAdapter, readOrigin } from "../../lib/study/adapter.ts";
import { parseConfig } from "../../lib/study/schema.ts";

const options = parseArgs(Deno.args, { string: ["adapter", "data", "least", "most", "out"] });
const { adapter: path, data, out, least = "1", most = "Infinity" } = options;
const adapter = await openAdapter(path!);
const origin = (await readOrigin(path!, adapter))!;
const config = parseConfig(origin.config, path!);
const seen = new Set([...origin.split.train, ...origin.split.validation]);
const dataset = await openDataset(data!, { modality: config.modality });

/** Dice of a volume whose slices have these masks. */
function dice(masks: ReadonlyMap<number, SliceMask>, truths: readonly Uint8Array[]): number {
  let [both, sum] = [0, 0];
  for (const [index, truth] of truths.entries()) {
    const mask = masks.get(index)?.mask;
    for (let i = 0; i < truth.length; i++) {
      both += truth[i] & (mask?.[i] ?? 0);
      sum += truth[i] + (mask?.[i] ?? 0);
    }
  }
  return sum === 0 ? 1 : 2 * both / sum;
}

await using gpu = await Gpu.open();
const sam = await loadSam(gpu, { model: config.model, side: config.side });
await applyAdapter(sam, adapter);
using predictor = new SamPredictor(sam, { side: config.side });
const rows: Record<string, unknown>[] = [];
for (const source of dataset.cases) {
  if (seen.has(source.patient) || rows.length >= Number(most)) continue;
  const { image: volume, seg } = await source.load();
  const count = volume.shape[config.axis];
  if (count < Number(least)) continue;
  const plane = planeOf(volume, config.axis);
  const grid = { axis: config.axis, plane, window: whole(plane), count };
  const { window } = grid;
  const start = performance.now();
  using segmenter = new SliceSegmenter(predictor, {
    voxels: volume.data,
    grid,
    method: config.rescale,
  });
  const truth = binarise(seg, { target: config.target, name: source.id });
  const truths = Array.from(
    { length: count },
    (_, index) => cut(truth, plane, { ...window, index }),
  );
  const areas = truths.map((mask) => mask.reduce((sum, value) => sum + value, 0));
  const seed = areas.indexOf(Math.max(...areas));
  const masks = (slices: Map<number, Prompt>, spread: readonly [number, number] | null) =>
    segmentObject(segmenter, { name: "", slices, spread }, { rule: SPREAD, window });
  const known = truths.flatMap((mask, index) => areas[index] > 0 ? [[index, mask] as const] : []);
  const boxes = await masks(
    new Map(known.map(([index, mask]) => [index, { box: tightBox({ mask, ...window }) }])),
    null,
  );
  const click = known.length === 0 ? new Map<number, SliceMask>() : await masks(
    new Map([[seed, { points: [centrePoint({ mask: truths[seed], ...window })] }]]),
    [0, count - 1],
  );
  const slices = truths.map((_, index) => index);
  const noHint: Prompt = { box: [0, 0, window.width, window.height] };
  const none = await masks(new Map(slices.map((index) => [index, noHint])), null);
  const seconds = (performance.now() - start) / 1000;
  const row = {
    id: source.id,
    slices: count,
    tumourSlices: known.length,
    box: dice(boxes, truths),
    click: dice(click, truths),
    clickSlices: [...click.keys()].sort((a, b) => a - b),
    none: dice(none, truths),
    presence: slices.map((index) => [areas[index], none.get(index)!.scores.meanLogit]),
    seconds,
  };
  rows.push(row);
  console.log(
    `${row.id}: box ${row.box.toFixed(3)}, click ${row.click.toFixed(3)}, no prompt ` +
      `${row.none.toFixed(3)}, ${seconds.toFixed(0)} s`,
  );
  await Deno.writeTextFile(
    out!,
    JSON.stringify({ adapter: path, rule: SPREAD, scans: rows }, null, 1),
  );
}
