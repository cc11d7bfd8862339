import { loadBatches, planBatches, type SliceReader } from "../data/loader.ts";
import { drawPrompt, type Prompt, type PromptKind } from "../data/prompts.ts";
import type { SliceRef } from "../data/slices.ts";
import { Random } from "../random.ts";
import { noGrad } from "../tensor/autograd.ts";
import { fingerprint } from "../tensor/ops/fingerprint.ts";
import { diceBceLoss, maskOverlap } from "../tensor/ops/losses.ts";
import { concat, reshape } from "../tensor/ops/movement.ts";
import { Scope } from "../tensor/scope.ts";
import type { MaskFigures } from "./mask_figures.ts";
import type { SliceModel } from "./slice_model.ts";
import { maskFigures } from "./mask_figures.ts";

/** How well one slice was segmented under one prompt. */
export interface Overlap {
  /** 2 |P ∩ T| / (|P| + |T|), in [0, 1]. */
  readonly dice: number;
  /** |P ∩ T| / |P ∪ T|, in [0, 1]. */
  readonly iou: number;
}

/** The scores of one slice. */
export interface SliceScore {
  /** The slice. */
  readonly id: string;
  /** Whose it is. */
  readonly patient: string;
  /** True tumour pixels. */
  readonly tumourPixels: number;
  /** By kind of prompt. */
  readonly scores: Readonly<Partial<Record<PromptKind, Overlap>>>;
}

/** What {@linkcode evaluate} found. */
export interface Evaluation {
  /** The slices, in the order they were given. */
  readonly slices: readonly SliceScore[];
  /** Mean of BCE + Dice loss over the slices, by kind of prompt. */
  readonly losses: Readonly<Partial<Record<PromptKind, number>>>;
  /** What guards look at: the slices' masks, in the same order, by kind of prompt. */
  readonly masks: Readonly<Partial<Record<PromptKind, readonly MaskFigures[]>>>;
}

/** Options of {@linkcode evaluate}. */
export interface EvaluateOptions {
  /** Kinds of prompt to score under. */
  readonly prompts: readonly PromptKind[];
  /** Decides the jitter: the same for every model, epoch and order of slices. Default 0. */
  readonly seed?: number;
  /** Slices at a time. Default 4. */
  readonly batchSize?: number;
  /** Called after each batch with the slices done so far. */
  readonly onProgress?: (done: number) => void;
}

/** The prompt that a slice is scored under: it depends on the slice, its kind and the seed alone. */
export function evaluationPrompt(
  kind: PromptKind,
  slice: { ref: SliceRef; mask: Uint8Array },
  seed: number,
): Prompt {
  const { width, height, id } = slice.ref;
  const random = new Random(`${seed}/${kind}/${id}`);
  return drawPrompt(kind, { mask: slice.mask, width, height, random });
}

/**
 * Scores slices under several prompts; each slice is encoded once. Logits above 0 are mask. Two
 * evaluations on one device must not overlap: a scope is open while a result is awaited.
 */
export async function evaluate(
  model: SliceModel,
  data: { reader: SliceReader; refs: readonly SliceRef[] },
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { prompts: kinds, seed = 0, batchSize = 4, onProgress } = options;
  const scores = new Map<string, SliceScore>();
  const sums: Partial<Record<PromptKind, number>> = {};
  const figures = new Map<string, MaskFigures[]>();
  let done = 0;
  for await (const slices of loadBatches(data.reader, planBatches(data.refs, { batchSize }))) {
    using _ = new Scope(model.sam.gpu);
    const samples = slices.map((slice) => ({ slice, variant: "" }));
    const results = noGrad(model.sam.gpu, () => {
      const target = model.target(samples);
      const embeddings = model.encode(samples);
      return concat(
        kinds.flatMap((kind) => {
          const prompts = slices.map((slice) => evaluationPrompt(kind, slice, seed));
          const logits = model.decode(embeddings, samples, prompts);
          const { loss } = diceBceLoss(logits, target);
          const { dice, counts } = maskOverlap(logits, target);
          const flat = reshape(counts, [4 * slices.length]);
          return [dice, flat, fingerprint(logits), reshape(loss, [1])];
        }),
        0,
      );
    });
    // For each kind Dice, counts and hash of each slice, then the mean loss: read at once.
    const values = await results.data();
    await model.settle();
    const stride = 6 * slices.length + 1;
    const found = kinds.map((kind, k) => {
      const own = values.subarray(k * stride, (k + 1) * stride);
      sums[kind] = (sums[kind] ?? 0) + own[stride - 1] * slices.length;
      return maskFigures(own, { masks: slices.length, pixels: slices[0].mask.length });
    });
    slices.forEach(({ ref, mask }, i) => {
      const own: Partial<Record<PromptKind, Overlap>> = {};
      kinds.forEach((kind, k) => {
        const { dice } = found[k][i];
        own[kind] = { dice, iou: dice / (2 - dice) };
      });
      figures.set(ref.id, found.map((masks) => masks[i]));
      scores.set(ref.id, {
        id: ref.id,
        patient: ref.patient,
        tumourPixels: mask.reduce((sum, pixel) => sum + pixel, 0),
        scores: own,
      });
    });
    done += slices.length;
    onProgress?.(done);
  }
  const losses = Object.fromEntries(
    kinds.map((kind) => [kind, (sums[kind] ?? 0) / data.refs.length]),
  );
  const masks = Object.fromEntries(
    kinds.map((kind, k) => [kind, data.refs.map(({ id }) => figures.get(id)![k])]),
  );
  return { slices: data.refs.map(({ id }) => scores.get(id)!), losses, masks };
}

/** Mean Dice of an evaluation under one kind of prompt. */
export function meanDice(evaluation: Evaluation, kind: PromptKind): number {
  const { slices } = evaluation;
  return slices.reduce((sum, { scores }) => sum + scores[kind]!.dice, 0) / slices.length;
}
