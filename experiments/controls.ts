// ./run controls ADAPTER --data DIR --healthy DIR: does a model tell tumour from none, or scanners apart?
import { join } from "node:path";
import { openDataset } from "../lib/data/dataset.ts";
import { joinSlices } from "../lib/data/joined_slices.ts";
import type { SliceReader } from "../lib/data/loader.ts";
import type { SliceRef } from "../lib/data/slices.ts";
import { InputError } from "../lib/errors.ts";
import { type ControlData, scoreControls } from "../lib/evaluate/controls/score_controls.ts";
import { weightsFile } from "../lib/files/pretrained.ts";
import { writeFileAtomic } from "../lib/fs.ts";
import { controlsGrid, controlsMarkdown, controlsNotes } from "../lib/report/controls_table.ts";
import { type SheetSlice, sliceSheet } from "../lib/report/slice_sheet.ts";
import { gridText } from "../lib/report/table.ts";
import { pick } from "../lib/study/command_line.ts";
import { openGpu, withVersion } from "../lib/study/device.ts";
import { describeAdapter, describeEnvironment } from "../lib/study/environment.ts";
import { requireEmpty } from "../lib/study/folder.ts";
import { runCommand } from "../lib/study/main.ts";
import { sliceModel } from "../lib/study/model.ts";
import { Progress } from "../lib/study/progress.ts";
import { type Config, configFields, dataSeed } from "../lib/study/schema.ts";
import { openScoredModel, type ScoredModel, unseenSlices } from "../lib/study/scored_model.ts";
import { limit, openSlicesWithProgress } from "../lib/study/study_data.ts";
import { adapterPath } from "../lib/study/shipped.ts";
import { commands } from "./commands.ts";

/** Slices of each control that are drawn. */
const SHOWN = 10;

/**
 * Slices of patients that the model has not seen, and those that it was trained on. Of volumes all tumour-free
 * slices count, however few of a scan the model was trained on.
 */
async function openData(
  { data, healthy, volumes, maxSlicesPerCase = null }: {
    data: string;
    healthy: string;
    volumes: string | null;
    maxSlicesPerCase?: number | null;
  },
  { model, path, config }: { model: ScoredModel; path: string; config: Config },
): Promise<ControlData> {
  const open = async (root: string, kind: "tumour" | "tumour-free", own = config) =>
    await openSlicesWithProgress(await openDataset(root, { ...own, patients: null }), own, {
      kind,
    });
  const tumour = await open(data, "tumour");
  const free = await open(healthy, "tumour-free");
  const within = volumes === null
    ? null
    : await open(volumes, "tumour-free", { ...config, maxSlicesPerCase });
  if (free.refs.length === 0) {
    throw new InputError(`${healthy} has no tumour-free slice: name a data set of such`);
  }
  const seed = dataSeed(config);
  const unseen = (refs: readonly SliceRef[]) =>
    limit(unseenSlices(refs, { path, model, log: console.log }), config.maxTest, seed);
  const trained = new Set(model.split?.train);
  return {
    reader: joinSlices(tumour, free, ...within ? [within] : []),
    tumour: unseen(tumour.refs),
    healthy: unseen(free.refs),
    volumes: within ? unseen(within.refs) : [],
    trained: [...tumour.refs, ...free.refs].filter(({ patient }) => trained.has(patient)),
  };
}

/** A picture of the first slices of a control. */
async function draw(
  heading: string,
  { refs, read }: SliceReader & { refs: readonly SliceRef[] },
): Promise<Uint8Array> {
  const step = Math.max(1, Math.floor(refs.length / SHOWN));
  const shown = refs.filter((_, i) => i % step === 0).slice(0, SHOWN);
  const slices: SheetSlice[] = [];
  for (const ref of shown) {
    const { image, mask } = await read(ref);
    slices.push({ ...ref, image, truth: mask, caption: ref.patient });
  }
  return await sliceSheet([{ heading, slices }]);
}

await runCommand(commands.controls, async ({ argument, given, values, line: command }) => {
  const path = adapterPath(argument);
  const { data, healthy, volumes, out } = values;
  const overrides = pick(given, configFields);
  const model = await openScoredModel(path, overrides);
  const config: Config = { ...model.config, maxTest: values.maxTest };
  await requireEmpty(out);
  await using gpu = await openGpu(values);
  console.log(describeAdapter(withVersion(gpu.info)));
  const { maxSlicesPerCase } = given;
  const slices = await openData({ data: data!, healthy: healthy!, volumes, maxSlicesPerCase }, {
    model,
    path,
    config,
  });
  const sam = await model.build(gpu, config);
  // Each slice is encoded once: nothing is worth keeping.
  using scored = sliceModel(sam, { ...config, cacheMemory: 0, cacheDisk: 0 });
  const pictures: { name: string; png: Uint8Array }[] = [];
  let progress: Progress | null = null;
  const controls = await scoreControls(scored, slices, {
    rule: model.rule,
    counterfactuals: config.counterfactuals,
    batchSize: config.batchSize,
    onSlices: async (name, own) => {
      pictures.push({ name: `control_${pictures.length + 1}.png`, png: await draw(name, own) });
      progress?.finish();
      progress = new Progress({ label: name, total: own.refs.length });
    },
    onProgress: (_, done) => progress?.update({ done }),
  });
  console.log([gridText(controlsGrid(controls)), ...controlsNotes(controls)].join("\n\n"));
  const weights = await weightsFile(config);
  const head = {
    model: model.name,
    rule: model.rule,
    ...controls,
    environment: await describeEnvironment(gpu.info, { command, weights }),
  };
  const title = `Controls of ${model.name}`;
  await writeFileAtomic(join(out, "controls.json"), JSON.stringify(head, null, 2) + "\n");
  await writeFileAtomic(join(out, "controls.md"), controlsMarkdown(controls, title));
  for (const { name, png } of pictures) await writeFileAtomic(join(out, name), png);
  console.log(`Written: ${out}`);
});
