// ./run autopsy: what each fault of published code does to a training, and which guard sees it.
import { join } from "node:path";
import { weightsFile } from "../lib/files/pretrained.ts";
import { type Axis, cut, planeOf, whole } from "../lib/data/plane.ts";
import type { SliceRef } from "../lib/data/slices.ts";
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
import { type FaultRun, runFault, SCORED, trainOtherTask } from "./autopsy/run_fault.ts";
import { autopsyMarkdown } from "./autopsy/table.ts";
import { signAdapter } from "../lib/study/adapter.ts";
import { defaultsOf, pick } from "../lib/study/command_line.ts";
import { type Config, configFields } from "../lib/study/schema.ts";
import { adapterExperiment } from "../lib/study/experiment.ts";
import { describeAdapter, describeEnvironment } from "../lib/study/environment.ts";
import { runCommand } from "../lib/study/main.ts";
import { adapterOptions } from "../lib/study/model.ts";
import { requireEmpty } from "../lib/study/folder.ts";
import { describeParts, openStudyData, type StudyData } from "../lib/study/study_data.ts";
import { openGpu } from "../lib/study/device.ts";
import { commands } from "./commands.ts";

/** A training of minutes on two CPU cores, by box prompts and without augmentation, as the study's was. */
const SMALL: Partial<Config> = {
  side: 128,
  epochs: 3,
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

await runCommand(commands.autopsy, async ({ given, values, line: command }) => {
  const faults = chooseFaults(values.faults);
  const config: Config = { ...defaultsOf(configFields), ...SMALL, ...pick(given, configFields) };
  const date = new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
  const out = values.out ?? join("results", `autopsy-${date}`);
  await requireEmpty(out);

  using gpu = await openGpu(values.webgpu);
  console.log(describeAdapter(gpu.info));
  const data = await openStudyData(config, console.log);
  const { parts, slices: reader } = data;
  const environment = await describeEnvironment(gpu.info, {
    command,
    weights: await weightsFile(config),
  });
  const byArea = [...parts.test].sort((a, b) => a.tumourVoxels - b.tumourVoxels);
  const sample = byArea[byArea.length >> 1];
  const foreign = join(out, "other_task");
  if (faults.some(({ foreignAdapter }) => foreignAdapter)) {
    console.log("Training an adapter for another task: the whole head.");
    await trainOtherTask({ gpu, config, reader, parts }, async (sam) => {
      const experiment = adapterExperiment(16);
      const adapter = await collectAdapter(sam, adapterOptions(experiment, config));
      const other = { experiment, config: { ...config, data: "heads" }, split: data.split };
      await saveAdapter(foreign, signAdapter(adapter, other, environment.weights));
    });
  }

  const chosen = faults === FAULTS
    ? [FIXED, ...FAULTS, COLLAPSE, FIXED_COLLAPSE, FIXED_DECODER]
    : [FIXED, ...faults];
  const runs: FaultRun[] = [];
  const masks: { name: string; mask: Uint8Array }[] = [];
  const labels = await readLabels(data, [...parts.train, ...parts.validation]);
  for (const fault of chosen) {
    const progress = new Progress({
      label: fault.title,
      total: (fault.times ?? 1) * config.epochs * parts.train.length,
    });
    const { run, mask } = await runFault(fault, {
      gpu,
      config,
      reader,
      parts,
      labels,
      foreign,
      origin: {
        experiment: adapterExperiment(16),
        config: { ...config, data: data.name },
        split: data.split,
      },
      sample,
      onProgress: (done) => progress.update({ done }),
    });
    const [first] = run.caught;
    const { dice, predicted } = run.test[run.prompt];
    progress.finish(
      `${fault.title}: ${
        first ? `${first.guard} after ${first.step} steps` : "no guard objects"
      }; test Dice ${dice.toFixed(3)}, ${(100 * predicted).toFixed(1)} % of the image on`,
    );
    runs.push(run);
    masks.push({ name: fault.title, mask });
  }
  await Deno.remove(foreign, { recursive: true }).catch(() => {});

  const ones = parts.test.map(({ tumourVoxels, width, height }) =>
    allOnesDice(tumourVoxels / (width * height))
  );
  const table = {
    dataset: data.name,
    config: { ...config, data: data.name, weights: null },
    splits: describeParts(data),
    allOnes: ones.reduce((a, b) => a + b) / ones.length,
    environment,
    runs,
  };
  const round = (_: string, value: unknown) =>
    typeof value === "number" ? Number(value.toPrecision(6)) : value;
  await writeFileAtomic(join(out, "table.json"), JSON.stringify(table, round, 1) + "\n");
  await writeFileAtomic(join(out, "table.md"), autopsyMarkdown(table));
  const figure = autopsyFigure(runs);
  await writeFileAtomic(join(out, "figure.svg"), figure);
  await writeFileAtomic(join(out, "figure.png"), await rasterize(figure));
  const slice = await reader.read(sample);
  const picture = await maskPicture({
    image: slice.image,
    width: sample.width,
    height: sample.height,
    truth: slice.mask,
    predictions: masks
      .filter((_, i) => [FIXED, COLLAPSE, FIXED_COLLAPSE, FIXED_DECODER].includes(chosen[i]))
      .map(({ name, mask }) => ({ name, mask, dice: dice(mask, slice.mask) })),
    box: evaluationPrompt(SCORED[0], slice, 0).box,
    caption: `${sample.caseId}, slice ${sample.index}, test split`,
  });
  await writeFileAtomic(join(out, "masks.png"), picture);
  console.log(`\n${autopsyMarkdown(table)}\nWritten: ${out}`);
});
