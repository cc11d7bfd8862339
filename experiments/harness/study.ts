import { join } from "node:path";
import type { PromptKind } from "../../lib/data/prompts.ts";
import type { SliceRef } from "../../lib/data/slices.ts";
import { InputError } from "../../lib/errors.ts";
import { writeFileAtomic } from "../../lib/fs.ts";
import { maskPicture } from "../../lib/report/mask_pictures.ts";
import { lossCurves } from "../../lib/report/plots.ts";
import { compareRows, type ComparisonRow, tableText, writeTable } from "../../lib/report/table.ts";
import { evaluationPrompt } from "../../lib/train/evaluate.ts";
import type { ProtocolResult } from "../../lib/train/protocol.ts";
import { scoreTrivialPredictors } from "../../lib/train/trivial_predictors.ts";
import { compareRuns, testsOf } from "./comparisons.ts";
import { dataSeed, displayName, type Experiment } from "./config.ts";
import { describeAdapter, describeEnvironment } from "./environment.ts";
import { buildModel, MODEL_NAMES, weightsFile } from "./model.ts";
import type { Options } from "./options.ts";
import {
  type FinishedRun,
  HEADLINE_PROMPTS,
  listJson,
  runExperiment,
  type Scores,
  summarizeScores,
} from "./run_experiment.ts";
import { describeParts, openStudyData, type StudyData } from "./study_data.ts";
import { openGpu } from "./webgpu.ts";

/** The prompt of the study's accuracy column. */
export const [PRIMARY_PROMPT] = HEADLINE_PROMPTS;

/**
 * Runs experiments on one data set and writes a results folder: a folder for each run, the comparison
 * as `table.md` and `table.json`, its tests as `statistics.json`, the trivial predictors' scores as `trivial.json`, loss curves and the sample's masks.
 *
 * @returns the results folder.
 * @throws {InputError} if data, options or the results folder cannot be used.
 */
export async function runStudy(
  experiments: readonly Experiment[],
  { options, command }: { options: Options; command: string },
): Promise<string> {
  const { config } = options;
  const log = (line: string) => console.log(line);
  if (options.out !== null) await requireNew(options.out);
  using gpu = await openGpu(options.webgpu);
  log(describeAdapter(gpu.info));

  const data = await openStudyData(config, log);
  const sample = chooseSample(data, options.sample);
  // An option that fits no model is found out now, not when its experiment's turn comes.
  for (const experiment of experiments) {
    (await buildModel(gpu, { experiment, config })).dispose();
  }
  const date = new Date();
  const folder = options.out ?? join("results", `${data.name}-${stamp(date)}`);
  if (options.out === null) await requireNew(folder);
  const environment = await describeEnvironment(gpu.info, {
    command,
    weights: await weightsFile(config),
  });
  const context = { gpu, data, environment, sample, log };
  log(`Results: ${folder}\n`);

  const runs: FinishedRun[] = [];
  for (const experiment of experiments) {
    const own = join(folder, experiment.name);
    try {
      runs.push(await runExperiment(experiment, { config, folder: own, context }));
    } catch (error) {
      // Finished runs stay; one that cannot be finished leaves nothing that looks like a result.
      await Deno.remove(runs.length > 0 ? own : folder, { recursive: true }).catch(() => {});
      throw error;
    }
  }

  const statistics = await compareRuns(folder, experiments);
  await writeFileAtomic(
    join(folder, "statistics.json"),
    JSON.stringify(statistics, null, 2) + "\n",
  );
  const trivial = await trivialScores(data, dataSeed(config));
  await writeFileAtomic(join(folder, "trivial.json"), trivial.json);
  const tests = testsOf(statistics, PRIMARY_PROMPT);
  const rows = [
    ...runs.map(comparisonRow).map((row) => ({ ...row, tests: tests.get(row.model) })),
    ...trivial.rows,
  ];
  const table = compareRows(rows, {
    dataset: data.name,
    simulated: data.simulated,
    baseModel: MODEL_NAMES[config.model],
    side: config.side,
    seed: config.seed,
    epochs: config.epochs,
    adapter: `${gpu.info.name} (${gpu.info.type})`,
    command,
    splits: describeParts(data),
    scoredOn: "test",
    primaryPrompt: PRIMARY_PROMPT,
  });
  await writeTable(folder, table);
  const curves = runs.filter(({ metrics }) => metrics.length > 0).map((run) => ({
    name: displayName(run.summary.experiment),
    metrics: [...run.metrics],
  }));
  if (curves.length > 0) {
    const svg = lossCurves(curves, { simulated: data.simulated });
    await writeFileAtomic(join(folder, "loss_curves.svg"), svg);
  }
  await writeFileAtomic(join(folder, "masks.png"), await drawSample(runs, data, sample));
  log(tableText(table));
  return folder;
}

function comparisonRow({ summary }: FinishedRun): ComparisonRow {
  const { experiment } = summary;
  const trained = summary.bestEpoch !== undefined;
  return {
    model: displayName(experiment),
    kind: experiment.kind,
    ...rowScores(summary),
    trainableParameters: summary.trainableParameters,
    ...(trained && {
      secondsPerStep: summary.secondsPerStep,
      trainSeconds: summary.trainSeconds,
      bestEpoch: summary.bestEpoch,
    }),
  };
}

/** Scores what needs no model: all ones, and the box and its inscribed ellipse filled in. */
async function trivialScores(
  data: StudyData,
  seed: number,
): Promise<{ rows: ComparisonRow[]; json: string }> {
  const tested = { reader: data.slices, refs: data.parts.test };
  const found = Object.entries(await scoreTrivialPredictors(tested, { seed }));
  const lists = found.map(([model, { slices }]) => `${JSON.stringify(model)}: ${listJson(slices)}`);
  return {
    rows: found.map(([model, result]) => trivialRow(model, result)),
    json: `{${lists.join(",")}}\n`,
  };
}

/** The table's row of a trivial predictor. */
export function trivialRow(model: string, result: ProtocolResult): ComparisonRow {
  return { model, kind: "trivial", ...rowScores(summarizeScores(result)) };
}

/** What the table takes of a model's scores. */
export function rowScores(
  { dice, iou, protocol }: Scores,
): Pick<ComparisonRow, "dice" | "iou" | "metrics"> {
  return { dice, iou, metrics: protocol.prompts[PRIMARY_PROMPT]?.slices };
}

/** The slice that `--sample` names, by itself or by its case; else the test slice of median area. */
function chooseSample(data: StudyData, name: string | null): SliceRef {
  const byArea = (refs: readonly SliceRef[]) =>
    [...refs].sort((a, b) => a.tumourVoxels - b.tumourVoxels || a.id.localeCompare(b.id));
  if (name === null) {
    const sorted = byArea(data.parts.test);
    return sorted[sorted.length >> 1];
  }
  const matching = data.slices.refs.filter(({ id, caseId }) => id === name || caseId === name);
  if (matching.length === 0) {
    throw new InputError(
      `--sample ${name} is no case or slice of ${data.name}: name one such as ${
        data.parts.test[0].id
      }`,
    );
  }
  return byArea(matching).at(-1)!;
}

async function drawSample(
  runs: readonly FinishedRun[],
  data: StudyData,
  sample: SliceRef,
): Promise<Uint8Array> {
  const slice = await data.slices.read(sample);
  const part = (["train", "validation", "test"] as const).find((name) =>
    data.parts[name].some(({ id }) => id === sample.id)
  );
  return await maskPicture({
    image: slice.image,
    width: sample.width,
    height: sample.height,
    truth: slice.mask,
    predictions: runs.map(({ summary, sample }) => ({
      name: displayName(summary.experiment),
      ...sample,
    })),
    box: evaluationPrompt("tight-box" satisfies PromptKind, slice, 0).box,
    caption: `${sample.caseId}, slice ${sample.index}${part ? `, ${part} split` : ""}`,
    simulated: data.simulated,
  });
}

/** Refuses a results folder that holds something, or that cannot be made; makes nothing. */
async function requireNew(folder: string): Promise<void> {
  const unusable = new InputError(
    `cannot write results to ${folder}: name another folder with --out`,
  );
  let entry: string | undefined;
  let isThere = true;
  try {
    entry = (await Array.fromAsync(Deno.readDir(folder)))[0]?.name;
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw unusable;
    isThere = false;
  }
  if (entry !== undefined) {
    throw new InputError(
      `${folder} already holds results: name another folder with --out, or remove it`,
    );
  }
  // Whether it can be written to is found out now, not after an hour of training, and in the folder
  // itself: nothing else may be written to.
  try {
    await Deno.mkdir(folder, { recursive: true });
    await Deno.remove(await Deno.makeTempDir({ dir: folder, prefix: ".samlora-" }));
    if (!isThere) await Deno.remove(folder);
  } catch {
    throw unusable;
  }
}

/** A date as part of a folder name, in UTC. */
function stamp(date: Date): string {
  return date.toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
}
