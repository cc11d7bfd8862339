import { join, resolve } from "node:path";
import type { PromptKind } from "../data/prompts.ts";
import type { SliceRef } from "../data/slices.ts";
import { InputError } from "../errors.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { evaluationPrompt } from "../evaluate/scored_prompts.ts";
import { GuardError } from "../evaluate/guards.ts";
import type { ProtocolResult } from "../evaluate/protocol.ts";
import { scoreTrivialPredictors } from "../evaluate/trivial_predictors.ts";
import { compareRows, type ComparisonRow, type TableVerdict } from "./comparison.ts";
import { compareScores, readAllScores, testsOf } from "./comparisons.ts";
import {
  adapterExperiment,
  configOf,
  displayName,
  type Experiment,
  withWiseFt,
} from "./experiment.ts";
import { codeVersion, describeAdapter, describeEnvironment } from "./environment.ts";
import { type CaughtRun, guardNotes, requireNoneCaught } from "./guard_file.ts";
import { Interruption } from "./interruption.ts";
import { MODELS } from "../sam/models.ts";
import { activationCache, buildModel, weightsFile } from "./model.ts";
import type { Publish, SampleMasks } from "./publish.ts";
import { type Config, dataSeed, optionDifferences, type Options } from "./schema.ts";
import {
  type FinishedRun,
  listJson,
  PRIMARY_PROMPT,
  runExperiment,
  type Scores,
  summarizeScores,
} from "./run_experiment.ts";
import {
  CHECKPOINT_FOLDER,
  requireEmpty,
  StudyFolder,
  type StudyRecord,
  unusable,
} from "./study_folder.ts";
import { describeParts, openStudyData, type StudyData } from "./study_data.ts";
import { judgeStudy, type StudyVerdict } from "./verdicts.ts";
import { openGpu, type WebgpuName } from "./webgpu.ts";

/**
 * Runs experiments on one data set and writes a results folder: a folder for each run, the comparison
 * as `table.md` and `table.json`, its tests as `statistics.json`, the trivial predictors' scores as
 * `trivial.json`, loss curves and the sample's masks. What is stopped on the way can be gone on with:
 * see {@linkcode resumeStudy}.
 *
 * @returns the results folder.
 * @throws {InputError} if data, options or the results folder cannot be used.
 * @throws {GuardError} if a guard has ended a run; the others are done and compared by then.
 */
export async function runStudy(
  experiments: readonly Experiment[],
  { options, command, publish }: { options: Options; command: string; publish: Publish },
): Promise<string> {
  const { config } = options;
  if (options.out !== null) await requireNew(options.out);
  using interruption = await Interruption.start();
  return await withGpu(options.webgpu, interruption, async (gpu) => {
    const data = await openStudyData(config, log);
    const sample = chooseSample(data, options.sample);
    await tryModels(gpu, { experiments, config });
    const path = options.out ?? join("results", `${data.name}-${stamp(new Date())}`);
    if (options.out === null) await requireNew(path);
    const record: StudyRecord = {
      experiments: [...experiments],
      config: {
        ...config,
        data: config.data && resolve(config.data),
        weights: config.weights && resolve(config.weights),
      },
      sample: sample.id,
      command,
      checkpointMinutes: options.checkpointMinutes ?? CHECKPOINT_MINUTES,
      ...await present(gpu, { config, data, command }),
    };
    using folder = await StudyFolder.create(path);
    await folder.writeRecord(record);
    interruption.hint = goOn(path);
    log(`Results: ${path}\n`);
    await finishStudy(record, { folder, gpu, data, interruption, publish, kept: false });
    return path;
  });
}

/**
 * Goes on with a study that was stopped: finished runs are kept, the run under way goes on from its
 * last checkpoint, and what comes of it is what would have come without the stop.
 *
 * @returns the results folder.
 * @throws {InputError} if the folder is not that of a study or is in use, or, without `--force`, if
 * options, code, weights or data are not those it began with.
 */
export async function resumeStudy(options: Options, publish: Publish): Promise<string> {
  const path = options.resume!;
  using interruption = await Interruption.start();
  using folder = await StudyFolder.open(path);
  const begun = await folder.readRecord();
  if (begun === null) {
    await folder.finish();
    log(`${path} is whole: nothing is left to do.`);
    return path;
  }
  interruption.hint = goOn(path);
  const config = { ...begun.config, ...options.given };
  const experiments = options.givenRanks === null
    ? begun.experiments
    : withRanks(begun.experiments, options.givenRanks, config.peftType);
  const differences = [
    ...experiments.some(({ name }, i) => begun.experiments[i]?.name !== name) ||
        experiments.length < begun.experiments.length
      ? [`--ranks ${options.givenRanks}`]
      : [],
    ...optionDifferences(begun.config, config),
  ];
  refuse(path, { differences, force: options.force });

  return await withGpu(options.webgpu, interruption, async (gpu) => {
    const data = await openStudyData(config, log);
    const now = await present(gpu, { config, data, command: begun.command });
    refuse(path, { differences: presentDifferences(begun, now), force: options.force });
    if (now.machine !== begun.machine) {
      log(`The study began on ${begun.machine}: on another device the last bits may differ.`);
    }
    const record: StudyRecord = {
      ...begun,
      ...now,
      experiments,
      config,
      checkpointMinutes: options.checkpointMinutes ?? begun.checkpointMinutes,
    };
    await folder.writeRecord(record);
    log(`Going on with ${path}\n`);
    await finishStudy(record, { folder, gpu, data, interruption, publish, kept: true });
    return path;
  });
}

/**
 * Works with a device, and says so in a sentence if it is lost meanwhile. Signals are heard between any
 * two kernels that are compiled: the first step compiles for seconds.
 */
async function withGpu<T>(
  name: WebgpuName,
  { poll }: Interruption,
  work: (gpu: Gpu) => Promise<T>,
): Promise<T> {
  using gpu = await openGpu(name, { beforeCompile: poll });
  log(describeAdapter(gpu.info));
  try {
    return await work(gpu);
  } catch (error) {
    const lost = error instanceof InputError ? null : await lossOf(gpu);
    throw lost === null ? error : new InputError(`${lost}: start the study again`);
  }
}

/** Says that a device was lost, if it was; null if it is there. */
async function lossOf(gpu: Gpu): Promise<string | null> {
  const lost = await Promise.race([
    gpu.device.lost,
    new Promise<null>((done) => setTimeout(done, LOSS_MILLISECONDS, null)),
  ]);
  return lost && `the GPU device was lost (${lost.message || "no reason given"})`;
}

/** Milliseconds in which the loss of a device is told after it made something else fail. */
const LOSS_MILLISECONDS = 200;

/** Minutes between checkpoints within an epoch, unless the command line says otherwise. */
const CHECKPOINT_MINUTES = 5;

const log = (line: string) => console.log(line);

/** The part of a record that is found out, not chosen. */
type Present = Pick<StudyRecord, "code" | "weights" | "data" | "machine">;

/** How to go on with a study, for the end of a sentence. */
function goOn(path: string): string {
  return `; what is done is kept: ./run experiments --resume ${path} goes on`;
}

/** Finds out, before anything is trained, whether an option fits no model. */
async function tryModels(
  gpu: Gpu,
  { experiments, config }: { experiments: readonly Experiment[]; config: Config },
): Promise<void> {
  for (const experiment of experiments) {
    (await buildModel(gpu, { experiment, config: configOf(experiment, config) })).dispose();
  }
}

/** The same rows with other ranks. */
function withRanks(
  experiments: readonly Experiment[],
  ranks: readonly number[],
  peftType: string,
): StudyRecord["experiments"] {
  const others = experiments.filter(({ kind, wiseFt }) => kind !== "lora" && !wiseFt);
  const alphas = new Set(experiments.flatMap(({ wiseFt }) => wiseFt?.alpha ?? []));
  return withWiseFt([...others, ...ranks.map((rank) => adapterExperiment(rank, peftType))], [
    ...alphas,
  ]);
}

/** What the study would be computed from now. */
async function present(
  gpu: Gpu,
  { config, data, command }: { config: Config; data: StudyData; command: string },
): Promise<Present> {
  const weights = await weightsFile(config);
  const environment = await describeEnvironment(gpu.info, { command, weights });
  return {
    code: await codeVersion(),
    weights: environment.weights,
    data: Object.fromEntries(data.slices.fingerprints),
    machine: `${gpu.info.name}, ${gpu.info.driver}, Deno ${environment.deno}`,
  };
}

/** What differs between the beginning of a study and now, by name. */
function presentDifferences(begun: StudyRecord, now: Present): string[] {
  const hash = (weights: string) => /sha256 [0-9a-f]+/.exec(weights)?.[0] ?? weights;
  const differences: string[] = [];
  if (begun.code !== now.code) differences.push(`the code ${now.code} instead of ${begun.code}`);
  if (hash(begun.weights) !== hash(now.weights)) {
    differences.push(`the weights ${now.weights} instead of ${begun.weights}`);
  }
  const cases = [...new Set([...Object.keys(begun.data), ...Object.keys(now.data)])].sort();
  const changed = cases.filter((id) => begun.data[id] !== now.data[id]);
  if (changed.length > 0) {
    const [first] = changed;
    const how = !begun.data[first] ? "is new" : !now.data[first] ? "is missing" : "has changed";
    const more = changed.length > 1 ? ` and ${changed.length - 1} more differ` : "";
    differences.push(`the data set, of which ${first} ${how}${more}`);
  }
  return differences;
}

/** Refuses to go on with something else than what was begun, naming the first difference. */
function refuse(path: string, found: { differences: readonly string[]; force: boolean }): void {
  const { differences: [first, ...others], force } = found;
  if (first === undefined || force) return;
  const more = others.length > 0 ? ` (and ${others.length} more)` : "";
  throw new InputError(
    `${path} was begun with something else than ${first}${more}: go on with what it was begun with, or give --force`,
  );
}

/** What a study is worked on with. */
interface StudyTools {
  readonly folder: StudyFolder;
  readonly gpu: Gpu;
  readonly data: StudyData;
  readonly interruption: Interruption;
  readonly publish: Publish;
  /** Whether the folder holds something to go on with. */
  kept: boolean;
}

/** Runs what is left of a study, and writes the comparison. */
async function finishStudy(record: StudyRecord, tools: StudyTools): Promise<void> {
  const { folder, gpu, data, interruption } = tools;
  const { config, command, experiments } = record;
  const sample = chooseSample(data, record.sample);
  const environment = await describeEnvironment(gpu.info, {
    command,
    weights: await weightsFile(config),
  });
  const checkpointSeconds = 60 * record.checkpointMinutes;
  using cache = activationCache(config);
  const context = {
    gpu,
    data,
    cache,
    environment,
    sample,
    log,
    folder,
    interruption,
    checkpointSeconds,
    onKept: () => {
      tools.kept = true;
      interruption.kept();
    },
  };
  const runs: FinishedRun[] = [];
  const caught: CaughtRun[] = [];
  for (const experiment of experiments) {
    try {
      runs.push(await runExperiment(experiment, { config, context }));
    } catch (error) {
      const lost = await lossOf(gpu);
      if (lost || !(error instanceof GuardError)) {
        throw await endOfRun(error, { ...tools, run: experiment.name });
      }
      const name = displayName(experiment);
      log(`${name} is left out: ${error.message}\n`);
      caught.push({ name, folder: join(folder.path, experiment.name), error });
    }
  }

  try {
    await writeComparison(runs, { record, tools, sample, caught });
    await folder.finish();
  } catch (error) {
    throw await endOfRun(error, tools);
  }
  requireNoneCaught(caught);
}

/**
 * What to say when a run ends before its time. What was done is kept; what has come to nothing yet
 * leaves nothing that looks like a result.
 */
async function endOfRun(
  error: unknown,
  { folder, gpu, kept, run }: StudyTools & { run?: string },
): Promise<unknown> {
  const lost = await lossOf(gpu);
  if (!lost && !(error instanceof InputError)) return error;
  if (!kept) {
    await Deno.remove(folder.path, { recursive: true }).catch(() => {});
  } else if (run !== undefined && !await hasState(join(folder.path, run))) {
    await Deno.remove(join(folder.path, run), { recursive: true }).catch(() => {});
  }
  const gone = kept ? await folder.check().then(() => null, (reason) => reason) : null;
  if (gone) return gone;
  const hint = kept ? goOn(folder.path) : "";
  const what = lost ?? (error as Error).message;
  return new InputError(hint === "" && lost ? `${what}: start the study again` : what + hint);
}

/** Whether a run can be gone on with, or is finished. */
async function hasState(run: string): Promise<boolean> {
  return await Deno.stat(join(run, CHECKPOINT_FOLDER)).then(() => true, () => false);
}

/** Writes the table, and lets it be published with curves and masks. */
async function writeComparison(
  runs: readonly FinishedRun[],
  { record, tools, sample, caught }: {
    record: StudyRecord;
    tools: StudyTools;
    sample: SliceRef;
    caught: readonly CaughtRun[];
  },
): Promise<void> {
  const { folder, gpu, data } = tools;
  const { config, command } = record;
  await folder.check();
  const scores = await readAllScores(
    folder.path,
    runs.map(({ summary }) => summary.experiment),
  );
  const statistics = compareScores(scores);
  await folder.write("statistics.json", JSON.stringify(statistics, null, 2) + "\n");
  const verdicts = judgeStudy(record.experiments, scores);
  if (verdicts.length > 0) {
    await folder.write("verdicts.json", JSON.stringify(verdicts, null, 2) + "\n");
  }
  const trivial = await trivialScores(data, dataSeed(config));
  await folder.write("trivial.json", trivial.json);
  const tests = testsOf(statistics, PRIMARY_PROMPT);
  const rows = [
    ...runs.map(comparisonRow).map((row) => ({ ...row, tests: tests.get(row.model) })),
    ...trivial.rows,
  ];
  const notes = [...guardNotes(caught), ...runs.flatMap(({ summary }) => summary.crop ?? [])];
  const table = compareRows(rows, {
    dataset: data.name,
    simulated: data.simulated,
    baseModel: MODELS[config.model].label,
    side: config.side,
    seed: config.seed,
    epochs: config.epochs,
    adapter: `${gpu.info.name} (${gpu.info.type})`,
    command,
    splits: describeParts(data),
    scoredOn: "test",
    primaryPrompt: PRIMARY_PROMPT,
    ...(notes.length > 0 && { notes }),
  });
  if (verdicts.length > 0) table.verdicts = named(verdicts, record.experiments);
  await folder.write("table.json", JSON.stringify(table, null, 2) + "\n");
  await tools.publish({
    folder: folder.path,
    table,
    runs,
    sample: await sampleMasks(runs, data, sample),
    write: (file, content) => folder.write(file, content),
    log,
  });
}

/** Verdicts with the experiments' names as tables call them. */
export function named(
  verdicts: readonly StudyVerdict[],
  experiments: readonly Experiment[],
): TableVerdict[] {
  const names = new Map(
    experiments.map((experiment) => [experiment.name, displayName(experiment)]),
  );
  return verdicts.map((verdict) => ({
    ...verdict,
    model: names.get(verdict.experiment)!,
    reference: names.get(verdict.than)!,
  }));
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
      peakGpuBytes: summary.peakGpuBytes,
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

async function sampleMasks(
  runs: readonly FinishedRun[],
  data: StudyData,
  sample: SliceRef,
): Promise<SampleMasks> {
  const slice = await data.slices.read(sample);
  const part = (["train", "validation", "test"] as const).find((name) =>
    data.parts[name].some(({ id }) => id === sample.id)
  );
  return {
    image: slice.image,
    width: sample.width,
    height: sample.height,
    truth: slice.mask,
    predictions: runs.flatMap(({ summary, sample }) =>
      sample ? [{ name: displayName(summary.experiment), ...sample }] : []
    ),
    box: evaluationPrompt("tight-box" satisfies PromptKind, slice, 0).box,
    caption: `${sample.caseId}, slice ${sample.index}${part ? `, ${part} split` : ""}`,
  };
}

/** Refuses a results folder that holds something, or that cannot be made; makes nothing. */
async function requireNew(folder: string): Promise<void> {
  let isThere = true;
  await Deno.stat(folder).catch(() => isThere = false);
  await requireEmpty(folder);
  // Whether it can be written to is found out now, not after an hour of training, and in the folder
  // itself: nothing else may be written to.
  try {
    await Deno.mkdir(folder, { recursive: true });
    await Deno.remove(await Deno.makeTempFile({ dir: folder, suffix: ".0.0.tmp" }));
    if (!isThere) await Deno.remove(folder);
  } catch {
    throw unusable(folder);
  }
}

/** A date as part of a folder name, in UTC. */
function stamp(date: Date): string {
  return date.toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-");
}
