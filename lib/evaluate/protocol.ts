/**
 * The protocol that every model is scored under: all prompts of {@link PROTOCOL}, slice by slice and
 * volume by volume, by every metric of `MaskScore`.
 *
 * @module
 */
import { crc32 } from "node:zlib";
import { loadBatches, planBatches, type SliceReader } from "../data/loader.ts";
import {
  centrePoint,
  errorClick,
  type Mask,
  PROMPT_KINDS,
  type PromptKind,
  type PromptPoint,
} from "../data/prompts.ts";
import type { Slice, SliceRef } from "../data/slices.ts";
import { InputError } from "../errors.ts";
import { noGrad } from "../tensor/autograd.ts";
import { concat } from "../tensor/ops/movement.ts";
import { Scope } from "../tensor/scope.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { evaluationPrompt } from "./evaluate.ts";
import { checkAutomaticPrompts, checkOutputs } from "./guards.ts";
import { type MaskScore, scoreMask } from "../metrics/mask_score.ts";
import { dice } from "../metrics/metrics.ts";
import type { SliceModel } from "./slice_model.ts";

/** A kind of prompt, or a number of interactive clicks; one click is the kind `point`. */
export type ScoredPrompt = PromptKind | "clicks-3" | "clicks-5";

/** Everything that the protocol scores under, in the order of tables. */
export const PROTOCOL: readonly ScoredPrompt[] = [
  "tight-box",
  "jittered-box-5",
  "jittered-box-10",
  "jittered-box",
  "jittered-box-40",
  "point",
  "points-5",
  "clicks-3",
  "clicks-5",
  "whole-image",
];

/** The prompts that are drawn without looking at the truth: all others give part of it away. */
export const AUTOMATIC_PROMPTS: readonly ScoredPrompt[] = ["whole-image"];

/** Clicks of the interactive evaluation. */
const CLICKS = 5;

/** How one slice was segmented. */
export interface ProtocolSlice {
  /** The slice. */
  readonly id: string;
  /** The case that it is of. */
  readonly caseId: string;
  /** Whose it is. */
  readonly patient: string;
  /** True tumour pixels. */
  readonly tumourPixels: number;
  /** By prompt; a slice without tumour has no score under prompts that the truth is needed for. */
  readonly scores: Readonly<Partial<Record<ScoredPrompt, MaskScore>>>;
  /** Dice after each of five clicks, if clicks were asked for and there is tumour. */
  readonly clicks?: readonly number[];
}

/** How the slices of one case, stacked as they lie in the volume, were segmented. */
export interface ProtocolCase {
  /** The case. */
  readonly id: string;
  /** Whose it is. */
  readonly patient: string;
  /** Slices that were segmented. Others of the volume count as empty, in truth and prediction. */
  readonly slices: number;
  /** By prompt; sizes are mm³. */
  readonly scores: Readonly<Partial<Record<ScoredPrompt, MaskScore>>>;
}

/** What {@linkcode runProtocol} found. */
export interface ProtocolResult {
  /** The slices, in the order they were given. */
  readonly slices: readonly ProtocolSlice[];
  /** The cases, in the order of their first slice. */
  readonly cases: readonly ProtocolCase[];
}

/** Options of {@linkcode runProtocol}. */
export interface ProtocolOptions {
  /** What to score under; default all of {@link PROTOCOL}. */
  readonly prompts?: readonly ScoredPrompt[];
  /** Decides jitter and random points: the same for every model and order of slices. Default 0. */
  readonly seed?: number;
  /** Slices at a time. Default 4. */
  readonly batchSize?: number;
  /** Given each slice's predicted masks, one byte a pixel. */
  readonly onMasks?: (ref: SliceRef, masks: ReadonlyMap<ScoredPrompt, Uint8Array>) => void;
  /** Called after each batch with the slices done so far. */
  readonly onProgress?: (done: number) => void;
}

/** Predicted masks of a batch by prompt, in the order of its slices. */
type Predictions = Map<ScoredPrompt, Uint8Array[]>;

/**
 * Scores slices and their volumes under the protocol. Each slice is encoded once: prompts cost a pass
 * of the decoder. Logits of the single-mask output above 0 are mask.
 *
 * Clicks are simulated as SAM's evaluation does: the first at the truth's deepest pixel, each further
 * one at the centre of the largest error so far, with all clicks and the low-resolution logits of the
 * step before as prompts. Once nothing is wrong the mask is kept.
 *
 * A slice without tumour is scored under the prompts of {@link AUTOMATIC_PROMPTS} alone. Nobody would
 * click there: in its case's volume its prediction under the others is empty.
 *
 * Two evaluations on one device must not overlap: a scope is open while a result is awaited.
 *
 * @throws {InputError} if there are no slices.
 * @throws {GuardError} if an automatic prompt gives the answer away, or what is scored does not come from
 * the model.
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
  const byCase = Map.groupBy(data.refs, ({ caseId }) => caseId);
  // Case after case, so that the masks of few volumes are in memory; in a case the slices with tumour
  // first, since the others are prompted otherwise.
  const plan = [...byCase.values()].flatMap((refs) =>
    [true, false].flatMap((tumour) =>
      planBatches(refs.filter(({ tumourVoxels }) => tumourVoxels > 0 === tumour), { batchSize })
    )
  );
  const slices = new Map<string, ProtocolSlice>();
  const cases = new Map<string, ProtocolCase>();
  let open: CaseMasks | null = null;
  let done = 0;
  const outputs = new Map<PromptKind, number[]>();
  for await (const batch of loadBatches(data.reader, plan)) {
    const { caseId } = batch[0].ref;
    const automatic = prompts.filter((prompt) => AUTOMATIC_PROMPTS.includes(prompt));
    const hasTumour = batch[0].ref.tumourVoxels > 0;
    if (done === 0) {
      const shown = { ...truthOf(batch[0]), ref: batch[0].ref };
      checkAutomaticPrompts(
        PROMPT_KINDS.filter((kind) => automatic.includes(kind)),
        shown,
        (kind, slice) => evaluationPrompt(kind, slice, seed),
      );
    }
    const predictions = await predict(model, batch, {
      prompts: hasTumour ? prompts : automatic,
      seed,
    });
    for (const [kind, hashes] of predictions.outputs) {
      outputs.set(kind, [...outputs.get(kind) ?? [], ...hashes]);
    }
    open ??= new CaseMasks(byCase.get(caseId)!);
    batch.forEach((slice, i) => {
      const scored = scoreSlice(slice, (prompt) => predictions.masks.get(prompt)?.[i], prompts);
      const clicks = predictions.clicks.map((masks) => dice(masks[i], slice.mask));
      slices.set(slice.ref.id, { ...scored, ...(clicks.length > 0 && { clicks }) });
      open!.add(slice, (prompt) => predictions.masks.get(prompt)?.[i]);
      onMasks?.(
        slice.ref,
        new Map([...predictions.masks].map(([kind, masks]) => [kind, masks[i]])),
      );
    });
    if (open.complete) {
      cases.set(caseId, open.score(prompts));
      open = null;
    }
    done += batch.length;
    onProgress?.(done);
  }
  for (const [kind, hashes] of outputs) checkOutputs(hashes, { what: `scoring under ${kind}` });
  return {
    slices: data.refs.map(({ id }) => slices.get(id)!),
    cases: [...byCase.keys()].map((id) => cases.get(id)!),
  };
}

/** What a batch came to. */
interface Predicted {
  /** Its masks by prompt. */
  readonly masks: Predictions;
  /** Its masks after each click. */
  readonly clicks: Uint8Array[][];
  /** A hash of each slice's logits by prompt. */
  readonly outputs: ReadonlyMap<PromptKind, readonly number[]>;
}

/** The masks of a batch under every prompt, and after each click. */
async function predict(
  model: SliceModel,
  batch: readonly Slice[],
  { prompts, seed }: { prompts: readonly ScoredPrompt[]; seed: number },
): Promise<Predicted> {
  const masks: Predictions = new Map();
  const outputs = new Map<PromptKind, number[]>();
  if (prompts.length === 0) return { masks, clicks: [], outputs };
  using _ = new Scope(model.sam.gpu);
  const samples = batch.map((slice) => ({ slice, variant: "" }));
  const embeddings = noGrad(model.sam.gpu, () => model.encode(samples));
  const interactive = prompts.includes("clicks-3") || prompts.includes("clicks-5");
  // The first click is the prompt `point`, which need not be decoded twice.
  const kinds = PROMPT_KINDS.filter((kind) =>
    prompts.includes(kind) && !(interactive && kind === "point")
  );
  if (kinds.length > 0) {
    const logits = noGrad(model.sam.gpu, () =>
      concat(
        kinds.map((kind) =>
          model.decode(
            embeddings,
            samples,
            batch.map((slice) => evaluationPrompt(kind, slice, seed)),
          )
        ),
        0,
      ));
    const all = await threshold(logits, kinds.length * batch.length);
    kinds.forEach((kind, k) => {
      const own = all.slice(k * batch.length, (k + 1) * batch.length);
      masks.set(kind, own.map(({ mask }) => mask));
      outputs.set(kind, own.map(({ hash }) => hash));
    });
  }
  if (!interactive) return { masks, clicks: [], outputs };
  const clicks = await interact(model, { batch, embeddings });
  const after = { "point": clicks[0], "clicks-3": clicks[2], "clicks-5": clicks[4] };
  for (const prompt of ["point", "clicks-3", "clicks-5"] as const) {
    if (prompts.includes(prompt)) masks.set(prompt, after[prompt]);
  }
  return { masks, clicks, outputs };
}

/** The masks of a batch after each of five simulated clicks. */
async function interact(
  model: SliceModel,
  { batch, embeddings }: { batch: readonly Slice[]; embeddings: Tensor },
): Promise<Uint8Array[][]> {
  const samples = batch.map((slice) => ({ slice, variant: "" }));
  const truths = batch.map(truthOf);
  let next: (PromptPoint | null)[] = truths.map(centrePoint);
  const points = next.map((click) => [click!]);
  const steps: Uint8Array[][] = [];
  let mask: Tensor | undefined;
  for (let click = 1; click <= CLICKS; click++) {
    const { logits, lowResMasks } = noGrad(
      model.sam.gpu,
      () =>
        model.decodeStep(embeddings, samples, {
          prompts: points.map((list) => ({ points: [...list] })),
          mask,
        }),
    );
    mask = lowResMasks;
    const found = await threshold(logits, batch.length);
    // A slice in which nothing was wrong keeps its mask; its last click is repeated, since all
    // prompts of a batch have as many points.
    const masks = found.map(({ mask: own }, i) => next[i] === null ? steps[click - 2][i] : own);
    steps.push(masks);
    next = truths.map((truth, i) => errorClick(masks[i], truth));
    points.forEach((list, i) => list.push(next[i] ?? list[list.length - 1]));
  }
  return steps;
}

/** Logits [count, H, W] as `count` masks, with a hash of each one's logits. */
async function threshold(
  logits: Tensor,
  count: number,
): Promise<{ mask: Uint8Array; hash: number }[]> {
  const values = await logits.data();
  const pixels = values.length / count;
  return Array.from({ length: count }, (_, i) => {
    const own = values.subarray(i * pixels, (i + 1) * pixels);
    const mask = new Uint8Array(pixels);
    for (let j = 0; j < pixels; j++) mask[j] = own[j] > 0 ? 1 : 0;
    return { mask, hash: crc32(new Uint8Array(own.buffer, own.byteOffset, own.byteLength)) };
  });
}

function truthOf({ mask, ref: { width, height } }: Slice): Mask {
  return { mask, width, height };
}

/** A prediction's score on the slice's own grid. */
function scoreOf(prediction: Uint8Array, { mask, ref }: Slice): MaskScore {
  const { width, height, spacing: [dx, dy] } = ref;
  return scoreMask(prediction, mask, {
    level: "slice",
    shape: [width, height, 1],
    spacing: [dx, dy, 1],
  });
}

function scoreSlice(
  slice: Slice,
  maskOf: (prompt: ScoredPrompt) => Uint8Array | undefined,
  prompts: readonly ScoredPrompt[],
): ProtocolSlice {
  const { id, caseId, patient } = slice.ref;
  const scores: Partial<Record<ScoredPrompt, MaskScore>> = {};
  for (const prompt of prompts) {
    const mask = maskOf(prompt);
    if (mask) scores[prompt] = scoreOf(mask, slice);
  }
  const tumourPixels = slice.mask.reduce((sum, pixel) => sum + pixel, 0);
  return { id, caseId, patient, tumourPixels, scores };
}

/** The slices of a case as they are segmented, until all are there and the volume can be scored. */
class CaseMasks {
  readonly #refs: readonly SliceRef[];
  readonly #truths = new Map<number, Uint8Array>();
  readonly #predictions = new Map<ScoredPrompt, Map<number, Uint8Array>>();

  constructor(refs: readonly SliceRef[]) {
    this.#refs = refs;
  }

  /** Whether every slice of the case is there. */
  get complete(): boolean {
    return this.#truths.size === this.#refs.length;
  }

  /** Takes a slice; prompts that it has no mask for leave it empty. */
  add({ ref, mask }: Slice, maskOf: (prompt: ScoredPrompt) => Uint8Array | undefined): void {
    this.#truths.set(ref.index, mask);
    for (const prompt of PROTOCOL) {
      const prediction = maskOf(prompt);
      if (!prediction) continue;
      const own = this.#predictions.get(prompt) ?? new Map<number, Uint8Array>();
      own.set(ref.index, prediction);
      this.#predictions.set(prompt, own);
    }
  }

  /** Scores the volume that reaches from the first to the last of the slices. */
  score(prompts: readonly ScoredPrompt[]): ProtocolCase {
    const { caseId, patient, width, height, spacing: [dx, dy], sliceSpacing } = this.#refs[0];
    const indices = this.#refs.map(({ index }) => index);
    const first = Math.min(...indices);
    const depth = Math.max(...indices) - first + 1;
    const stack = (slices: ReadonlyMap<number, Uint8Array>) => {
      const volume = new Uint8Array(width * height * depth);
      for (const [index, mask] of slices) volume.set(mask, (index - first) * width * height);
      return volume;
    };
    const truth = stack(this.#truths);
    const grid = {
      level: "case",
      shape: [width, height, depth],
      spacing: [dx, dy, sliceSpacing],
    } as const;
    const scores = Object.fromEntries(
      prompts.map((prompt) => [
        prompt,
        scoreMask(stack(this.#predictions.get(prompt) ?? new Map()), truth, grid),
      ]),
    );
    return { id: caseId, patient, slices: this.#refs.length, scores };
  }
}
