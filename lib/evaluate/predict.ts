import { crc32 } from "node:zlib";
import type { AugmentedSlice } from "../data/augment.ts";
import {
  centrePoint,
  errorClick,
  type Mask,
  PROMPT_KINDS,
  type PromptKind,
  type PromptPoint,
} from "../data/prompts.ts";
import type { Slice } from "../data/slices.ts";
import { checkValues } from "../nn/host_state.ts";
import { noGrad } from "../tensor/autograd.ts";
import { concat } from "../tensor/ops/movement.ts";
import { Scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type PresenceScores, presenceScores } from "./presence.ts";
import { AUTOMATIC_PROMPTS, evaluationPrompt, type ScoredPrompt } from "./scored_prompts.ts";
import type { SliceModel } from "./slice_model.ts";

/** Clicks of the interactive evaluation. */
const CLICKS = 5;

/** Predicted masks of one slice, one byte a pixel. */
export interface SlicePrediction {
  /** Masks by prompt. */
  readonly masks: ReadonlyMap<ScoredPrompt, Uint8Array>;
  /** Masks after each of five clicks; empty if no clicks were asked for. */
  readonly clicks: readonly Uint8Array[];
  /** Hashes of the logits by kind of prompt. */
  readonly outputs: ReadonlyMap<PromptKind, number>;
  /** Presence scores of the mask without a prompt; absent if none was asked for. */
  readonly presence?: PresenceScores;
}

/** A mask, the hash of its logits and, where no prompt was given, its presence scores. */
interface HashedMask {
  readonly mask: Uint8Array;
  readonly hash: number;
  readonly presence?: PresenceScores;
}

/**
 * Segments slices of one size under several prompts; each is encoded once.
 *
 * Clicks are simulated as SAM's evaluation does: the first at the truth's deepest pixel, each further
 * one at the centre of the largest error so far, with all clicks and the low-resolution logits of the
 * step before as prompts. Once nothing is wrong the mask is kept.
 *
 * @param options.seed Seed of jitter and random points.
 */
export async function predictSlices(
  model: SliceModel,
  slices: readonly Slice[],
  options: { prompts: readonly ScoredPrompt[]; seed: number },
): Promise<SlicePrediction[]> {
  const logits = await beginSlices(model, slices, options)();
  return logits();
}

/**
 * As {@linkcode predictSlices}, in three parts: what is encoded at once, what waits for the device, and the rest.
 *
 * @returns A function that waits for the logits, to be called once, and gives one that makes the masks, on the host
 * alone.
 */
export function beginSlices(
  model: SliceModel,
  slices: readonly Slice[],
  { prompts, seed }: { prompts: readonly ScoredPrompt[]; seed: number },
): () => Promise<() => SlicePrediction[]> {
  if (prompts.length === 0) {
    const none = () => slices.map(() => ({ masks: new Map(), clicks: [], outputs: new Map() }));
    return () => Promise.resolve(none);
  }
  using _ = new Scope(model.sam.gpu);
  const samples = slices.map((slice) => ({ slice, variant: "" }));
  const embeddings = noGrad(model.sam.gpu, () => model.encode(samples));
  const interactive = prompts.includes("clicks-3") || prompts.includes("clicks-5");
  // The first click is the prompt `point`, which need not be decoded twice.
  const kinds = PROMPT_KINDS.filter((kind) =>
    prompts.includes(kind) && !(interactive && kind === "point")
  );
  const logitsOfKinds = beginKinds(model, { samples, embeddings }, { kinds, seed });
  if (interactive) embeddings.keep();
  const automatic = kinds.findIndex(isAutomatic);
  return async () => {
    using _ = interactive ? embeddings : null;
    const masksOfKinds = await logitsOfKinds();
    const clicks = interactive ? await decodeClicks(model, { samples, embeddings }) : [];
    return () => {
      const found = masksOfKinds();
      return slices.map((_, i) => {
        const masks = new Map<ScoredPrompt, Uint8Array>(
          kinds.map((kind, k) => [kind, found[k][i].mask]),
        );
        for (const [prompt, click] of [["point", 1], ["clicks-3", 3], ["clicks-5", 5]] as const) {
          if (interactive && prompts.includes(prompt)) masks.set(prompt, clicks[click - 1][i]);
        }
        return {
          masks,
          clicks: clicks.map((ofClick) => ofClick[i]),
          outputs: new Map(kinds.map((kind, k) => [kind, found[k][i].hash])),
          ...(automatic >= 0 && { presence: found[automatic][i].presence }),
        };
      });
    };
  };
}

/** A batch and its image embeddings [B, S/16, S/16, 256]. */
interface Encoded {
  readonly samples: readonly AugmentedSlice[];
  readonly embeddings: Tensor;
}

/** Encodes, for each kind of prompt, the masks of the batch; the logits of all are read back at once. */
function beginKinds(
  model: SliceModel,
  { samples, embeddings }: Encoded,
  { kinds, seed }: { kinds: readonly PromptKind[]; seed: number },
): () => Promise<() => HashedMask[][]> {
  if (kinds.length === 0) return () => Promise.resolve(() => []);
  const lists = kinds.map((kind) =>
    samples.map(({ slice }) => evaluationPrompt(kind, slice, seed))
  );
  const both = noGrad(model.sam.gpu, () => {
    const steps = model.decodeLists(samples, lists, (slices, prompts) => {
      const { logits, iouPredictions } = model.decodeStep(embeddings, slices, { prompts });
      return { logits, iouPredictions };
    });
    return [
      concat(steps.map(({ logits }) => logits), 0),
      concat(steps.map(({ iouPredictions }) => iouPredictions), 0),
    ];
  });
  // After all is encoded: of an error before, no read would be left that nobody waits for.
  const [logits, ious] = both.map((tensor) => tensor.dataLater());
  const automatic = kinds.map(isAutomatic);
  return async () => {
    const [values, ofMasks] = await Promise.all([logits(), ious()]);
    const presence = {
      ious: ofMasks,
      isScored: (i: number) => automatic[Math.floor(i / samples.length)],
    };
    return () => {
      const all = threshold(values, kinds.length * samples.length, presence);
      return kinds.map((_, k) => all.slice(k * samples.length, (k + 1) * samples.length));
    };
  };
}

/** True for a kind of prompt that gives no hint. */
function isAutomatic(kind: PromptKind): boolean {
  return AUTOMATIC_PROMPTS.includes(kind);
}

/** For each of five simulated clicks the masks of the batch after it. */
async function decodeClicks(
  model: SliceModel,
  { samples, embeddings }: Encoded,
): Promise<Uint8Array[][]> {
  using _ = new Scope(model.sam.gpu);
  const truths = samples.map(({ slice }) => truthOf(slice));
  let next: (PromptPoint | null)[] = truths.map(centrePoint);
  const points = next.map((click) => [click!]);
  const steps: Uint8Array[][] = [];
  let mask: Tensor | undefined;
  for (let click = 1; click <= CLICKS; click++) {
    const prompts = points.map((list) => ({ points: [...list] }));
    const { logits, lowResMasks } = noGrad(
      model.sam.gpu,
      () => model.decodeStep(embeddings, samples, { prompts, mask }),
    );
    mask = lowResMasks;
    const found = threshold(await logits.data(), samples.length);
    // A slice in which nothing was wrong keeps its mask; its last click is repeated, since all
    // prompts of a batch have as many points.
    const masks = found.map(({ mask: own }, i) => next[i] === null ? steps[click - 2][i] : own);
    steps.push(masks);
    next = truths.map((truth, i) => errorClick(masks[i], truth));
    points.forEach((list, i) => list.push(next[i] ?? list[list.length - 1]));
  }
  return steps;
}

/**
 * Masks of logits [count, H, W]: pixels above 0.
 *
 * @param presence Estimated IoU of each mask, and those whose presence is scored.
 */
function threshold(
  values: Float32Array,
  count: number,
  presence?: { ious: Float32Array; isScored: (index: number) => boolean },
): HashedMask[] {
  checkValues(values, { name: "logits", source: "the model", limit: Infinity });
  const pixels = values.length / count;
  return Array.from({ length: count }, (_, i) => {
    const own = values.subarray(i * pixels, (i + 1) * pixels);
    const mask = new Uint8Array(pixels);
    for (let j = 0; j < pixels; j++) mask[j] = own[j] > 0 ? 1 : 0;
    const hash = crc32(new Uint8Array(own.buffer, own.byteOffset, own.byteLength));
    if (!presence?.isScored(i)) return { mask, hash };
    return { mask, hash, presence: presenceScores({ logits: own, iou: presence.ious[i] }) };
  });
}

/** True mask of a slice on its grid. */
export function truthOf({ mask, ref: { width, height } }: Slice): Mask {
  return { mask, width, height };
}
