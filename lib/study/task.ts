/**
 * One task of a study: an experiment in one part is trained, if there is something to train, and scored.
 *
 * @module
 */
import { basename } from "node:path";
import type { ActivationCache } from "../evaluate/activation_cache.ts";
import type { SliceRef } from "../data/slices.ts";
import { type Adapter, adapterWeights, inHalfPrecision } from "../adapters/adapter.ts";
import { collectAdapter } from "../adapters/apply_adapter.ts";
import { encodeRunLengths } from "../formats/run_length.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { dice as diceOf } from "../metrics/metrics.ts";
import type { StateDict } from "../formats/state_dict.ts";
import type { HostTensor } from "../nn/host_state.ts";
import type { Sam } from "../sam/sam.ts";
import { groupMeans, mean } from "../stats/summary.ts";
import { noGrad } from "../tensor/autograd.ts";
import { Scope } from "../tensor/scope.ts";
import { readCheckpoint, writeCheckpoint } from "../train/checkpoint_file.ts";
import { evaluate, meanDice } from "../evaluate/evaluate.ts";
import {
  choosePresence,
  PRESENCE_SCORES,
  presenceCandidates,
  type PresenceSample,
} from "../evaluate/presence.ts";
import {
  AUTOMATIC_PROMPTS,
  evaluationPrompt,
  HEADLINE_PROMPTS,
  type ScoredPrompt,
} from "../evaluate/scored_prompts.ts";
import { checkScores, GuardError } from "../evaluate/guards.ts";
import { type ProtocolSlice, runProtocol } from "../evaluate/protocol.ts";
import { observe } from "../evaluate/protocol_summary.ts";
import type { SliceModel } from "../evaluate/slice_model.ts";
import { fit } from "../train/fit.ts";
import type { EpochMetrics } from "../train/training.ts";
import type { TrainingState } from "../train/resume.ts";
import { wiseFt } from "../train/wise_ft.ts";
import { signAdapter } from "./adapter.ts";
import { namedPaths } from "./begun.ts";
import { type Config, dataSeed } from "./schema.ts";
import { configOf, displayName, type Experiment } from "./experiment.ts";
import type { StudyFolder } from "./folder.ts";
import { type Forecast, sharesTried, slicesOfEpoch, validationsAfter } from "./forecast.ts";
import type { Interruption } from "./interruption.ts";
import { adapterOptions, buildModel, restoreWeights, sliceModel } from "./model.ts";
import { describePlacement } from "./placement.ts";
import type { Part } from "./plan.ts";
import { Progress } from "./progress.ts";
import { type Records, rounded } from "./records.ts";
import type { ChosenPresence, Environment, Run, RunSummary } from "./results.ts";
import { PRIMARY_PROMPT } from "./statistics.ts";
import {
  describeCrop,
  describeParts,
  openRowData,
  type StudyData,
  trainingThumbnails,
} from "./study_data.ts";
import { CHECKPOINTS, guardOf, TaskFiles } from "./task_files.ts";

/** Device, data and settings that the tasks of one part of a study share. */
export interface PartContext {
  readonly part: Part;
  readonly gpu: Gpu;
  /** Slices of the part; a row with another preparation has its own of them. */
  readonly data: StudyData;
  readonly environment: Environment;
  /** Frozen activations, as far as rows share them. */
  readonly cache: ActivationCache;
  /** Slice whose masks are drawn; null if none are. */
  readonly sample: SliceRef | null;
  readonly log: (line: string) => void;
  /** Folder of the study. */
  readonly folder: StudyFolder;
  /** Asks a training to stop. */
  readonly interruption: Interruption;
  /** Says when rows and study will be done. */
  readonly forecast: Forecast;
  /** Seconds between checkpoints within an epoch. */
  readonly checkpointSeconds: number;
  /** Called once there is something to go on with. */
  readonly onKept: () => void;
}

/**
 * Trains and scores one experiment. A task that was finished before is kept, one that was stopped goes
 * on from its last checkpoint.
 *
 * @throws {GuardError} if a guard has ended the run, now or before: its `run.json` then says so.
 */
export async function runTask(experiment: Experiment, context: PartContext): Promise<void> {
  const { part, folder, gpu, log, onKept } = context;
  context.forecast.begin(part.name, experiment.name);
  const files = new TaskFiles(folder, part.name, experiment.name);
  const begun = await files.readRun();
  const ended = guardOf(begun);
  if (ended) throw ended;
  if (await files.isFinished()) {
    onKept();
    log(`${displayName(experiment)}: finished before\n`);
    return;
  }
  const config = configOf(experiment, part.config);
  const data = await openRowData(context.data, { config: part.config, row: config, log });
  const found = await readCheckpoint(files.at(CHECKPOINTS));
  found?.damaged.forEach(log);
  const run: Run = {
    part: part.name,
    experiment,
    config: { ...config, ...baseNames(config), data: data.name },
    data: {
      cases: data.slices.dataset.cases.length,
      ...describeParts(data),
      crop: data.slices.crop,
    },
    environment: found && begun ? begun.environment : context.environment,
    split: data.split,
    epochs: [],
  };
  await files.writeRun(run);
  try {
    await new Task({ run, config, data, files, context }).run(found?.state ?? null);
  } catch (error) {
    if (!(error instanceof GuardError)) throw error;
    const { guard, step, message } = error;
    await files.writeRun({ ...run, guard: { guard, step, message } });
    onKept();
    throw error;
  } finally {
    gpu.trim();
  }
}

/** The last parts of a config's paths, which are nobody else's: they name the data and the weights. */
function baseNames(config: Config): ReturnType<typeof namedPaths> {
  const { data, healthy, weights, patients } = namedPaths(config);
  const last = (path: string | null) => path && basename(path);
  return {
    data: last(data),
    healthy: last(healthy),
    weights: last(weights),
    patients: last(patients),
  };
}

/** A task under way. */
class Task {
  readonly #run: Run;
  readonly #config: Config;
  readonly #data: StudyData;
  readonly #files: TaskFiles;
  readonly #context: PartContext;
  /** Name of the experiment in tables. */
  readonly #name: string;
  #epochs: EpochMetrics[] = [];

  constructor(
    { run, config, data, files, context }: {
      run: Run;
      config: Config;
      data: StudyData;
      files: TaskFiles;
      context: PartContext;
    },
  ) {
    this.#run = run;
    this.#config = config;
    this.#data = data;
    this.#files = files;
    this.#context = context;
    this.#name = displayName(run.experiment);
  }

  /** Trains, from a state or from the start, and scores. */
  async run(from: TrainingState | null): Promise<void> {
    const { gpu, cache, onKept, log } = this.#context;
    const { experiment } = this.#run;
    const sam = await buildModel(gpu, { experiment, config: this.#config });
    try {
      using model = sliceModel(sam, this.#config, cache);
      gpu.trim(); // what the row before has left does not count
      gpu.forgetPeak();
      if (from) await this.#tellState(from);
      const summary = { ...this.#describe(sam), ...await this.#prepare(model, from) };
      const presence = await this.#choosePresence(model);
      const run = { ...this.#run, ...(presence && { presence }) };
      if (sam.trainableParameters().length > 0) await this.#save(sam, run);
      const records = await this.#score(model);
      await this.#files.finish({ ...run, epochs: this.#epochs, summary }, records);
      onKept();
      log("");
    } finally {
      sam.dispose();
    }
  }

  async #tellState({ position: { epoch, step, epochs } }: TrainingState): Promise<void> {
    const { log, onKept } = this.#context;
    this.#epochs = [...epochs];
    onKept();
    const underWay = Math.min(epoch, this.#config.epochs);
    log(`${this.#name}: going on after step ${step}, in epoch ${underWay}`);
    if (epochs.length > 0) await this.#files.writeEpochs(epochs);
  }

  #describe(sam: Sam): RunSummary {
    const { crop } = this.#config;
    const hasOwnSlices = this.#data !== this.#context.data;
    return {
      trainableParameters: sam.trainableParameters()
        .reduce((sum, [, tensor]) => sum + tensor.size, 0),
      ...(hasOwnSlices && crop !== null && { crop: describeCrop(this.#data.slices.crop, crop) }),
      placement: describePlacement(sam),
    };
  }

  /** Gives the model the weights that are scored, in the precision that they are saved with. */
  async #prepare(model: SliceModel, from: TrainingState | null): Promise<Partial<RunSummary>> {
    const { sam } = model;
    if (sam.trainableParameters().length === 0) return {};
    const { interruption } = this.#context;
    const pretrained = await hostState(sam);
    const summary = await interruption.saving(async () => ({
      ...await this.#train(model, from),
      wiseFt: await this.#drawBack(model, pretrained),
    }));
    if (this.#config.adapterDtype === "f16") {
      const adapter = inHalfPrecision(await this.#collect(sam));
      restoreWeights(sam, adapterWeights(adapter), adapter.source);
    }
    return summary;
  }

  /** The trained weights as an adapter. */
  async #collect(sam: Sam): Promise<Adapter> {
    return await collectAdapter(sam, adapterOptions(this.#run.experiment, this.#config));
  }

  /**
   * Chooses the rule by which masks without a prompt count, on the validation slices with tumour and
   * without; null where there are none without.
   */
  async #choosePresence(model: SliceModel): Promise<ChosenPresence | null> {
    const { parts: { validation }, healthy: { validation: healthy }, slices: reader } = this.#data;
    if (healthy.length === 0) return null;
    const { forecast, log } = this.#context;
    const refs = [...validation, ...healthy];
    forecast.start("validation", refs.length);
    const { slices } = rounded(
      await runProtocol(model, { reader, refs }, {
        prompts: AUTOMATIC_PROMPTS,
        batchSize: this.#config.batchSize,
        onProgress: (done) => forecast.advance(done),
      }),
    );
    const candidates = presenceCandidates(slices.map(sampleOf));
    const best = choosePresence(candidates);
    if (!best) return null;
    const { score, threshold, auc, sensitivity, quiet } = best;
    log(
      `${this.#name}: a mask without a prompt counts from ${PRESENCE_SCORES[score].label} ` +
        `${threshold.toPrecision(3)} on; validation sensitivity ${
          sensitivity.toFixed(3)
        }, quiet on ` +
        `${quiet.toFixed(3)} of tumour-free slices, AUC ${auc.toFixed(3)}`,
    );
    const [tumourSlices, healthySlices] = [validation.length, healthy.length];
    return { score, threshold, tumourSlices, healthySlices, candidates };
  }

  async #train(model: SliceModel, from: TrainingState | null): Promise<Partial<RunSummary>> {
    const { folder, interruption, checkpointSeconds, onKept, forecast } = this.#context;
    const { epochs } = this.#config;
    const { train, validation } = this.#data.parts;
    const total = slicesOfEpoch(train.length, this.#config);
    const start = (epoch: number, done = 0) => {
      forecast.start("train", total, done);
      return this.#progress(`epoch ${epoch}/${epochs}`, total);
    };
    const trained = from ? this.#leave(from) : 0;
    let progress = start(from?.position.epoch ?? 1, trained);
    const options: Parameters<typeof fit>[2] = {
      ...this.#config,
      from,
      checkpointSeconds,
      signal: interruption.signal,
      onCheckpoint: async (state) => {
        await folder.check();
        await writeCheckpoint(this.#files.at(CHECKPOINTS), state);
        onKept();
      },
      onProgress: (update) => {
        forecast.advance(update.done);
        progress.update(update);
        if (update.done === update.total) forecast.start("validation", validation.length);
      },
      onEpoch: async (epoch, best) => {
        forecast.advance(validation.length);
        this.#epochs.push(epoch);
        await this.#files.writeEpochs(this.#epochs);
        progress.finish(
          `${this.#name} ${describeEpoch(epoch, epochs)}${best ? " (best)" : ""}, ` +
            `${(epoch.seconds / epoch.steps).toFixed(2)} s a step`,
        );
        progress = start(epoch.epoch + 1);
      },
    };
    const { split, parts, healthy, slices: reader } = this.#data;
    const { peakGpuBytes, bestEpoch, stoppedEarly, earlyStoppingEpoch } = await fit(
      model,
      { ...split, ...parts, healthy: healthy.train, reader },
      options,
    );
    forecast.leave({ train: 0, validation: this.#validationsAfter() });
    // The first step compiles kernels and fills caches: the median epoch is what a step costs.
    const perStep = this.#epochs.map(({ seconds, steps }) => seconds / steps).sort((a, b) => a - b);
    return {
      secondsPerStep: perStep[perStep.length >> 1],
      trainSeconds: this.#epochs.reduce((sum, { seconds }) => sum + seconds, 0),
      peakGpuBytes,
      bestEpoch,
      stoppedEarly,
      earlyStoppingEpoch,
    };
  }

  /** Tells the forecast what a training that goes on has left; returns the slices of its epoch done. */
  #leave({ position: { epoch, batch } }: TrainingState): number {
    const { epochs, batchSize } = this.#config;
    const { train, validation } = this.#data.parts;
    const left = Math.max(0, epochs - epoch + 1);
    const total = slicesOfEpoch(train.length, this.#config);
    const done = Math.min(total, batch * batchSize);
    this.#context.forecast.leave({
      train: left * total - done,
      validation: left * validation.length + this.#validationsAfter(),
    });
    return done;
  }

  /** Validation slices that are passed over once a training has ended. */
  #validationsAfter(): number {
    return validationsAfter(this.#config, this.#data);
  }

  /** Draws the trained weights back by the share that is best on the validation slices (WiSE-FT). */
  async #drawBack(
    model: SliceModel,
    pretrained: StateDict,
  ): Promise<NonNullable<RunSummary["wiseFt"]>> {
    const { wiseFt: shares } = this.#config;
    const trained = await hostState(model.sam);
    const put = (share: number) => {
      const drawn = wiseFt({ pretrained, trained }, share);
      for (const [path, tensor] of model.sam.trainableParameters()) {
        tensor.write(drawn.get(path)!.data);
      }
    };
    const tried: { share: number; dice: number }[] = [];
    for (const share of shares.slice(0, sharesTried(this.#config))) {
      put(share);
      tried.push({ share, dice: await this.#validate(model) });
    }
    const [best] = tried.toSorted((a, b) => b.dice - a.dice || b.share - a.share);
    const share = best?.share ?? shares[0];
    put(share);
    if (best) {
      const list = tried.map(({ share, dice }) => `${dice.toFixed(3)} at ${share}`).join(", ");
      this.#context.log(
        `${this.#name}: WiSE-FT share ${share}; validation Dice over prompts ${list}`,
      );
    }
    return { share, tried };
  }

  /** Mean Dice of the validation slices over the headline prompts. */
  async #validate(model: SliceModel): Promise<number> {
    const { slices: reader, parts: { validation: refs } } = this.#data;
    const { batchSize } = this.#config;
    const { forecast, interruption: { signal } } = this.#context;
    forecast.start("validation", refs.length);
    const found = await evaluate(model, { reader, refs }, {
      prompts: HEADLINE_PROMPTS,
      seed: dataSeed(this.#config),
      batchSize,
      onProgress: (done) => {
        forecast.advance(done);
        signal.throwIfAborted();
      },
    });
    return mean(HEADLINE_PROMPTS.map((kind) => meanDice(found, kind)));
  }

  /** Writes the trained weights, which are scored as written, with all that scoring elsewhere needs. */
  async #save(sam: Sam, run: Run): Promise<void> {
    const trained = await this.#collect(sam);
    const adapter = this.#config.adapterDtype === "f16" ? inHalfPrecision(trained) : trained;
    await this.#files.writeAdapter(
      signAdapter(adapter, run, {
        weights: this.#context.environment.weights,
        thumbnails: await trainingThumbnails(this.#data),
      }),
    );
  }

  /** Scores the test slices under the whole protocol. */
  async #score(model: SliceModel): Promise<Records> {
    const { parts: { test }, slices: reader } = this.#data;
    const { forecast } = this.#context;
    const refs = [...test, ...this.#testedHealthy()];
    forecast.start("test", refs.length);
    const progress = this.#progress("test", refs.length);
    const masks: Records["masks"][number][] = [];
    const unpromptedMasks: typeof masks = [];
    const found = rounded(
      await runProtocol(model, { reader, refs }, {
        prompts: this.#config.testPrompts,
        seed: dataSeed(this.#config),
        batchSize: this.#config.batchSize,
        onMasks: ({ id, width, height }, found) => {
          const mask = found.get(PRIMARY_PROMPT);
          if (mask) masks.push({ id, ...encodeRunLengths(mask, { width, height }) });
          const own = refs.length > test.length && found.get(AUTOMATIC_PROMPTS[0]);
          if (own) unpromptedMasks.push({ id, ...encodeRunLengths(own, { width, height }) });
        },
        onProgress: (done) => {
          forecast.advance(done);
          progress.update({ done });
        },
      }),
    );
    const [slices, healthy] = [found.slices.slice(0, test.length), found.slices.slice(test.length)];
    const tested = new Set(test.map(({ caseId }) => caseId));
    if (model.sam.trainableParameters().length > 0) this.#checkScores(slices);
    const dice = (prompt: ScoredPrompt) =>
      mean(groupMeans(observe(slices, { prompt, metric: "dice" }))).toFixed(3);
    const scored = HEADLINE_PROMPTS.filter((kind) => this.#config.testPrompts.includes(kind));
    const headlines = scored.map((kind) => `${dice(kind)} (${kind.replaceAll("-", " ")})`);
    progress.finish(`${this.#name}: mean test Dice of patients ${headlines.join(", ")}`);
    return {
      part: this.#run.part,
      row: this.#run.experiment.name,
      trivial: false,
      slices,
      ...(healthy.length > 0 && { healthy, unpromptedMasks }),
      cases: found.cases.filter(({ id }) => tested.has(id)),
      masks,
      sample: await this.#predictSample(model),
    };
  }

  /** Tumour-free test slices, which are scored without a prompt; none if that is not asked for. */
  #testedHealthy(): readonly SliceRef[] {
    const isScored = AUTOMATIC_PROMPTS.some((kind) => this.#config.testPrompts.includes(kind));
    return isScored ? this.#data.healthy.test : [];
  }

  /** Progress of a pass of this row. */
  #progress(pass: string, total: number): Progress {
    const { forecast } = this.#context;
    const name = forecast.place === "" ? this.#name : `${this.#name} (${forecast.place})`;
    return new Progress({ label: `${name}, ${pass}`, total, forecast: () => `${forecast}` });
  }

  #checkScores(slices: readonly ProtocolSlice[]): void {
    const sizes = new Map(
      this.#data.parts.test.map(({ id, width, height }) => [id, width * height]),
    );
    checkScores(
      slices.flatMap(({ id, tumourPixels, scores }) => {
        const score = scores[this.#config.validationPrompt];
        return score ? [{ dice: score.dice, truth: tumourPixels / sizes.get(id)! }] : [];
      }),
      { what: `${this.#name} on the test slices` },
    );
  }

  /** Mask of the sample under its tight box; null if it is no slice of these data, as it was cut. */
  async #predictSample(model: SliceModel): Promise<Records["sample"]> {
    const { sample } = this.#context;
    const own = sample && this.#data.slices.refs.find(({ id }) => id === sample.id);
    if (!own || own.width !== sample.width || own.height !== sample.height) return null;
    const slice = await this.#data.slices.read(own);
    using _ = new Scope(model.sam.gpu);
    const logits = await noGrad(model.sam.gpu, () => {
      const samples = [{ slice, variant: "" }];
      return model.decode(model.encode(samples), samples, [
        evaluationPrompt("tight-box", slice, dataSeed(this.#config)),
      ]);
    }).data();
    const mask = Uint8Array.from(logits, (logit) => logit > 0 ? 1 : 0);
    return { ...encodeRunLengths(mask, own), dice: diceOf(mask, slice.mask) };
  }
}

/** A slice that was scored without a prompt, as a presence rule is chosen on it. */
function sampleOf({ tumourPixels, scores, presence }: ProtocolSlice): PresenceSample {
  const { sensitivity, healthyPainted } = scores[AUTOMATIC_PROMPTS[0]]!;
  const tumour = tumourPixels > 0;
  return { tumour, painted: (tumour ? sensitivity : healthyPainted) === 1, scores: presence! };
}

/** Trainable parameters of a model in host memory. */
async function hostState(sam: Sam): Promise<StateDict> {
  const state = new Map<string, HostTensor>();
  for (const [name, tensor] of sam.trainableParameters()) {
    state.set(name, { shape: tensor.shape, data: await tensor.data() });
  }
  return state;
}

/** "epoch 3/50: loss …, validation loss …, validation Dice …". */
function describeEpoch(
  { epoch, trainLoss, validationLoss, validationDice }: EpochMetrics,
  epochs: number,
): string {
  return `epoch ${epoch}/${epochs}: loss ${trainLoss.toFixed(3)}, ` +
    `validation loss ${validationLoss.toFixed(3)}, validation Dice ${validationDice.toFixed(3)}`;
}
