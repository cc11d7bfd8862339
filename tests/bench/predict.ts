// Measures `./run predict` against the truth: the Dice of volumes from one click and from a box in each slice.
// Scans of patients that the adapter was trained or chosen on are left out.
//
// deno run -A tests/bench/predict.ts --adapter DIR --data DIR [--data DIR] [--least SLICES] [--most SCANS]
//   [--target NAME --labels SCHEME] [--pictures DIR] [--presence] --out FILE.json
//
// --target and --labels name a region of BraTS' labels: of a gadolinium scan the core, since it hardly shows oedema.
// --presence segments every slice without a prompt, too, for the presence rule.
// --pictures draws the slices of each scan whose one click reaches less than nine tenths of the boxes' Dice.
// tests/bench/spread_report.ts makes a table and a figure of the file.
import { parseArgs } from "@std/cli/parse-args";
import { basename, join } from "node:path";
import { joinBytes } from "../../lib/byte_source.ts";
import { openDataset } from "../../lib/data/dataset.ts";
import { orientationOf } from "../../lib/data/orientation.ts";
import { cut, planeOf, whole } from "../../lib/data/plane.ts";
import { centrePoint, type Prompt, tightBox } from "../../lib/data/prompts.ts";
import { binarise, type LabelSchemeName, type Target } from "../../lib/data/target.ts";
import { loadSam } from "../../lib/files/pretrained.ts";
import type { Volume } from "../../lib/formats/volume.ts";
import { Gpu } from "../../lib/gpu/gpu.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
import { dice } from "../../lib/metrics/metrics.ts";
import { segmentObject, SPREAD } from "../../lib/predict/segment_object.ts";
import { type SliceMask, SliceSegmenter } from "../../lib/predict/slice_segmenter.ts";
import { sliceSheet } from "../../lib/report/slice_sheet.ts";
import { SamPredictor } from "../../lib/sam/predictor.ts";
import { applyAdapter } from "../../lib/adapters/apply_adapter.ts";
import { openAdapter, readOrigin } from "../../lib/study/adapter.ts";
import { parseConfig } from "../../lib/study/schema.ts";
import { AIM, type SpreadScan } from "./spread_report.ts";

const options = parseArgs(Deno.args, {
  string: ["adapter", "data", "least", "most", "target", "labels", "out", "pictures"],
  collect: ["data"],
  boolean: ["presence"],
});
const { adapter: path, data, out, least = "1", most = "Infinity", pictures } = options;
const adapter = await openAdapter(path!);
const origin = (await readOrigin(path!, adapter))!;
const config = parseConfig(origin.config, path!);
const seen = new Set([...origin.split.train, ...origin.split.validation]);
/** Bytes of embeddings, so that a slice is encoded once for all that is measured. */
const KEPT = 2 ** 30;

type Masks = ReadonlyMap<number, SliceMask>;

/** Slices that a picture shows. */
const SHOWN = 20;

/** Draws slices at even distances over all that the truth and the click reach. */
async function draw(
  { id, slices }: SpreadScan,
  { volume, segmenter, truths, click }: {
    volume: Volume;
    segmenter: SliceSegmenter;
    truths: readonly Uint8Array[];
    click: Masks;
  },
): Promise<void> {
  const plane = planeOf(volume, config.axis);
  const step = Math.max(1, slices.length / SHOWN);
  const shown = slices.filter((_, i) => Math.floor(i / step) > Math.floor((i - 1) / step));
  const sheet = await sliceSheet([{
    heading: `${id}: truth (solid) and what one click became (dashed)`,
    slices: shown.map(({ index, dice }) => ({
      ...plane,
      axis: config.axis,
      orientation: orientationOf(volume),
      image: segmenter.pixels(index),
      truth: truths[index],
      mask: click.get(index)?.mask,
      caption: `slice ${index}, Dice ${dice.toFixed(2)}`,
    })),
  }]);
  await writeFileAtomic(join(pictures!, `${id}.png`), sheet);
}

await using gpu = await Gpu.open();
const sam = await loadSam(gpu, { model: config.model, side: config.side });
await applyAdapter(sam, adapter);
using predictor = new SamPredictor(sam, { side: config.side });

/** Segments a scan by a click, boxes and nothing. */
async function measure(id: string, { image: volume, seg }: { image: Volume; seg: Volume }) {
  const count = volume.shape[config.axis];
  const plane = planeOf(volume, config.axis);
  const grid = { axis: config.axis, plane, window: whole(plane), count };
  const { window } = grid;
  using segmenter = new SliceSegmenter(predictor, {
    voxels: volume.data,
    grid,
    method: config.rescale,
    keptBytes: KEPT,
  });
  const truth = binarise(seg, {
    target: options.target as Target ?? config.target,
    scheme: options.labels as LabelSchemeName,
    name: id,
  });
  const truths = Array.from(
    { length: count },
    (_, index) => cut(truth, plane, { ...window, index }),
  );
  const areas = truths.map((mask) => mask.reduce((sum, value) => sum + value, 0));
  const known = truths.flatMap((mask, index) => areas[index] > 0 ? [[index, mask] as const] : []);
  const masks = (slices: Map<number, Prompt>, spread: readonly [number, number] | null) =>
    segmentObject(segmenter, { name: "", slices, spread }, { rule: SPREAD, window });
  const volumeDice = (of: Masks) => {
    const empty = new Uint8Array(plane.width * plane.height);
    return dice(joinBytes(truths.map((_, i) => of.get(i)?.mask ?? empty)), joinBytes(truths));
  };
  const seed = areas.indexOf(Math.max(...areas));
  const start = performance.now();
  const click: Masks = known.length === 0 ? new Map() : await masks(
    new Map([[seed, { points: [centrePoint({ mask: truths[seed], ...window })] }]]),
    [0, count - 1],
  );
  const seconds = (performance.now() - start) / 1000 / Math.max(1, segmenter.encoded);
  const boxes = await masks(
    new Map(known.map(([index, mask]) => [index, { box: tightBox({ mask, ...window }) }])),
    null,
  );
  const noHint: Prompt = { box: [0, 0, window.width, window.height] };
  const none = options.presence
    ? await masks(new Map(truths.map((_, index) => [index, noHint])), null)
    : null;
  const row = {
    id,
    count,
    click: volumeDice(click),
    box: volumeDice(boxes),
    ...(none && {
      none: volumeDice(none),
      presence: truths.map((_, index) => [areas[index], none.get(index)!.scores.meanLogit]),
    }),
    seconds,
    clicked: seed,
    slices: truths.flatMap((mask, index) => {
      const own = click.get(index)?.mask;
      if (areas[index] === 0 && !own) return [];
      const area = click.get(index)?.area ?? 0;
      const box = boxes.get(index)?.area ?? 0;
      const score = own ? dice(own, mask) : 0;
      return [{ index, truth: areas[index], box, click: area, dice: Number(score.toFixed(3)) }];
    }),
  };
  if (pictures && row.click < AIM * row.box) {
    await draw(row, { volume, segmenter, truths, click });
  }
  return row;
}

const rows: SpreadScan[] = [];
for (const root of data) {
  const dataset = await openDataset(root, { modality: config.modality });
  let found = 0;
  for (const source of dataset.cases) {
    if (seen.has(source.patient) || found >= Number(most)) continue;
    const volumes = await source.load();
    if (volumes.image.shape[config.axis] < Number(least)) continue;
    found++;
    const row = await measure(source.id, volumes);
    rows.push(row);
    console.log(
      `${row.id}: box ${row.box.toFixed(3)}, click ${row.click.toFixed(3)}, ` +
        `${row.seconds.toFixed(2)} s a slice`,
    );
    const text = JSON.stringify({ adapter: basename(path!), rule: SPREAD, scans: rows });
    await Deno.writeTextFile(out!, text.replaceAll('{"id"', '\n{"id"') + "\n");
  }
}
