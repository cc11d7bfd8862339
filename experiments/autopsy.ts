// ./run autopsy: what each fault of published code does to a training, and which guard sees it.
import { join } from "node:path";
import { weightsFile } from "../lib/files/pretrained.ts";
import { type Axis, cut, planeOf, whole } from "../lib/data/plane.ts";
import type { SliceRef } from "../lib/data/slices.ts";
import { Thumbnails } from "../lib/data/thumbnails.ts";
import { InputError } from "../lib/errors.ts";
import { writeFileAtomic } from "../lib/fs.ts";
import { maskPicture } from "../lib/report/mask_pictures.ts";
import { Progress } from "../lib/study/progress.ts";
import { rasterize } from "../lib/report/rasterize.ts";
import { evaluationPrompt } from "../lib/evaluate/scored_prompts.ts";
import { allOnesDice } from "../lib/evaluate/guards.ts";
import { dice } from "../lib/metrics/metrics.ts";
import { saveAdapter } from "../lib/study/adapter_folder.ts";
import { collectAdapter } from "../lib/adapters/apply_adapter.ts";
import {
  COLLAPSE,
  type Fault,
  FAULTS,
  FIXED,
  FIXED_COLLAPSE,
  FIXED_DECODER,
} from "./autopsy/faults.ts";
import { autopsyFigure } from "./autopsy/figure.ts";
import {
  type AutopsyContext,
  type FaultRun,
  runFault,
  SCORED,
  trainOtherTask,
} from "./autopsy/run_fault.ts";
import { autopsyMarkdown, type AutopsyTable, percent } from "./autopsy/table.ts";
import { mean } from "../lib/stats/summary.ts";
import { signAdapter } from "../lib/study/adapter.ts";
import { pick } from "../lib/study/command_line.ts";
import {
  configFields,
  DEFAULTS,
  overridden,
  type Overrides,
  PLAIN,
  settled,
} from "../lib/study/schema.ts";
import { adapterExperiment } from "../lib/study/experiment.ts";
import { describeAdapter, describeEnvironment } from "../lib/study/environment.ts";
import { runCommand } from "../lib/study/main.ts";
import { adapterOptions } from "../lib/study/model.ts";
import { requireEmpty } from "../lib/study/folder.ts";
import type { Environment } from "../lib/study/results.ts";
import { describeParts, openStudyData, type StudyData } from "../lib/study/study_data.ts";
import { openGpu, withVersion } from "../lib/study/device.ts";
import { commands } from "./commands.ts";

/** A training of minutes on two CPU cores, by box prompts and without augmentation, as the study's was. */
const SMALL: Overrides = {
  ...PLAIN,
  side: 128,
  epochs: [3],
  warmupSteps: 8,
  prompt: "tight-box",
  flip: 0,
  batchSize: 2,
  maxTrain: 32,
  maxValidation: 8,
  maxTest: 12,
};

/** The faults of these names; all for null. */
function chooseFaults(names: readonly string[] | null): readonly Fault[] {
  return names?.map((name) => {
    const fault = FAULTS.find((fault) => fault.name === name);
    if (fault) return fault;
    throw new InputError(
      `there is no fault "${name}": choose among ${FAULTS.map(({ name }) => name).join(", ")}`,
    );
  }) ?? FAULTS;
}

/** BraTS-MEN's label of the enhancing tumour, which stands for a tumour that is labelled 1 alone. */
const ENHANCING = 3;

/**
 * Labels of slices as the files of BraTS-MEN hold them: 0 to 3. Of a binary segmentation 1 becomes
 * {@linkcode ENHANCING}, so that the fault of raw labels as target is one on any data set.
 */
async function readLabels(
  { slices }: StudyData,
  refs: readonly SliceRef[],
): Promise<Map<string, Uint8Array>> {
  const labels = new Map<string, Uint8Array>();
  for (const [caseId, own] of Map.groupBy(refs, (ref) => ref.caseId)) {
    const source = slices.dataset.cases.find(({ id }) => id === caseId)!;
    const { seg: volume } = await source.load();
    const plane = planeOf(volume, own[0].axis as Axis);
    const isBinary = volume.data.every((label) => label <= 1);
    for (const ref of own) {
      const slice = cut(volume.data, plane, { ...whole(plane), index: ref.index });
      labels.set(ref.id, Uint8Array.from(slice, (label) => isBinary ? ENHANCING * label : label));
    }
  }
  return labels;
}

/** Trains the adapter of another task, the whole head, and writes it where the context says. */
async function saveForeign(context: AutopsyContext, weights: Environment["weights"]) {
  console.log("Training an adapter for another task: the whole head.");
  const { experiment, config, split } = context.origin;
  await trainOtherTask(context, async (sam) => {
    const adapter = await collectAdapter(sam, adapterOptions(experiment, context.config));
    const other = { experiment, config: { ...config, data: "heads" }, split };
    const thumbnails = await Thumbnails.of(context.reader, context.parts.train);
    await saveAdapter(context.foreign, signAdapter(adapter, other, { weights, thumbnails }));
  });
}

/** Runs a fault, with its progress in the terminal. */
async function watchFault(fault: Fault, context: AutopsyContext): ReturnType<typeof runFault> {
  const { title, times = 1 } = fault;
  const total = times * settled(context.config).epochs * context.parts.train.length;
  const progress = new Progress({ label: title, total });
  const result = await runFault(fault, {
    ...context,
    onProgress: (done) => progress.update({ done }),
  });
  const { caught: [first], test, prompt } = result.run;
  const { dice, predicted } = test[prompt];
  const seen = first ? `${first.guard} after ${first.step} steps` : "no guard objects";
  progress.finish(
    `${title}: ${seen}; test Dice ${dice.toFixed(3)}, ${percent(predicted)} % of the image on`,
  );
  return result;
}

/** The slice whose masks are drawn, with those of the runs that show the collapse, as a PNG. */
async function drawMasks(
  { reader, sample }: AutopsyContext,
  results: readonly { readonly run: FaultRun; readonly mask: Uint8Array }[],
): Promise<Uint8Array> {
  const slice = await reader.read(sample);
  const shown = [FIXED, COLLAPSE, FIXED_COLLAPSE, FIXED_DECODER].map(({ name }) => name);
  return await maskPicture({
    ...sample,
    image: slice.image,
    truth: slice.mask,
    predictions: results.filter(({ run }) => shown.includes(run.name)).map(({ run, mask }) => ({
      name: run.title,
      mask,
      dice: dice(mask, slice.mask),
    })),
    box: evaluationPrompt(SCORED[0], slice, 0).box,
    caption: `${sample.caseId}, slice ${sample.index}, test split`,
  });
}

/** Writes table, figure and masks. */
async function writeResults(out: string, table: AutopsyTable, masks: Uint8Array): Promise<void> {
  const round = (_: string, value: unknown) =>
    typeof value === "number" ? Number(value.toPrecision(6)) : value;
  const figure = autopsyFigure(table.runs);
  const files = {
    "table.json": JSON.stringify(table, round, 1) + "\n",
    "table.md": autopsyMarkdown(table),
    "figure.svg": figure,
    "figure.png": await rasterize(figure),
    "masks.png": masks,
  };
  for (const [name, content] of Object.entries(files)) {
    await writeFileAtomic(join(out, name), content);
  }
}

await runCommand(commands.autopsy, async ({ given, values, line: command }) => {
  const faults = chooseFaults(values.faults);
  const config = { ...overridden(DEFAULTS, SMALL), ...pick(given, configFields) };
  const date = new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
  const out = values.out ?? join("results", `autopsy-${date}`);
  await requireEmpty(out);

  await using gpu = await openGpu(values);
  console.log(describeAdapter(withVersion(gpu.info)));
  const data = await openStudyData(config, console.log);
  const { name: dataset, split, parts, slices: reader } = data;
  const weights = await weightsFile(config);
  const environment = await describeEnvironment(withVersion(gpu.info), { command, weights });
  const byArea = [...parts.test].sort((a, b) => a.tumourVoxels - b.tumourVoxels);
  const named = { ...config, data: dataset };
  const context: AutopsyContext = {
    gpu,
    config,
    reader,
    parts,
    labels: await readLabels(data, [...parts.train, ...parts.validation]),
    foreign: join(out, "other_task"),
    origin: { experiment: adapterExperiment(16, config), config: named, split },
    sample: byArea[byArea.length >> 1],
  };
  if (faults.some(({ foreignAdapter }) => foreignAdapter)) {
    await saveForeign(context, environment.weights);
  }
  const controls = faults === FAULTS ? [COLLAPSE, FIXED_COLLAPSE, FIXED_DECODER] : [];
  const results = [];
  for (const fault of [FIXED, ...faults, ...controls]) {
    results.push(await watchFault(fault, context));
  }
  await Deno.remove(context.foreign, { recursive: true }).catch(() => {});

  const runs = results.map(({ run }) => run);
  const table = {
    dataset,
    config: { ...named, weights: null },
    splits: describeParts(data),
    allOnes: mean(
      parts.test.map(({ tumourVoxels, width, height }) =>
        allOnesDice(tumourVoxels / (width * height))
      ),
    ),
    environment,
    runs,
  };
  await writeResults(out, table, await drawMasks(context, results));
  console.log(`\n${autopsyMarkdown(table)}\nWritten: ${out}`);
});
