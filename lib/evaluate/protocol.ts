/**
 * The protocol that every model is scored under: all prompts of {@link PROTOCOL}, slice by slice and
 * volume by volume, by every metric of `MaskScore`.
 *
 * @module
 */
import { loadBatches, planBatches, type SliceReader } from "../data/loader.ts";
import { PROMPT_KINDS, type PromptKind } from "../data/prompts.ts";
import type { Slice, SliceRef } from "../data/slices.ts";
import { InputError } from "../errors.ts";
import { type MaskScore, scoreMask } from "../metrics/mask_score.ts";
import { dice } from "../metrics/metrics.ts";
import { CaseMasks } from "./case_masks.ts";
import { checkAutomaticPrompts, checkOutputs } from "./guards.ts";
import { oneAhead } from "./one_ahead.ts";
import type { PresenceScores } from "./presence.ts";
import { beginSlices, type SlicePrediction, truthOf } from "./predict.ts";
import {
  AUTOMATIC_PROMPTS,
  evaluationPrompt,
  PROTOCOL,
  type ScoredPrompt,
} from "./scored_prompts.ts";
import type { SliceModel } from "./slice_model.ts";

/** Scores of one slice. */
export interface ProtocolSlice {
  /** Id of the slice. */
  readonly id: string;
  /** Case that it is of. */
  readonly caseId: string;
  /** Patient that it is of. */
  readonly patient: string;
  /** True tumour pixels. */
  readonly tumourPixels: number;
  /** Scores by prompt; a slice without tumour has none under prompts that the truth is needed for. */
  readonly scores: Readonly<Partial<Record<ScoredPrompt, MaskScore>>>;
  /** Dice after each of five clicks, if clicks were asked for and there is tumour. */
  readonly clicks?: readonly number[];
  /** Presence scores of the mask without a prompt, if it was asked for. */
  readonly presence?: PresenceScores;
}

/** Scores of the slices of one case, stacked as they lie in the volume. */
export interface ProtocolCase {
  /** Id of the case. */
  readonly id: string;
  /** Patient that it is of. */
  readonly patient: string;
  /** Slices that were segmented. */
  readonly slices: number;
  /**
   * Scores by prompt; sizes are mm³. Of a volume of which slices were left out there are Dice and IoU of
   * the others alone; a volume without tumour has none under prompts that the truth is needed for.
   */
  readonly scores: Readonly<Partial<Record<ScoredPrompt, MaskScore>>>;
}

/** Result of {@linkcode runProtocol}. */
export interface ProtocolResult {
  /** Scores of the slices, in the order they were given. */
  readonly slices: readonly ProtocolSlice[];
  /** Scores of the cases, in the order of their first slice. */
  readonly cases: readonly ProtocolCase[];
}

/** Options of {@linkcode runProtocol}. */
export interface ProtocolOptions {
  /** Prompts to score under; default all of {@link PROTOCOL}. */
  readonly prompts?: readonly ScoredPrompt[];
  /** Seed of jitter and random points: the same for every model and order of slices. Default 0. */
  readonly seed?: number;
  /** Slices at a time. Default 4. */
  readonly batchSize?: number;
  /** Called with each slice's predicted masks, one byte a pixel. */
  readonly onMasks?: (ref: SliceRef, masks: ReadonlyMap<ScoredPrompt, Uint8Array>) => void;
  /** Called after each batch with the slices done so far. */
  readonly onProgress?: (done: number) => void;
}

/**
 * Scores slices and their volumes under the protocol. Each slice is encoded once: prompts cost a pass
 * of the decoder. Logits of the single-mask output above 0 are mask.
 *
 * A slice without tumour is scored under the prompts of {@link AUTOMATIC_PROMPTS} alone. Nobody would
 * click there: in the volume of a case with tumour its prediction under the others is empty.
 *
 * Two evaluations on one device must not overlap: a scope is open while clicks are awaited.
 *
 * @throws {InputError} if there are no slices.
 * @throws {GuardError} if an automatic prompt gives the answer away, or logits do not come from the
 * model.
 */
export async function runProtocol(
  model: SliceModel,
  data: { reader: SliceReader; refs: readonly SliceRef[] },
  options: ProtocolOptions = {},
): Promise<ProtocolResult> {
  const { prompts = PROTOCOL, seed = 0, batchSize = 4, onMasks, onProgress } = options;
  if (data.refs.length === 0) {
    throw new InputError("there are no slices to score: choose slices with tumour");
  }
  const automatic = prompts.filter((prompt) => AUTOMATIC_PROMPTS.includes(prompt));
  const byCase = Map.groupBy(data.refs, ({ caseId }) => caseId);
  const slices = new Map<string, ProtocolSlice>();
  const cases = new Map<string, ProtocolCase>();
  const outputs = new Map<PromptKind, number[]>();
  const open = new Map<string, CaseMasks>();
  let isFirst = true;
  const begin = (batch: readonly Slice[]) => {
    if (isFirst) requireNoTruth(automatic, batch[0], seed);
    isFirst = false;
    const own = batch[0].ref.tumourVoxels > 0 ? prompts : automatic;
    return beginSlices(model, batch, { prompts: own, seed });
  };
  const batches = loadBatches(data.reader, planCases(byCase, batchSize));
  for await (const [batch, masksOf] of oneAhead(model.sam.gpu, batches, begin)) {
    const predictions = masksOf();
    for (const [i, slice] of batch.entries()) {
      const prediction = predictions[i];
      slices.set(slice.ref.id, scoreSlice(slice, prediction, prompts));
      const { caseId: id, patient } = slice.ref;
      const refs = byCase.get(id)!;
      const masks = open.get(id) ?? new CaseMasks(refs);
      open.set(id, masks);
      masks.add(slice, prediction.masks);
      if (masks.complete) {
        cases.set(id, { id, patient, slices: refs.length, scores: masks.score(prompts) });
        open.delete(id);
      }
      onMasks?.(slice.ref, prediction.masks);
      for (const [kind, hash] of prediction.outputs) {
        outputs.set(kind, [...outputs.get(kind) ?? [], hash]);
      }
    }
    onProgress?.(slices.size);
  }
  for (const [kind, hashes] of outputs) checkOutputs(hashes, { what: `scoring under ${kind}` });
  return {
    slices: data.refs.map(({ id }) => slices.get(id)!),
    cases: [...byCase.keys()].map((id) => cases.get(id)!),
  };
}

/**
 * Batches of a few cases at a time, those whose slices fill one, so that the masks of few volumes are in
 * memory; among them the slices with tumour first, since the others are prompted otherwise.
 */
function planCases(byCase: ReadonlyMap<string, SliceRef[]>, batchSize: number): SliceRef[][] {
  const groups: SliceRef[][] = [[]];
  for (const refs of byCase.values()) {
    if (groups.at(-1)!.length >= batchSize) groups.push([]);
    groups.at(-1)!.push(...refs);
  }
  return groups.flatMap((refs) =>
    [true, false].flatMap((tumour) =>
      planBatches(refs.filter(({ tumourVoxels }) => tumourVoxels > 0 === tumour), { batchSize })
    )
  );
}

/** Lets a guard see that automatic prompts are the same for another truth. */
function requireNoTruth(automatic: readonly ScoredPrompt[], slice: Slice, seed: number): void {
  checkAutomaticPrompts(
    PROMPT_KINDS.filter((kind) => automatic.includes(kind)),
    { ...truthOf(slice), ref: slice.ref },
    (kind, shown) => evaluationPrompt(kind, shown, seed),
  );
}

/** Scores a slice's masks on its own grid, those of `prompts` in their order. */
function scoreSlice(
  { mask: truth, ref }: Slice,
  { masks, clicks, presence }: SlicePrediction,
  prompts: readonly ScoredPrompt[],
): ProtocolSlice {
  const { id, caseId, patient, width, height, spacing: [dx, dy] } = ref;
  const grid = { level: "slice", shape: [width, height, 1], spacing: [dx, dy, 1] } as const;
  const scores: Partial<Record<ScoredPrompt, MaskScore>> = {};
  for (const prompt of prompts) {
    const mask = masks.get(prompt);
    if (mask) scores[prompt] = scoreMask(mask, truth, grid);
  }
  const tumourPixels = truth.reduce((sum, pixel) => sum + pixel, 0);
  const afterClicks = clicks.map((mask) => dice(mask, truth));
  return {
    ...{ id, caseId, patient, tumourPixels, scores },
    ...(clicks.length > 0 && { clicks: afterClicks }),
    ...(presence && { presence }),
  };
}
