/**
 * The controls of a model: what it paints where a scanner, and not a tumour, would make it paint.
 *
 * @module
 */
import type { SliceReader } from "../../data/loader.ts";
import type { SliceRef } from "../../data/slices.ts";
import type { MaskMetric } from "../../metrics/metrics.ts";
import type { Score } from "../../stats/summary.ts";
import { areaUnderCurve, type PresenceName, type PresenceRule } from "../presence.ts";
import { type ProtocolSlice, runProtocol } from "../protocol.ts";
import { AUTOMATIC_PROMPTS } from "../scored_prompts.ts";
import type { SliceModel } from "../slice_model.ts";
import { summarizeUnprompted } from "../unprompted.ts";
import { fitClassifier, readStatistics } from "./image_statistics.ts";
import { mirroredHalves } from "../../data/counterfactual/mirrored_half.ts";
import { pastedTumours } from "../../data/counterfactual/pasted_tumour.ts";

/** Slices of unseen patients that controls are made of. */
export interface ControlData {
  /** Reads all of them. */
  readonly reader: SliceReader;
  /** With tumour. */
  readonly tumour: readonly SliceRef[];
  /** Tumour-free, of the data set that a model was taught to leave empty. */
  readonly healthy: readonly SliceRef[];
  /** Tumour-free, within volumes of another data set; may be none. */
  readonly volumes: readonly SliceRef[];
  /** Slices with tumour and tumour-free ones of the patients that the model was trained on; may be none. */
  readonly trained: readonly SliceRef[];
}

/** Row of the report: slices of one kind, and what the model paints into them without a prompt. */
export interface ControlScore {
  /** Name in tables. */
  readonly name: string;
  /** True if its slices show tumour, which must be found. */
  readonly tumour: boolean;
  readonly slices: number;
  readonly patients: number;
  /** Slices of which none could be made. */
  readonly leftOut: number;
  /**
   * Chance that its presence is told apart from the other kind: of tumour from the tumour-free slices, of
   * others from those with tumour; null without a rule.
   */
  readonly auc: number | null;
  /** Every mask. */
  readonly all: Partial<Record<MaskMetric, Score>>;
  /** Masks that count by the rule; absent without one. */
  readonly ruled?: Partial<Record<MaskMetric, Score>>;
}

/** All controls of a model. */
export interface Controls {
  readonly scores: readonly ControlScore[];
  /** Area under the ROC curve by histogram and size alone; null where nothing was trained on. */
  readonly statistics: { readonly auc: number; readonly slices: number } | null;
  /** True if the model was trained on mirrored and pasted slices, of other patients. */
  readonly counterfactuals: boolean;
}

/** Kinds of slices in the order of the table. */
async function kindsOf({ reader, tumour, healthy, volumes }: ControlData) {
  const plain = (refs: readonly SliceRef[]) => ({ refs, leftOut: 0, read: reader.read });
  return [
    { name: "Slices with tumour", tumour: true, slices: plain(tumour) },
    { name: "Tumour-free slices", tumour: false, slices: plain(healthy) },
    {
      name: "The tumour's half replaced by the mirrored other",
      tumour: false,
      slices: await mirroredHalves(reader, tumour),
    },
    { name: "Tumour-free slices within volumes", tumour: false, slices: plain(volumes) },
    {
      name: "Tumours pasted into tumour-free slices",
      tumour: true,
      slices: await pastedTumours(reader, tumour, healthy),
    },
  ];
}

/**
 * Scores a model on every control.
 *
 * @param options.rule Rule by which its masks count; null if it has none.
 * @param options.counterfactuals True if it was trained on mirrored and pasted slices.
 * @param options.onSlices Called with the slices of each control before they are scored.
 */
export async function scoreControls(
  model: SliceModel,
  data: ControlData,
  { rule, counterfactuals, batchSize, onSlices, onProgress }: {
    rule: PresenceRule | null;
    counterfactuals: boolean;
    batchSize: number;
    onSlices?: (name: string, slices: SliceReader & { refs: readonly SliceRef[] }) => Promise<void>;
    onProgress?: (name: string, done: number, total: number) => void;
  },
): Promise<Controls> {
  const found: {
    name: string;
    tumour: boolean;
    leftOut: number;
    slices: readonly ProtocolSlice[];
  }[] = [];
  for (const { name, tumour, slices } of await kindsOf(data)) {
    if (slices.refs.length === 0) continue;
    await onSlices?.(name, slices);
    const result = await runProtocol(model, { reader: slices, refs: slices.refs }, {
      prompts: AUTOMATIC_PROMPTS,
      batchSize,
      onProgress: (done) => onProgress?.(name, done, slices.refs.length),
    });
    found.push({ name, tumour, leftOut: slices.leftOut, slices: result.slices });
  }
  const scoresOf = (tumour: boolean) =>
    rule ? presences(found.find((one) => one.tumour === tumour)?.slices ?? [], rule.score) : [];
  const [present, absent] = [scoresOf(true), scoresOf(false)];
  const aucOf = (tumour: boolean, slices: readonly ProtocolSlice[]) => {
    const own = rule ? presences(slices, rule.score) : [];
    const [above, below] = tumour ? [own, absent] : [present, own];
    return above.length > 0 && below.length > 0 ? areaUnderCurve(above, below) : null;
  };
  return {
    scores: found.map(({ name, tumour, leftOut, slices }) => ({
      name,
      tumour,
      slices: slices.length,
      patients: new Set(slices.map(({ patient }) => patient)).size,
      leftOut,
      auc: aucOf(tumour, slices),
      all: summarizeUnprompted([{ slices, rule: null }]),
      ...(rule && { ruled: summarizeUnprompted([{ slices, rule }]) }),
    })),
    statistics: await scoreStatistics(data),
    counterfactuals,
  };
}

/** Presence scores, of an unpainted slice the lowest. */
function presences(slices: readonly ProtocolSlice[], score: PresenceName): number[] {
  return slices.map(({ scores, presence }) => {
    const { sensitivity, healthyPainted } = scores[AUTOMATIC_PROMPTS[0]]!;
    return (sensitivity ?? healthyPainted) === 1 ? presence![score] : -Infinity;
  });
}

/** The classifier that sees histogram and size alone, fitted where the model was trained. */
async function scoreStatistics(
  { reader, tumour, healthy, trained }: ControlData,
): Promise<Controls["statistics"]> {
  const isFree = trained.filter(({ tumourVoxels }) => tumourVoxels === 0).length;
  if (isFree === 0 || isFree === trained.length || !tumour.length || !healthy.length) return null;
  const classify = fitClassifier(await readStatistics(reader, trained));
  const scores = async (refs: readonly SliceRef[]) =>
    (await readStatistics(reader, refs)).map(({ features }) => classify(features));
  const auc = areaUnderCurve(await scores(tumour), await scores(healthy));
  return { auc, slices: trained.length };
}

/** Shares by which a model is judged: the worst of all controls, by the rule where there is one. */
export function worstOf({ scores }: Pick<Controls, "scores">): {
  /** The highest share of tumour-free slices painted; undefined without such. */
  readonly painted?: ControlScore;
  /** The lowest sensitivity; undefined without slices with tumour. */
  readonly found?: ControlScore;
} {
  const value = (one: ControlScore, metric: MaskMetric) =>
    (one.ruled ?? one.all)[metric]?.mean ?? 0;
  const by = (tumour: boolean, metric: MaskMetric, sign: number) =>
    scores.filter((one) => one.tumour === tumour)
      .toSorted((a, b) => sign * (value(b, metric) - value(a, metric)))[0];
  return { painted: by(false, "healthyPainted", 1), found: by(true, "sensitivity", -1) };
}
