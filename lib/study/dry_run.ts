/**
 * Estimate of a study before it runs: its rows with what they train, and the time, memory and disk that
 * they will take, from a few training steps and scored slices that are really executed.
 *
 * @module
 */
import { runProtocol } from "../evaluate/protocol.ts";
import type { SliceModel } from "../evaluate/slice_model.ts";
import { scoreTrivialPredictors } from "../evaluate/trivial_predictors.ts";
import { planBatches } from "../data/loader.ts";
import type { SliceRef } from "../data/slices.ts";
import type { Gpu } from "../gpu/gpu.ts";
import { healthyBatches } from "../train/plan.ts";
import { fitBy } from "../train/fit.ts";
import { SOUND } from "../train/procedure.ts";
import { withGpu } from "./device.ts";
import { configOf, displayName, type Experiment } from "./experiment.ts";
import { passesOf, trainingsOf } from "./forecast.ts";
import { Interruption } from "./interruption.ts";
import { activationCache, buildModel, sliceModel, storageOf } from "./model.ts";
import { partsOf, type TaskEstimate } from "./plan.ts";
import { encodeRecords, rounded } from "./records.ts";
import { type Config, dataSeed, type Options, settled } from "./schema.ts";
import { machineOf } from "./resume.ts";
import { describeParts, openRowData, openStudyData, type StudyData } from "./study_data.ts";

/** Row of a study that is only planned, over all its parts. */
export interface RowEstimate {
  /** Name in tables. */
  readonly name: string;
  /** Parameters that the optimizer is given. */
  readonly trainableParameters: number;
  /** Trainings, one for each candidate, seed, split and fold. */
  readonly trainings: number;
  /** Optimizer steps of all, if nothing ends a training early. */
  readonly steps: number;
  /** Seconds of reading the model and compiling its kernels, and of training with its validations. */
  readonly trainSeconds: number;
  /** Seconds of scoring the test slices. */
  readonly scoreSeconds: number;
  /** Most device memory that is held at a time. */
  readonly gpuBytes: number;
  /** Bytes of checkpoints while it is trained. */
  readonly checkpointBytes: number;
  /** Bytes of activations that the cache writes to disk. */
  readonly activationBytes: number;
  /** Bytes of its trained weights and scores. */
  readonly resultBytes: number;
  /** Seconds in each part of a process that runs that alone. */
  readonly partSeconds: readonly number[];
}

/** All that a study is estimated to take. */
export interface StudyEstimate {
  /** Name of the data set. */
  readonly name: string;
  /** Cases of the data set, its patients and slices with tumour. */
  readonly size: { readonly cases: number; readonly patients: number; readonly slices: number };
  /** Sizes of the split's parts, for each seed and fold by its name. */
  readonly parts: readonly (readonly [name: string, ReturnType<typeof describeParts>])[];
  /** The rows in their order. */
  readonly rows: readonly RowEstimate[];
  /** Seconds of scoring what needs no model. */
  readonly trivialSeconds: number;
  /** Bytes of the slices in the cache, which stay from one study to the next. */
  readonly sliceBytes: number;
  /** Device and software that was timed. */
  readonly machine: string;
  /** Time and memory of each task, in their order. */
  readonly tasks: readonly TaskEstimate[];
}

/** One seed and fold of the study with its data. */
interface PartData {
  readonly name: string;
  readonly config: Config;
  /** True where another part has chosen among candidates. */
  readonly isChosen: boolean;
  readonly data: StudyData;
}

/** Measurements of one kind of row, in seconds, seconds a slice, and bytes. */
interface Measured {
  /** Reading the model, and compiling kernels. */
  readonly start: number;
  /** A training step, a validation and scoring, where the frozen activations are cached. */
  readonly train: number;
  readonly validation: number;
  readonly score: number;
  /** Added where they have yet to be computed. */
  readonly encode: number;
  /** Device memory at its peak, without that cache. */
  readonly gpuBytes: number;
  /** Frozen activations of one slice. */
  readonly activationBytes: number;
  /** Scores of one slice. */
  readonly recordBytes: number;
  readonly trainableParameters: number;
  /** All that the frozen activations depend on. */
  readonly content: string;
}

/** Copies of the trained weights that training holds: gradient and two moments beside themselves. */
const COPIES = 4;

/** Checkpoints that are kept at a time, each with weights, the best of them and two moments. */
const CHECKPOINTS = 2;

const quiet = () => {};
const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/**
 * Estimates a study without running it. Slices are cut and cached as it would cut them; nothing else is
 * left behind.
 *
 * @param log Is told, line by line, what is found and what was left out.
 * @throws {InputError} if data or options cannot be used.
 */
export async function estimateStudy(
  experiments: readonly Experiment[],
  options: Options,
  log: (line: string) => void,
): Promise<StudyEstimate> {
  using interruption = await Interruption.start();
  return await withGpu(options, interruption, async (gpu) => {
    const parts: PartData[] = [];
    for (const { name, config, chosenBy } of partsOf(options)) {
      const data = await openStudyData(config, parts.length === 0 ? log : quiet, parts[0]?.data);
      parts.push({ name, config, isChosen: chosenBy !== null, data });
    }
    const [{ config, data }] = parts;
    const hostBytes: number[] = [];
    const kinds = new Map<string, Measured>();
    const sets = new Set([data.slices]);
    const rows: RowEstimate[] = [];
    let before: { measured: Measured; isTrained: boolean } | null = null;
    for (const experiment of experiments) {
      const row = configOf(experiment, config);
      const own = await openRowData(data, { config, row, log: quiet });
      sets.add(own.slices);
      const kind = kindOf(experiment);
      let measured = kinds.get(kind);
      const started = measured?.start;
      if (measured) {
        const sam = await buildModel(gpu, { experiment, config: row });
        const trainableParameters = sum(sam.trainableParameters().map(([, { size }]) => size));
        sam.dispose();
        const more = 4 * COPIES * (trainableParameters - measured.trainableParameters);
        const gpuBytes = measured.gpuBytes + more;
        measured = { ...measured, start: 0, gpuBytes, trainableParameters };
      } else kinds.set(kind, measured = await measure(gpu, { experiment, config: row, data: own }));
      const isSame: boolean = before?.measured.content === measured.content;
      const warm = { test: isSame, train: isSame && before!.isTrained };
      rows.push(
        estimateRow(experiment, measured, { parts, warm, start: started ?? measured.start }),
      );
      const { rss } = Deno.memoryUsage();
      const held = gpu.info.type === "CPU"
        ? Math.max(0, rows.at(-1)!.gpuBytes - measured.gpuBytes)
        : 0;
      hostBytes.push(rss + held);
      before = {
        measured,
        isTrained: passesOf(experiment, { ...data, config }).train > 0,
      };
    }
    const withTumour = data.slices.refs.filter(({ tumourVoxels }) => tumourVoxels > 0);
    return {
      name: data.name,
      size: {
        cases: data.slices.dataset.cases.length,
        patients: new Set(withTumour.map(({ patient }) => patient)).size,
        slices: withTumour.length,
      },
      parts: parts.map(({ name, data }) => [name, describeParts(data)]),
      rows,
      trivialSeconds: await timeTrivial(parts),
      sliceBytes: sum([...sets].flatMap(({ refs }) => refs.map(bytesOf))),
      machine: machineOf(gpu),
      tasks: parts.flatMap((_, part) =>
        rows.map(({ partSeconds, gpuBytes }, row) => ({
          seconds: Math.ceil(partSeconds[part]),
          deviceBytes: gpuBytes,
          hostBytes: hostBytes[row],
        }))
      ),
    };
  });
}

/** All that decides about the cost of a row, but for its rank; WiSE-FT trains nothing of its own. */
function kindOf({ kind, modules, overrides }: Experiment): string {
  return JSON.stringify([kind, modules, overrides]);
}

/** Bytes of a slice in the cache: 16 bits a pixel, and one for the mask. */
function bytesOf({ width, height }: SliceRef): number {
  return 2 * width * height + Math.ceil(width * height / 8);
}

/** Runs a row of the study on few slices. */
async function measure(
  gpu: Gpu,
  { experiment, config, data }: { experiment: Experiment; config: Config; data: StudyData },
): Promise<Measured> {
  const start = performance.now();
  using cache = activationCache(config);
  const sam = await buildModel(gpu, { experiment, config });
  try {
    using model = sliceModel(sam, config, cache);
    gpu.trim();
    gpu.forgetPeak();
    const started = secondsSince(start);
    const scored = await timeScoring(model, { config, data });
    const trainableParameters = sum(sam.trainableParameters().map(([, { size }]) => size));
    const trained = trainableParameters > 0 ? await timeTraining(model, { config, data }) : null;
    const bytes = storageOf(config) === "f16" ? 2 : 4;
    const activationBytes = cache.shape.reduce((a, b) => a * b, bytes);
    return {
      ...scored,
      train: 0,
      validation: 0,
      ...trained,
      start: started + scored.start + (trained?.start ?? 0),
      gpuBytes: gpu.memory.peakBytes - cache.bytes,
      activationBytes,
      trainableParameters,
      content: cache.content,
    };
  } finally {
    sam.dispose();
    gpu.trim();
  }
}

function secondsSince(start: number): number {
  return (performance.now() - start) / 1000;
}

/** Two batches of slices: one to compile kernels with, and one to time. */
function twoBatches(refs: readonly SliceRef[], batchSize: number): [SliceRef[], SliceRef[]] {
  const [first, second = first] = planBatches(refs, { batchSize });
  return [first, second];
}

/** Scores one batch to warm up, and another twice: the second time its activations are cached. */
async function timeScoring(
  model: SliceModel,
  { config, data }: { config: Config; data: StudyData },
): Promise<Pick<Measured, "start" | "score" | "encode" | "recordBytes">> {
  const [warmUp, own] = twoBatches(data.parts.test, config.batchSize);
  const score = async (refs: SliceRef[]) => {
    const start = performance.now();
    const result = await runProtocol(model, { reader: data.slices, refs }, {
      seed: dataSeed(config),
      batchSize: config.batchSize,
    });
    return { result, seconds: secondsSince(start) / refs.length };
  };
  const [compiling, cold, warm] = [await score(warmUp), await score(own), await score(own)];
  const records = { part: "", row: "", trivial: false, masks: [], sample: null };
  const bytes = await encodeRecords([{ ...records, ...rounded(cold.result) }]);
  return {
    start: Math.max(0, compiling.seconds - cold.seconds) * warmUp.length,
    score: Math.min(cold.seconds, warm.seconds),
    encode: Math.max(0, cold.seconds - warm.seconds),
    recordBytes: bytes.length / own.length,
  };
}

/** Trains on one batch to warm up, and for two epochs on another: the second finds activations cached. */
async function timeTraining(
  model: SliceModel,
  { config, data }: { config: Config; data: StudyData },
): Promise<Pick<Measured, "start" | "train" | "validation" | "encode">> {
  const { slices: reader, parts, split } = data;
  const [warmUp, own] = twoBatches(parts.train, config.batchSize);
  const validation = parts.validation.slice(0, config.batchSize);
  const plain = isFresh(config) ? {} : { flip: 0, augment: {}, augmentVariants: 0 };
  const validations: number[] = [];
  const train = async (refs: SliceRef[], epochs: number) => {
    const seconds: number[] = [];
    await fitBy(
      {
        ...SOUND,
        onCaught: quiet, // so few steps mean nothing
        evaluate: async (...of) => {
          const start = performance.now();
          const result = await SOUND.evaluate(...of);
          validations.push(secondsSince(start) / validation.length);
          return result;
        },
      },
      model,
      { ...split, train: refs, validation, reader },
      {
        ...settled(config),
        ...plain,
        healthyShare: 0, // a batch of tumour-free slices costs less, by the prompts that it lacks
        epochs,
        earlyStopping: false,
        onEpoch: (epoch) => void seconds.push(epoch.seconds / refs.length),
      },
    );
    return seconds;
  };
  const [compiling] = await train(warmUp, 1);
  const [cold, warm] = await train(own, 2);
  return {
    start: Math.max(0, compiling - cold) * warmUp.length,
    train: Math.min(cold, warm),
    validation: validations.at(-1)!,
    encode: Math.max(0, cold - warm),
  };
}

/** True if training sees new pixels each time, so that no activations can be kept. */
function isFresh({ augment, augmentVariants }: Config): boolean {
  return augmentVariants === 0 && Object.keys(augment).length > 0;
}

/** Images of a slice, mirrored and augmented, that are expected to be kept after so many epochs. */
function variantsOf(config: Config): number {
  const { augmentVariants, flip } = config;
  const epochs = Math.max(...config.epochs);
  if (isFresh(config)) return 0;
  if (augmentVariants > 0) return Math.min(epochs, augmentVariants + 1);
  return 2 - (1 - flip) ** epochs - flip ** epochs;
}

/** Multiplies what was measured by the slices of all parts. */
function estimateRow(
  experiment: Experiment,
  measured: Measured,
  { parts, warm, start }: {
    parts: readonly PartData[];
    /** Seconds of reading the model and compiling kernels in a process of its own. */
    start: number;
    /** True for slices whose activations the row before has left in the cache. */
    warm: Readonly<Record<"train" | "test", boolean>>;
  },
): RowEstimate {
  const own = parts.map(({ config: shared, data, isChosen }) => {
    const config = configOf(experiment, shared);
    const passes = passesOf(experiment, { ...data, config: shared, isChosen });
    const trainings = trainingsOf(experiment, { config: shared, isChosen });
    const epochs = sum(trainings.map(({ epochs }) => epochs));
    const variants = epochs > 0 ? variantsOf(config) : 0;
    const { parts: { train, validation }, healthy } = data;
    const [trained, validated] = [
      train.length + healthy.train.length,
      validation.length + healthy.validation.length,
    ];
    const seen = epochs > 0 ? trained * variants + validated : 0;
    const bytes = measured.activationBytes * (seen + passes.test);
    const memory = config.cacheMemory * 2 ** 20;
    const room = memory + config.cacheDisk * 2 ** 20;
    const kept = bytes > room ? room / bytes : 1;
    const again = isFresh(config) ? 0 : (1 - kept) * passes.train;
    const encoded = (warm.train ? 0 : kept * seen) + again;
    const batches = planBatches(train, config).length + healthyBatches(train.length, config);
    return {
      trainings: trainings.length,
      steps: epochs * Math.ceil(batches / config.gradientAccumulationSteps),
      trainSeconds: passes.train * measured.train + passes.validation * measured.validation +
        (epochs > 0 ? encoded * measured.encode : 0),
      scoreSeconds: passes.test * (measured.score + measured.encode * (warm.test ? 1 - kept : 1)),
      gpuBytes: measured.gpuBytes + Math.min(memory, bytes),
      disk: Math.max(0, Math.min(room, bytes) - memory),
      alone: start + passes.train * measured.train + passes.validation * measured.validation +
        passes.test * measured.score +
        ((epochs > 0 ? kept * seen : 0) + passes.test) * measured.encode,
      records: passes.test * measured.recordBytes,
      weights: measured.trainableParameters * (config.adapterDtype === "f16" ? 2 : 4),
    };
  });
  const isTrained = own[0].steps > 0;
  return {
    name: displayName(experiment),
    trainableParameters: measured.trainableParameters,
    trainings: sum(own.map(({ trainings }) => trainings)),
    steps: sum(own.map(({ steps }) => steps)),
    trainSeconds: measured.start + sum(own.map(({ trainSeconds }) => trainSeconds)),
    scoreSeconds: sum(own.map(({ scoreSeconds }) => scoreSeconds)),
    gpuBytes: Math.max(...own.map(({ gpuBytes }) => gpuBytes)),
    checkpointBytes: isTrained ? 4 * COPIES * CHECKPOINTS * measured.trainableParameters : 0,
    activationBytes: Math.max(...own.map(({ disk }) => disk)),
    resultBytes: sum(own.map(({ records, weights }) => records + weights)),
    partSeconds: own.map(({ alone }) => alone),
  };
}

/** Seconds that all parts take for scores of what needs no model. */
async function timeTrivial(parts: readonly PartData[]): Promise<number> {
  const [{ config, data }] = parts;
  const [refs] = planBatches(data.parts.test, { batchSize: 4 });
  const start = performance.now();
  await scoreTrivialPredictors({ reader: data.slices, refs }, { seed: dataSeed(config) });
  const perSlice = secondsSince(start) / refs.length;
  return perSlice * sum(parts.map(({ data }) => data.parts.test.length));
}
