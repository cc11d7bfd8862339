/**
 * One task of a study: an experiment in one part is trained, if there is something to train, and scored.
 *
 * @module
 */
import { basename, dirname } from "node:path";
import type { ActivationCache } from "../evaluate/activation_cache.ts";
import type { SliceRef } from "../data/slices.ts";
import { type Adapter, adapterWeights, inHalfPrecision } from "../adapters/adapter.ts";
import { collectAdapter } from "../adapters/apply_adapter.ts";
import { encodeRunLengths } from "../formats/run_length.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { dice as diceOf } from "../metrics/metrics.ts";
import type { StateDict } from "../formats/state_dict.ts";
import type { Sam } from "../sam/sam.ts";
import { groupMeans, mean } from "../stats/summary.ts";
import { noGrad } from "../tensor/autograd.ts";
import { Scope } from "../tensor/scope.ts";
import { choosePresence, PRESENCE_SCORES } from "../evaluate/presence.ts";
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
import { signAdapter } from "./adapter.ts";
import { namedPaths } from "./begun.ts";
import { bestOf, choiceOf, type TrainingChoice, trainingChoices, type Tried } from "./choice.ts";
import { type Choice, type Config, dataSeed, settled, type SettledConfig } from "./schema.ts";
import { EventLog, rowEvents } from "./event_log.ts";
import { configOf, displayName, type Experiment } from "./experiment.ts";
import type { StudyFolder } from "./folder.ts";
import { type Forecast, trainingPasses } from "./forecast.ts";
import type { Interruption } from "./interruption.ts";
import { adapterOptions, buildModel, restoreWeights, sliceModel } from "./model.ts";
import { describePlacement } from "./placement.ts";
import type { Part } from "./plan.ts";
import { type Records, rounded } from "./records.ts";
import type { ChosenPresence, Environment, MadeChoice, Run, RunSummary } from "./results.ts";
import {
  drawBack,
  rowProgress,
  RowTraining,
  type RowTrainingOptions,
  type TrainedRow,
} from "./row_training.ts";
import { PRIMARY_PROMPT } from "./statistics.ts";
import {
  describeCrop,
  describeParts,
  openRowData,
  type StudyData,
  trainingThumbnails,
} from "./study_data.ts";
import { checkpointsOf, guardOf, TaskFiles, TaskRecord } from "./task_files.ts";
import { scorePresence } from "./validation.ts";

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
  /** Folder of the study, held for the task. */
  readonly folder: StudyFolder;
  /** Asks a training to stop. */
  readonly interruption: Interruption;
  /** Says when rows and study will be done. */
  readonly forecast: Forecast;
  /** True if event files for TensorBoard are written. */
  readonly tensorboard: boolean;
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
  const isKept = await files.isKept();
  const run: Run = {
    part: part.name,
    experiment,
    config: { ...config, ...baseNames(config), data: data.name },
    data: {
      cases: data.slices.dataset.cases.length,
      ...describeParts(data),
      crop: data.slices.crop,
    },
    environment: isKept && begun ? begun.environment : context.environment,
    split: data.split,
    epochs: [],
  };
  await files.writeRun(run);
  try {
    await new Task({ run, config, data, files, context }).run();
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

/** Model of a row on the device, with what it trains as it was before. */
interface BuiltModel {
  readonly model: SliceModel;
  readonly pretrained: StateDict;
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

  /** Trains, from a checkpoint or from the start, and scores. */
  async run(): Promise<void> {
    const isTrained = this.#run.experiment.kind !== "vanilla";
    const before = isTrained ? await this.#chosenBefore() : null;
    const trainings = before ? [before.values] : isTrained ? trainingChoices(this.#config) : [];
    const candidates = trainings.length > 1 ? await this.#trainCandidates(trainings) : null;
    await this.#withModel(async (built) => {
      const { sam } = built.model;
      const described = this.#describe(sam);
      const { epochs, summary, tried } = candidates
        ? await this.#takeBest(built, candidates)
        : trainings.length === 1
        ? await this.#training(settled(this.#config, trainings[0]), { before })
          .run(built.model, built.pretrained)
        : UNTRAINED;
      const choice = isTrained ? before ?? this.#choice(tried) : null;
      if (isTrained) await this.#settle(built, choice?.values.wiseFt ?? this.#config.wiseFt[0]);
      const presence = await this.#choosePresence(built.model);
      const run: Run = {
        ...this.#run,
        config: { ...this.#run.config, ...settledValues(this.#config, choice?.values) },
        ...(presence && { presence }),
      };
      if (isTrained) await this.#save(sam, run);
      const records = await this.#score(built.model);
      const made = { ...described, ...summary, ...(choice && { choice }) };
      const ended: Run = { ...run, epochs, summary: made };
      if (this.#context.tensorboard) {
        const scores = HEADLINE_PROMPTS.filter((prompt) =>
          this.#config.testPrompts.includes(prompt)
        )
          .map((prompt) => [prompt, diceUnder(prompt, records.slices)]);
        await this.#files.writeEvents(rowEvents(ended, Object.fromEntries(scores)));
      }
      await this.#files.finish(ended, records);
    });
    this.#context.onKept();
    this.#context.log("");
  }

  /** Builds the model anew for a piece of work. */
  async #withModel<T>(work: (built: BuiltModel) => Promise<T>): Promise<T> {
    const { gpu, cache } = this.#context;
    const { experiment } = this.#run;
    const sam = await buildModel(gpu, { experiment, config: this.#config });
    try {
      using model = sliceModel(sam, this.#config, cache);
      gpu.trim(); // what came before does not count
      gpu.forgetPeak();
      return await work({ model, pretrained: await sam.trainableState() });
    } finally {
      sam.dispose();
      gpu.trim();
    }
  }

  /**
   * Choice of the first training seed on the same split; null where this part chooses itself.
   *
   * @throws {GuardError} if a guard has ended the row there.
   */
  async #chosenBefore(): Promise<MadeChoice | null> {
    const { part: { chosenBy }, folder } = this.#context;
    if (chosenBy === null) return null;
    const chooser = await TaskRecord.of(folder.path, chosenBy, this.#run.experiment.name);
    const run = await chooser.readDone();
    const ended = guardOf(run);
    if (ended) throw ended;
    const choice = run && choiceOf(run);
    return choice && { ...choice, tried: [] };
  }

  /** One training of the row. */
  #training(
    config: SettledConfig,
    { before = null, candidate, later = { train: 0, validation: 0 } }: {
      before?: MadeChoice | null;
      /** Its place among several; undefined where there is one. */
      candidate?: number;
      later?: RowTrainingOptions["later"];
    },
  ): RowTraining {
    const checkpoints = this.#files.at(checkpointsOf(candidate));
    const events = this.#context.tensorboard ? new EventLog(dirname(checkpoints), config) : null;
    return new RowTraining({
      name: candidate === undefined ? this.#name : `${this.#name}, ${describeTraining(config)}`,
      config,
      shares: before ? [before.values.wiseFt] : this.#config.wiseFt,
      isCompared: candidate !== undefined,
      later,
      data: this.#data,
      context: this.#context,
      checkpoints,
      onEpochs: async (epochs) => {
        await this.#files.writeEpochs(epochs);
        await events?.write(epochs);
      },
    });
  }

  /** Trains each candidate that is left, and reads what came of the others. */
  async #trainCandidates(trainings: readonly TrainingChoice[]): Promise<TrainedRow[]> {
    const found: TrainedRow[] = [];
    for (const [i, choice] of trainings.entries()) {
      const done = await this.#files.readCandidate(i);
      found.push(done ?? await this.#trainCandidate(i, trainings, settled(this.#config, choice)));
    }
    return found;
  }

  async #trainCandidate(
    i: number,
    trainings: readonly TrainingChoice[],
    config: SettledConfig,
  ): Promise<TrainedRow> {
    const later = trainings.slice(i + 1).map((choice) =>
      trainingPasses(settled(this.#config, choice), {
        ...this.#data,
        shares: this.#config.wiseFt.length,
      })
    );
    const sum = (pass: "train" | "validation") => later.reduce((sum, own) => sum + own[pass], 0);
    const training = this.#training(config, {
      candidate: i,
      later: { train: sum("train"), validation: sum("validation") },
    });
    return await this.#withModel(async ({ model, pretrained }) => {
      const trained = await training.run(model, pretrained);
      await this.#files.writeCandidate(i, trained, await this.#collect(model.sam));
      this.#context.onKept();
      return trained;
    });
  }

  /** Gives the model the weights of the best of several trainings. */
  async #takeBest({ model }: BuiltModel, candidates: readonly TrainedRow[]): Promise<TrainedRow> {
    const tried = candidates.flatMap(({ tried }) => tried);
    const best = bestOf(tried);
    const i = candidates.findIndex(({ tried }) => tried.includes(best));
    const adapter = await this.#files.readCandidateAdapter(i);
    restoreWeights(model.sam, adapterWeights(adapter), adapter.source);
    await this.#files.writeEpochs(candidates[i].epochs);
    this.#context.log(`${this.#name}: ${describeTraining(best)} is best on the validation slices`);
    return { ...candidates[i], tried };
  }

  /** Choice among the candidates that were tried; null if there was nothing to choose. */
  #choice(tried: readonly Tried[]): MadeChoice | null {
    if (tried.length === 0) return null;
    const { learningRate, epochs, wiseFt } = bestOf(tried);
    const { parts: { validation }, healthy } = this.#data;
    return {
      values: { learningRate, epochs, wiseFt },
      tried: [...tried],
      by: this.#run.part,
      patients: new Set(validation.map(({ patient }) => patient)).size,
      slices: validation.length,
      healthySlices: healthy.validation.length,
    };
  }

  /** Draws the trained weights back by WiSE-FT's share, and rounds them to the precision they are saved with. */
  async #settle({ model: { sam }, pretrained }: BuiltModel, share: number): Promise<void> {
    drawBack(sam, { pretrained, trained: await sam.trainableState() }, share);
    this.#context.log(`${this.#name}: WiSE-FT share ${share}`);
    if (this.#config.adapterDtype !== "f16") return;
    const adapter = inHalfPrecision(await this.#collect(sam));
    restoreWeights(sam, adapterWeights(adapter), adapter.source);
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

  /** The trained weights as an adapter. */
  async #collect(sam: Sam): Promise<Adapter> {
    return await collectAdapter(sam, adapterOptions(this.#run.experiment, this.#config));
  }

  /** The rule by which masks without a prompt count, given or chosen; null where it cannot be chosen. */
  async #choosePresence(model: SliceModel): Promise<ChosenPresence | null> {
    const { presenceRule: given, trainOnAll } = this.#config;
    if (given) return { ...given, tumourSlices: 0, healthySlices: 0, candidates: [] };
    if (trainOnAll) return null; // its validation slices were trained on
    const { parts: { validation }, healthy: { validation: healthy } } = this.#data;
    const validationOf = { ...this.#context, data: this.#data, config: this.#config };
    const candidates = await scorePresence(model, validationOf);
    const best = choosePresence(candidates);
    if (!best) return null;
    const { score, threshold, auc, sensitivity, quiet } = best;
    const [sensitive, silent] = [sensitivity, quiet].map((share) => share.toFixed(3));
    this.#context.log(
      `${this.#name}: a mask without a prompt counts from ${PRESENCE_SCORES[score].label} ` +
        `${
          threshold.toPrecision(3)
        } on; validation sensitivity ${sensitive}, quiet on ${silent} of ` +
        `tumour-free slices, AUC ${auc.toFixed(3)}`,
    );
    const [tumourSlices, healthySlices] = [validation.length, healthy.length];
    return { score, threshold, tumourSlices, healthySlices, candidates };
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
    const progress = rowProgress(this.#name, "test", { total: refs.length, forecast });
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
    const scored = HEADLINE_PROMPTS.filter((kind) => this.#config.testPrompts.includes(kind));
    const headlines = scored.map((kind) =>
      `${diceUnder(kind, slices).toFixed(3)} (${kind.replaceAll("-", " ")})`
    );
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

/** Mean Dice over patients under a prompt. */
function diceUnder(prompt: ScoredPrompt, slices: Records["slices"]): number {
  return mean(groupMeans(observe(slices, { prompt, metric: "dice" })));
}

/** A row of which nothing is trained. */
const UNTRAINED: TrainedRow = { epochs: [], summary: {}, tried: [] };

/** Values of the fields that may be chosen, and what goes with them. */
function settledValues(config: Config, choice?: Choice): Partial<SettledConfig> {
  const { learningRate, pretrainedLearningRate, epochs, wiseFt } = settled(config, choice);
  return { learningRate, pretrainedLearningRate, epochs, wiseFt };
}

/** "learning rate 0.003, 5 epochs". */
function describeTraining({ learningRate, epochs }: TrainingChoice): string {
  return `learning rate ${learningRate}, ${epochs} epoch${epochs === 1 ? "" : "s"}`;
}
