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
import type { Config } from "../../lib/study/schema.ts";
import { adapterExperiment } from "../../lib/study/experiment.ts";
import { buildModel, restoreWeights } from "../../lib/study/model.ts";
import type { Origin } from "../../lib/study/results.ts";
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
  readonly onProgress?: (done: number, total: number) => void;
}

/** Trains with a fault, lets the guards say what they see and goes on to the end. */
export async function runFault(
  fault: Fault,
  context: AutopsyContext,
): Promise<{ run: FaultRun; mask: Uint8Array }> {
  const { gpu, reader, sample } = context;
  const { name, title, what, rank = 16 } = fault;
  const config = {
    ...context.config,
    alpha: fault.alpha ?? context.config.alpha,
    epochs: context.config.epochs * (fault.times ?? 1),
    ...(fault.decoder && { modulesToSave: ["mask_decoder"] }),
    ...(fault.prompt && { prompt: fault.prompt, validationPrompt: fault.prompt }),
  };
  const prompt = config.validationPrompt;
  const parts = fault.parts?.(context.parts) ?? context.parts;
  const sam = await buildModel(gpu, { experiment: adapterExperiment(rank), config });
  try {
    const build = fault.model ?? ((sam, options) => new SliceModel(sam, options));
    using model = build(sam, { side: config.side, labels: context.labels });
    const caught: GuardError[] = [];
    const onCaught = (error: GuardError) => {
      if (!caught.some(({ guard }) => guard === error.guard)) caught.push(error);
    };
    const curve: CurvePoint[] = [];
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    const total = config.epochs * parts.train.length;
    const { epochs } = await fitBy(
      {
        ...SOUND,
        ...fault.procedure?.(sam),
        onCaught,
        onBatch: ({ step, loss, masks }) =>
          curve.push({
            step,
            loss,
            dice: mean(masks.map(({ dice }) => dice)),
            predicted: mean(masks.map(({ predicted }) => predicted)),
          }),
      },
      model,
      { ...parts, reader },
      {
        ...config,
        patience: config.epochs,
        onProgress: ({ epoch, done }) =>
          context.onProgress?.((epoch - 1) * parts.train.length + done, total),
      },
    );
    if (fault.foreignAdapter) {
      const adapter = await openAdapter(context.foreign);
      try {
        requireOrigin(adapter, context.origin);
      } catch (error) {
        if (!(error instanceof GuardError)) throw error;
        const message = error.message.replaceAll(context.foreign, basename(context.foreign));
        onCaught(new GuardError(error.guard, message, curve.at(-1)!.step));
      }
      restoreWeights(sam, adapterWeights(adapter), context.foreign);
    }
    using scored = new SliceModel(sam, { side: config.side });
    const scores = await evaluate(scored, { reader, refs: context.parts.test }, {
      prompts: SCORED,
      seed: config.seed,
      batchSize: config.batchSize,
    });
    try {
      checkScores(scores.masks[prompt]!, { what: "the test slices", step: curve.at(-1)!.step });
    } catch (error) {
      if (!(error instanceof GuardError)) throw error;
      onCaught(error);
    }
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
      steps: curve.at(-1)!.step,
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
  const sam = await buildModel(gpu, { experiment: adapterExperiment(16), config });
  try {
    using model = new SliceModel(sam, { side: config.side });
    const head: SliceReader = {
      read: async (ref) => {
        const slice = await reader.read(ref);
        return { ...slice, mask: Uint8Array.from(slice.image, (value) => Number(value > 0)) };
      },
    };
    await fitBy({ ...SOUND, onCaught: () => {} }, model, { ...parts, reader: head }, {
      ...config,
      epochs: 1,
    });
    await save(sam);
  } finally {
    sam.dispose();
    gpu.trim();
  }
}
