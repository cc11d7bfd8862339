import { basename, join } from "node:path";
import type { PromptKind } from "../data/prompts.ts";
import type { SliceRef } from "../data/slices.ts";
import { encodeRunLengths, type RunLengths } from "../formats/run_length.ts";
import type { Gpu } from "../gpu/gpu.ts";
import type { HostTensor } from "../nn/host_state.ts";
import { Progress } from "./progress.ts";
import type { ActivationCache } from "../sam/activation_cache.ts";
import type { Sam } from "../sam/sam.ts";
import { noGrad } from "../tensor/autograd.ts";
import { Scope } from "../tensor/scope.ts";
import { readCheckpoint, removeCheckpoints, writeCheckpoint } from "../train/checkpoint_file.ts";
import { evaluationPrompt } from "../evaluate/scored_prompts.ts";
import { checkScores, GuardError } from "../evaluate/guards.ts";
import { dice as diceOf } from "../metrics/metrics.ts";
import type { Score } from "../stats/summary.ts";
import { type ProtocolResult, runProtocol } from "../evaluate/protocol.ts";
import { type ProtocolSummary, summarizeProtocol } from "../evaluate/protocol_summary.ts";
import type { SliceModel } from "../evaluate/slice_model.ts";
import type { EpochMetrics } from "../train/training.ts";
import { fit } from "../train/fit.ts";
import { wiseFt } from "../train/wise_ft.ts";
import { adapterWeights, inHalfPrecision } from "../adapters/adapter.ts";
import { saveAdapter } from "./adapter_folder.ts";
import { collectAdapter } from "../adapters/apply_adapter.ts";
import { openAdapter, signAdapter } from "./adapter.ts";
import { FINISHED, formatFinished, readFinished } from "./finished_file.ts";
import { type Config, dataSeed } from "./schema.ts";
import { configOf, displayName, type Experiment } from "./experiment.ts";
import type { Environment } from "./environment.ts";
import { formatGuard, GUARD_FILE, readGuard } from "./guard_file.ts";
import type { Interruption } from "./interruption.ts";
import { adapterOptions, buildModel, restoreWeights, sliceModel } from "./model.ts";
import { describePlacement, type PlacedPart } from "./placement.ts";
import { describeCrop, describeParts, openRowData, type StudyData } from "./study_data.ts";
import { ADAPTERS, CHECKPOINT_FOLDER, type StudyFolder } from "./study_folder.ts";

/** The prompts that a run's closing line names; the first is the study's. */
export const HEADLINE_PROMPTS: readonly PromptKind[] = [
  "tight-box",
  "jittered-box",
  "point",
  "whole-image",
];

/** The prompt of the study's accuracy column, under which masks are kept. */
export const [PRIMARY_PROMPT] = HEADLINE_PROMPTS;

/** Means over slices by prompt, and all else that the protocol found. */
export interface Scores {
  readonly dice: Readonly<Record<string, Score>>;
  readonly iou: Readonly<Record<string, Score>>;
  /** Every metric under every prompt, over slices and over cases. */
  readonly protocol: ProtocolSummary;
}

/** What a run comes to: the content of summary.json. */
export interface RunSummary extends Scores {
  readonly experiment: Experiment;
  readonly trainableParameters: number;
  /** What the crop, if it is one of the row's own, loses of the tumours. */
  readonly crop?: string;
  /** What was trained, block by block. */
  readonly placement: readonly PlacedPart[];
  /** The most device memory that training held at a time. */
  readonly peakGpuBytes?: number;
  readonly secondsPerStep?: number;
  readonly trainSeconds?: number;
  readonly bestEpoch?: number;
  readonly stoppedEarly?: boolean;
  /** The epoch after which patience had run out, whether or not it ended the training; null if none. */
  readonly earlyStoppingEpoch?: number | null;
}

/** A finished run with what pictures and curves need. */
export interface FinishedRun {
  readonly summary: RunSummary;
  readonly metrics: readonly EpochMetrics[];
  /** The sample's predicted mask and its Dice under the tight box; null if the run cuts other slices. */
  readonly sample: { readonly mask: Uint8Array; readonly dice: number } | null;
}

/** What all runs of a study share. */
export interface StudyContext {
  readonly gpu: Gpu;
  /** The study's slices; a row with another preparation has its own of them. */
  readonly data: StudyData;
  readonly environment: Environment;
  /** Frozen activations, as far as rows share them. */
  readonly cache: ActivationCache;
  /** The slice whose masks are drawn. */
  readonly sample: SliceRef;
  readonly log: (line: string) => void;
  /** Where the runs' folders lie. */
  readonly folder: StudyFolder;
  /** Asks a training to stop. */
  readonly interruption: Interruption;
  /** Seconds between checkpoints within an epoch. */
  readonly checkpointSeconds: number;
  /** Called once there is something to go on with. */
  readonly onKept: () => void;
}

/** Means of what the protocol found. */
export function summarizeScores(result: ProtocolResult): Scores {
  const protocol = summarizeProtocol(result);
  const by = (metric: "dice" | "iou") =>
    Object.fromEntries(
      Object.entries(protocol.prompts).flatMap(([prompt, { slices }]) =>
        slices[metric] ? [[prompt, slices[metric]]] : []
      ),
    );
  return { dice: by("dice"), iou: by("iou"), protocol };
}

/** A list as JSON, one item a line, numbers to six decimals. */
export function listJson(items: readonly unknown[]): string {
  const round = (_: string, value: unknown) =>
    typeof value === "number" ? Math.round(value * 1e6) / 1e6 : value;
  return `[\n${items.map((item) => JSON.stringify(item, round)).join(",\n")}\n]\n`;
}

/**
 * Trains (if there is something to train) and scores one experiment, and writes its run folder. A run
 * that was finished before is read, one that was stopped goes on from its last checkpoint.
 *
 * @throws {GuardError} if a guard has ended the run, now or before: the folder then says so.
 */
export async function runExperiment(
  experiment: Experiment,
  options: { config: Config; context: StudyContext },
): Promise<FinishedRun> {
  const { folder, gpu, onKept } = options.context;
  const before = await readGuard(join(folder.path, experiment.name));
  if (before) throw before;
  try {
    // Weights whose training was ended are scored no more than that.
    const ended = experiment.wiseFt && await readGuard(join(folder.path, experiment.wiseFt.of));
    if (ended) throw ended;
    return await trainAndScore(experiment, options);
  } catch (error) {
    if (!(error instanceof GuardError)) throw error;
    await folder.write(join(experiment.name, GUARD_FILE), formatGuard(error));
    onKept();
    throw error;
  } finally {
    gpu.trim();
  }
}

async function trainAndScore(
  experiment: Experiment,
  options: { config: Config; context: StudyContext },
): Promise<FinishedRun> {
  const { context } = options;
  const { gpu, log, interruption } = context;
  const config = configOf(experiment, options.config);
  const name = displayName(experiment);
  const folder = join(context.folder.path, experiment.name);
  const checkpoints = join(folder, CHECKPOINT_FOLDER);
  const write = (file: string, content: string) =>
    context.folder.write(join(experiment.name, file), content);
  const writeJson = (file: string, value: unknown) =>
    write(file, JSON.stringify(value, null, 2) + "\n");
  const writeMetrics = (epochs: readonly EpochMetrics[]) =>
    write("metrics.jsonl", epochs.map((line) => JSON.stringify(line) + "\n").join(""));

  const finished = await readFinished(folder);
  if (finished) {
    context.onKept();
    log(`${name}: finished before\n`);
    return finished;
  }
  const data = await openRowData(context.data, { config: options.config, row: config, log });
  const found = await readCheckpoint(checkpoints);
  found?.damaged.forEach(log);
  // Paths of this machine are nobody else's: their last part names the data and the weights.
  const described = {
    ...config,
    data: data.name,
    weights: config.weights && basename(config.weights),
  };
  await writeJson("config.json", {
    experiment,
    config: described,
    data: {
      cases: data.slices.dataset.cases.length,
      ...describeParts(data),
      crop: data.slices.crop,
    },
  });
  if (!found) await writeJson("environment.json", context.environment);
  await writeJson("split.json", data.split);

  const sam = await buildModel(gpu, { experiment, config });
  try {
    using model = sliceModel(sam, config, context.cache);
    gpu.trim(); // what the row before has left does not count
    gpu.forgetPeak();
    const trainable = sam.trainableParameters();
    const metrics: EpochMetrics[] = [...found?.state.position.epochs ?? []];
    if (found) {
      const { epoch, step } = found.state.position;
      context.onKept();
      log(`${name}: going on after step ${step}, in epoch ${Math.min(epoch, config.epochs)}`);
      if (metrics.length > 0) await writeMetrics(metrics);
    }
    let summary: Omit<RunSummary, keyof Scores> = {
      experiment,
      trainableParameters: trainable.reduce((sum, [, tensor]) => sum + tensor.size, 0),
      ...(data !== context.data && config.crop !== null && {
        crop: describeCrop(data.slices.crop, config.crop),
      }),
      placement: describePlacement(sam),
    };

    if (experiment.wiseFt) {
      await drawBack(sam, experiment.wiseFt, context);
      await saveTrained(sam, { experiment, config, described, data, context });
    } else if (trainable.length > 0) {
      const start = (epoch: number) =>
        new Progress({
          label: `${name} epoch ${epoch}/${config.epochs}`,
          total: data.parts.train.length,
        });
      let progress = start(found?.state.position.epoch ?? 1);
      const training: Parameters<typeof fit>[2] = {
        ...config,
        from: found?.state,
        checkpointSeconds: context.checkpointSeconds,
        signal: interruption.signal,
        onCheckpoint: async (state) => {
          await context.folder.check();
          await writeCheckpoint(checkpoints, state);
          context.onKept();
        },
        onProgress: (update) => progress.update(update),
        onEpoch: async (epoch, best) => {
          metrics.push(epoch);
          await writeMetrics(metrics);
          progress.finish(
            `${name} epoch ${epoch.epoch}/${config.epochs}: loss ${epoch.trainLoss.toFixed(3)}, ` +
              `validation loss ${epoch.validationLoss.toFixed(3)}, ` +
              `validation Dice ${epoch.validationDice.toFixed(3)}${best ? " (best)" : ""}, ` +
              `${(epoch.seconds / epoch.steps).toFixed(2)} s a step`,
          );
          progress = start(epoch.epoch + 1);
        },
      };
      const result = await interruption.saving(() =>
        fit(model, { ...data.split, ...data.parts, reader: data.slices }, training)
      );
      const trainSeconds = metrics.reduce((sum, { seconds }) => sum + seconds, 0);
      // The first step compiles kernels and fills caches: the median epoch is what a step costs.
      const perStep = metrics.map(({ seconds, steps }) => seconds / steps).sort((a, b) => a - b);
      summary = {
        ...summary,
        secondsPerStep: perStep[perStep.length >> 1],
        trainSeconds,
        peakGpuBytes: result.peakGpuBytes,
        bestEpoch: result.bestEpoch,
        stoppedEarly: result.stoppedEarly,
        earlyStoppingEpoch: result.earlyStoppingEpoch,
      };
      await saveTrained(sam, { experiment, config, described, data, context });
    }

    const { test } = data.parts;
    const progress = new Progress({ label: `${name} test`, total: test.length });
    const masks: ({ readonly id: string } & RunLengths)[] = [];
    const result = await runProtocol(model, { reader: data.slices, refs: test }, {
      seed: dataSeed(config),
      batchSize: config.batchSize,
      onMasks: ({ id, width, height }, found) => {
        const mask = found.get(PRIMARY_PROMPT);
        if (mask) masks.push({ id, ...encodeRunLengths(mask, { width, height }) });
      },
      onProgress: (done) => progress.update({ done }),
    });
    if (trainable.length > 0) {
      checkScores(
        result.slices.flatMap(({ id, tumourPixels, scores }) => {
          const { width, height } = test.find((ref) => ref.id === id)!;
          const score = scores[config.validationPrompt];
          return score ? [{ dice: score.dice, truth: tumourPixels / (width * height) }] : [];
        }),
        { what: `${name} on the test slices` },
      );
    }
    const scored: RunSummary = { ...summary, ...summarizeScores(result) };
    const dice = (kind: PromptKind) => scored.dice[kind].mean.toFixed(3);
    progress.finish(
      `${name}: test Dice ${
        HEADLINE_PROMPTS.map((kind) => `${dice(kind)} (${kind.replace("-", " ")})`).join(", ")
      }`,
    );
    await write("scores.json", listJson(result.slices));
    await write("cases.json", listJson(result.cases));
    await write("masks.json", listJson(masks));
    const sample = await predict(model, { data, sample: context.sample, seed: dataSeed(config) });
    await writeJson("summary.json", scored);
    const run = { summary: scored, metrics, sample };
    await write(FINISHED, formatFinished(run));
    await removeCheckpoints(checkpoints);
    context.onKept();
    log("");
    return run;
  } finally {
    sam.dispose();
  }
}

/** Puts the weights that another row has trained into a model, drawn back towards what it has now. */
async function drawBack(
  sam: Sam,
  { of, alpha }: NonNullable<Experiment["wiseFt"]>,
  { folder }: StudyContext,
): Promise<void> {
  const path = join(folder.path, of);
  const trained = adapterWeights(await openAdapter(path));
  const pretrained = new Map<string, HostTensor>();
  for (const [name, tensor] of sam.trainableParameters()) {
    pretrained.set(name, { shape: tensor.shape, data: await tensor.data() });
  }
  restoreWeights(sam, wiseFt({ pretrained, trained }, alpha), path);
}

/** Writes what was trained into the run's folder and, in half precision, beside the study's others. */
async function saveTrained(
  sam: Sam,
  { experiment, config, described, data, context }: {
    experiment: Experiment;
    config: Config;
    /** The config without paths of this machine. */
    described: unknown;
    data: StudyData;
    context: StudyContext;
  },
): Promise<void> {
  const { folder, environment } = context;
  const adapter = signAdapter(
    await collectAdapter(sam, adapterOptions(experiment, config)),
    { experiment, config: described },
    environment.weights,
  );
  await folder.check();
  await saveAdapter(join(folder.path, experiment.name, "adapter"), adapter);
  // Small enough to be committed, and with all that scoring it elsewhere needs to know.
  const own = join(ADAPTERS, experiment.name);
  const writeJson = (file: string, value: unknown) =>
    folder.write(join(own, file), JSON.stringify(value, null, 2) + "\n");
  await writeJson("config.json", { experiment, config: described });
  await writeJson("split.json", data.split);
  await saveAdapter(join(folder.path, own), inHalfPrecision(adapter));
}

/** The sample's mask under its tight box; null if it is no slice of these data, as it was cut. */
async function predict(
  model: SliceModel,
  { data, sample, seed }: { data: StudyData; sample: SliceRef; seed: number },
): Promise<FinishedRun["sample"]> {
  const own = data.slices.refs.find(({ id }) => id === sample.id);
  if (own?.width !== sample.width || own.height !== sample.height) return null;
  const slice = await data.slices.read(own);
  using _ = new Scope(model.sam.gpu);
  const logits = await noGrad(model.sam.gpu, () => {
    const samples = [{ slice, variant: "" }];
    return model.decode(model.encode(samples), samples, [
      evaluationPrompt("tight-box", slice, seed),
    ]);
  }).data();
  const mask = Uint8Array.from(logits, (logit) => logit > 0 ? 1 : 0);
  return { mask, dice: diceOf(mask, slice.mask) };
}
