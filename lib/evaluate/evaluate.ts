import { loadBatches, planBatches, type SliceReader } from "../data/loader.ts";
import type { PromptKind } from "../data/prompts.ts";
import type { Slice, SliceRef } from "../data/slices.ts";
import { mean } from "../stats/summary.ts";
import { noGrad } from "../tensor/autograd.ts";
import { fingerprint } from "../tensor/ops/fingerprint.ts";
import { diceBceLoss, maskOverlap } from "../tensor/ops/losses.ts";
import { concat, reshape } from "../tensor/ops/movement.ts";
import { Scope } from "../tensor/scope.ts";
import { type MaskFigures, maskFigures } from "./mask_figures.ts";
import { oneAhead } from "./one_ahead.ts";
import { evaluationPrompt } from "./scored_prompts.ts";
import type { SliceModel } from "./slice_model.ts";

/** Agreement of one predicted slice with the truth. */
export interface Overlap {
  /** 2 |P ∩ T| / (|P| + |T|), in [0, 1]. */
  readonly dice: number;
  /** |P ∩ T| / |P ∪ T|, in [0, 1]. */
  readonly iou: number;
}

/** Scores of one slice. */
export interface SliceScore {
  /** Id of the slice. */
  readonly id: string;
  /** Patient that it is of. */
  readonly patient: string;
  /** True tumour pixels. */
  readonly tumourPixels: number;
  /** Dice and IoU by kind of prompt. */
  readonly scores: Readonly<Partial<Record<PromptKind, Overlap>>>;
}

/** Result of {@linkcode evaluate}. */
export interface Evaluation {
  /** Scores of the slices, in the order they were given. */
  readonly slices: readonly SliceScore[];
  /** Mean of BCE + Dice loss over the slices, by kind of prompt. */
  readonly losses: Readonly<Partial<Record<PromptKind, number>>>;
  /** Figures of the slices' masks for guards, in the same order, by kind of prompt. */
  readonly masks: Readonly<Partial<Record<PromptKind, readonly MaskFigures[]>>>;
}

/** Options of {@linkcode evaluate}. */
export interface EvaluateOptions {
  /** Kinds of prompt to score under. */
  readonly prompts: readonly PromptKind[];
  /** Seed of the jitter: the same for every model, epoch and order of slices. Default 0. */
  readonly seed?: number;
  /** Slices at a time. Default 4. */
  readonly batchSize?: number;
  /** Called after each batch with the slices done so far. */
  readonly onProgress?: (done: number) => void;
}

/**
 * Scores slices under several prompts on the device, by Dice, IoU and loss; each slice is encoded once.
 * Logits above 0 are mask.
 */
export async function evaluate(
  model: SliceModel,
  data: { reader: SliceReader; refs: readonly SliceRef[] },
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { prompts: kinds, seed = 0, batchSize = 4, onProgress } = options;
  const found = new Map<string, { tumourPixels: number; masks: MaskFigures[] }>();
  const losses = kinds.map(() => 0);
  const batches = settled(model, loadBatches(data.reader, planBatches(data.refs, { batchSize })));
  const begin = (slices: Slice[]) => beginBatch(model, slices, { kinds, seed });
  for await (const [slices, values] of oneAhead(model.sam.gpu, batches, begin)) {
    const masks = values.map((own, k) => {
      losses[k] += own[own.length - 1] * slices.length;
      return maskFigures(own, { masks: slices.length, pixels: slices[0].mask.length });
    });
    slices.forEach(({ ref, mask }, i) =>
      found.set(ref.id, {
        tumourPixels: mask.reduce((sum, pixel) => sum + pixel, 0),
        masks: masks.map((ofKind) => ofKind[i]),
      })
    );
    onProgress?.(found.size);
  }
  const byKind = <T>(value: (k: number) => T) =>
    Object.fromEntries(kinds.map((kind, k) => [kind, value(k)]));
  return {
    slices: data.refs.map(({ id, patient }) => {
      const { tumourPixels, masks } = found.get(id)!;
      const scores = byKind((k) => ({ dice: masks[k].dice, iou: iouOf(masks[k].dice) }));
      return { id, patient, tumourPixels, scores };
    }),
    losses: byKind((k) => losses[k] / data.refs.length),
    masks: byKind((k) => data.refs.map(({ id }) => found.get(id)!.masks[k])),
  };
}

/** Hands on batches; after each, before the next is encoded, what the cache has no memory for goes to disk. */
async function* settled<Batch>(
  model: SliceModel,
  batches: AsyncIterable<Batch>,
): AsyncGenerator<Batch, void, void> {
  for await (const batch of batches) {
    yield batch;
    await model.settle();
  }
}

/** Encodes the scoring of a batch: for each kind [6 slices + 1] Dice, counts and hash of each mask, then the mean loss. */
function beginBatch(
  model: SliceModel,
  slices: readonly Slice[],
  { kinds, seed }: { kinds: readonly PromptKind[]; seed: number },
): () => Promise<Float32Array[]> {
  const { gpu } = model.sam;
  using _ = new Scope(gpu);
  const samples = slices.map((slice) => ({ slice, variant: "" }));
  const results = noGrad(gpu, () => {
    const target = model.target(samples);
    const embeddings = model.encode(samples);
    const lists = kinds.map((kind) => slices.map((slice) => evaluationPrompt(kind, slice, seed)));
    const decoded = model.decodeLists(samples, lists, (repeated, prompts) => ({
      logits: model.decode(embeddings, repeated, prompts),
    }));
    const figures = decoded.flatMap(({ logits }) => {
      const { loss } = diceBceLoss(logits, target);
      const { dice, counts } = maskOverlap(logits, target);
      const flat = reshape(counts, [4 * slices.length]);
      return [dice, flat, fingerprint(logits), reshape(loss, [1])];
    });
    return concat(figures, 0);
  });
  const read = results.dataLater(); // of all kinds at once: each read-back stalls the queue
  const stride = 6 * slices.length + 1;
  return async () => {
    const values = await read();
    return kinds.map((_, k) => values.subarray(k * stride, (k + 1) * stride));
  };
}

function iouOf(dice: number): number {
  return dice / (2 - dice);
}

/** Mean Dice of an evaluation under one kind of prompt. */
export function meanDice({ slices }: Evaluation, kind: PromptKind): number {
  return mean(slices.map(({ scores }) => scores[kind]!.dice));
}
