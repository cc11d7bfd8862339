import { basename } from "node:path";
import type { SliceReader } from "../../lib/data/loader.ts";
import type { PromptKind } from "../../lib/data/prompts.ts";
import type { SliceRef } from "../../lib/data/slices.ts";
import type { Partition } from "../../lib/data/split.ts";
import type { Gpu } from "../../lib/gpu/gpu.ts";
import type { Sam } from "../../lib/sam/sam.ts";
import { noGrad } from "../../lib/tensor/autograd.ts";
import { Scope } from "../../lib/tensor/scope.ts";
import { evaluate, meanDice } from "../../lib/evaluate/evaluate.ts";
import { evaluationPrompt } from "../../lib/evaluate/scored_prompts.ts";
import { checkScores, GuardError } from "../../lib/evaluate/guards.ts";
import { SOUND } from "../../lib/train/procedure.ts";
import { SliceModel } from "../../lib/evaluate/slice_model.ts";
import type { EpochMetrics } from "../../lib/train/training.ts";
import { fitBy } from "../../lib/train/fit.ts";
import { adapterWeights } from "../../lib/adapters/adapter.ts";
import { openAdapter, requireOrigin } from "../../lib/study/adapter.ts";
import { type Config, settled } from "../../lib/study/schema.ts";
import { adapterExperiment } from "../../lib/study/experiment.ts";
import { buildModel, restoreWeights } from "../../lib/study/model.ts";
import type { Origin } from "../../lib/study/results.ts";
import { mean } from "../../lib/stats/summary.ts";
import type { BatchFigures } from "../../lib/train/guards.ts";
import type { Fault, RawLabels } from "./faults.ts";

/** The prompts that a run is scored under at its end. */
export const SCORED: readonly PromptKind[] = ["tight-box", "whole-image"];

/** A batch of the training. */
export interface CurvePoint {
  /** From 1. */
  readonly step: number;
  readonly loss: number;
  /** Mean Dice of its slices with the true masks. */
  readonly dice: number;
  /** Mean share of the image that is predicted. */
  readonly predicted: number;
}

/** Result of a training with a fault. */
export interface FaultRun {
  readonly name: string;
  readonly title: string;
  readonly what: string;
  /** The prompt that it is validated under. */
  readonly prompt: PromptKind;
  /** First sight of each guard, in that order; empty for a sound run. */
  readonly caught: readonly {
    readonly guard: string;
    readonly step: number;
    readonly message: string;
  }[];
  /** Steps of the whole training, which goes on as if there were no guards. */
  readonly steps: number;
  /** The last validation Dice, as the faulty program would have told it. */
  readonly reported: number;
  /** Dice and predicted share on the test slices at the end, by prompt, soundly scored. */
  readonly test: Readonly<Record<string, { readonly dice: number; readonly predicted: number }>>;
  readonly curve: readonly CurvePoint[];
  readonly epochs: readonly EpochMetrics[];
}

/** Device, data and settings that all runs share. */
export interface AutopsyContext {
  readonly gpu: Gpu;
  readonly config: Config;
  readonly reader: SliceReader;
  readonly parts: Partition<SliceRef>;
  readonly labels: RawLabels;
  /** Folder with the adapter of another task. */
  readonly foreign: string;
  /** Run that the adapter is taken for. */
  readonly origin: Origin;
  /** The slice whose masks are drawn. */
  readonly sample: SliceRef;
  readonly onProgress?: (done: number) => void;
}

/** Trains with a fault, lets the guards say what they see and goes on to the end. */
export async function runFault(
  fault: Fault,
  context: AutopsyContext,
): Promise<{ run: FaultRun; mask: Uint8Array }> {
  const { gpu, reader, sample } = context;
  const { name, title, what, rank = 16 } = fault;
  const config = faultyConfig(fault, context.config);
  const prompt = config.validationPrompt;
  const caught: GuardError[] = [];
  const onCaught = (error: GuardError) => {
    if (!caught.some(({ guard }) => guard === error.guard)) caught.push(error);
  };
  const sam = await buildModel(gpu, { experiment: adapterExperiment(rank, config), config });
  try {
    const { curve, epochs } = await train(sam, fault, { ...context, config, onCaught });
    const steps = curve.at(-1)!.step;
    if (fault.foreignAdapter) await loadForeign(sam, steps, { ...context, onCaught });
    using scored = new SliceModel(sam, { side: config.side });
    const scores = await evaluate(scored, { reader, refs: context.parts.test }, {
      prompts: SCORED,
      seed: config.seed,
      batchSize: config.batchSize,
    });
    watched(
      () => checkScores(scores.masks[prompt]!, { what: "the test slices", step: steps }),
      onCaught,
    );
    const test = Object.fromEntries(SCORED.map((kind) => [kind, {
      dice: meanDice(scores, kind),
      predicted: mean(scores.masks[kind]!.map(({ predicted }) => predicted)),
    }]));
    const run = {
      name,
      title,
      what,
      prompt,
      caught: caught.map(({ guard, step, message }) => ({ guard, step, message })),
      steps,
      reported: fault.foreignAdapter ? test[prompt].dice : epochs.at(-1)!.validationDice,
      test,
      curve,
      epochs,
    };
    return { run, mask: await predict(scored, { reader, sample, prompt }) };
  } finally {
    sam.dispose();
    gpu.trim();
  }
}

/** The config with what a fault changes of it. */
function faultyConfig({ alpha, times = 1, decoder, prompt }: Fault, config: Config): Config {
  return {
    ...config,
    alpha: alpha ?? config.alpha,
    epochs: config.epochs.map((count) => count * times),
    ...(decoder && { modulesToSave: ["mask_decoder"] }),
    ...(prompt && { prompt, validationPrompt: prompt }),
  };
}

/** A check whose guards object without ending anything. */
function watched(check: () => void, onCaught: (error: GuardError) => void): void {
  try {
    check();
  } catch (error) {
    if (!(error instanceof GuardError)) throw error;
    onCaught(error);
  }
}

/** Trains a model with a fault to the end, whatever the guards see. */
async function train(
  sam: Sam,
  fault: Fault,
  { config, reader, labels, onCaught, onProgress, ...context }:
    & AutopsyContext
    & { readonly onCaught: (error: GuardError) => void },
): Promise<{ curve: CurvePoint[]; epochs: readonly EpochMetrics[] }> {
  const parts = fault.parts?.(context.parts) ?? context.parts;
  const build = fault.model ?? ((sam, options) => new SliceModel(sam, options));
  using model = build(sam, { side: config.side, labels });
  const curve: CurvePoint[] = [];
  const procedure = {
    ...SOUND,
    ...fault.procedure?.(sam),
    onCaught,
    onBatch: ({ step, loss, masks }: BatchFigures) =>
      curve.push({
        step,
        loss,
        dice: mean(masks.map(({ dice }) => dice)),
        predicted: mean(masks.map(({ predicted }) => predicted)),
      }),
  };
  const { length } = parts.train;
  const { epochs } = await fitBy(procedure, model, { ...parts, reader }, {
    ...settled(config),
    patience: settled(config).epochs,
    onProgress: ({ epoch, done }) => onProgress?.((epoch - 1) * length + done),
  });
  return { curve, epochs };
}

/** Puts the adapter of another task into a trained model, as far as the guard against it is concerned. */
async function loadForeign(
  sam: Sam,
  step: number,
  { foreign, origin, onCaught }:
    & Pick<AutopsyContext, "foreign" | "origin">
    & { readonly onCaught: (error: GuardError) => void },
): Promise<void> {
  const adapter = await openAdapter(foreign);
  watched(() => requireOrigin(adapter, origin), ({ guard, message }) => {
    onCaught(new GuardError(guard, message.replaceAll(foreign, basename(foreign)), step));
  });
  restoreWeights(sam, adapterWeights(adapter), foreign);
}

/** A slice's mask. */
async function predict(
  model: SliceModel,
  { reader, sample, prompt }: { reader: SliceReader; sample: SliceRef; prompt: PromptKind },
): Promise<Uint8Array> {
  const slice = await reader.read(sample);
  using _ = new Scope(model.sam.gpu);
  const logits = await noGrad(model.sam.gpu, () => {
    const samples = [{ slice, variant: "" }];
    const prompts = [evaluationPrompt(prompt, slice, 0)];
    return model.decode(model.encode(samples), samples, prompts);
  }).data();
  return Uint8Array.from(logits, (logit) => logit > 0 ? 1 : 0);
}

/** Trains an adapter for another task, the whole head, and gives the trained model to `save`. */
export async function trainOtherTask(
  { gpu, config, reader, parts }: Pick<AutopsyContext, "gpu" | "config" | "reader" | "parts">,
  save: (sam: Sam) => Promise<void>,
): Promise<void> {
  const sam = await buildModel(gpu, { experiment: adapterExperiment(16, config), config });
  try {
    using model = new SliceModel(sam, { side: config.side });
    const head: SliceReader = {
      read: async (ref) => {
        const slice = await reader.read(ref);
        return { ...slice, mask: Uint8Array.from(slice.image, (value) => Number(value > 0)) };
      },
    };
    await fitBy({ ...SOUND, onCaught: () => {} }, model, { ...parts, reader: head }, {
      ...settled(config),
      epochs: 1,
    });
    await save(sam);
  } finally {
    sam.dispose();
    gpu.trim();
  }
}
