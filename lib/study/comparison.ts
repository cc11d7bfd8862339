/**
 * The comparison of a study's rows: scores by prompt, differences to the PEFT row and to the vanilla
 * row in percentage points, tests and verdicts.
 *
 * @module
 */
import type { MaskMetric } from "../metrics/metrics.ts";
import type { Score } from "../stats/summary.ts";
import type { Expectation, Verdict } from "../stats/verdict.ts";

/** What a row stands for; tables list the kinds in this order. */
export type RowKind = "vanilla" | "peft" | "full" | "lora" | "trivial";

/** The test of one difference: paired by slice, with patients as the units. */
export interface RowTest {
  /** Two-sided p of Wilcoxon's signed-rank test. */
  p: number;
  /** `p` after Holm's adjustment over all models and both references. */
  pHolm: number;
  /** 95 % interval of the mean difference (0..1), patients resampled. */
  interval: readonly [low: number, high: number] | null;
  /** Patients that were tested. */
  patients: number;
}

/** The tests of a row, by what it is compared with. */
export interface RowTests {
  /** Against the vanilla row. */
  vanilla?: RowTest;
  /** Against the PEFT row. */
  peft?: RowTest;
}

/** One model or trivial predictor, scored under one or more prompts. */
export interface ComparisonRow {
  /** As printed: "Vanilla", "PEFT", "LoRA-16", "Filled box". */
  model: string;
  /** Decides the row's place, and which rows the others are compared with. */
  kind: RowKind;
  /** Dice (0..1) by prompt, for example `tight-box`. */
  dice: Record<string, Score>;
  /** Intersection over union (0..1) by prompt. */
  iou?: Record<string, Score>;
  /** Every metric under the primary prompt, over slices: see `MaskScore`. */
  metrics?: Readonly<Partial<Record<MaskMetric, Score>>>;
  /** Whether the differences of the primary prompt's Dice are more than chance. */
  tests?: RowTests;
  /** Parameters that the optimiser was given. */
  trainableParameters?: number;
  /** Wall time of one training step. */
  secondsPerStep?: number;
  /** Wall time of the whole training. */
  trainSeconds?: number;
  /** The most device memory, in bytes, that training held at a time. */
  peakGpuBytes?: number;
  /** The epoch of the best validation Dice, counted from 1, whose weights were scored. */
  bestEpoch?: number;
}

/** How many patients and slices a split holds. */
export interface SplitSize {
  /** Patients; all scans of a patient lie in one split. */
  patients: number;
  /** 2D slices. */
  slices: number;
}

/** What all rows of a table share; the caption says it. */
export interface ComparisonContext {
  /** Name of the data set, without a path of this machine. */
  dataset: string;
  /** True if the tumours are simulated: every table and picture then says so. */
  simulated: boolean;
  /** Pretrained model, for example "MobileSAM". */
  baseModel: string;
  /** The model's input side in pixels. */
  side: number;
  /** Seed of split, initialisation and order. */
  seed: number;
  /** Folds and seeds that the scores are pooled over; absent for one run a model. */
  pooled?: string;
  /** Epochs each run was allowed. */
  epochs: number;
  /** Name and type of the adapter. */
  adapter: string;
  /** The command that makes this table. */
  command: string;
  /** Size of each split by name. */
  splits: Record<string, SplitSize>;
  /** The split that the scores come from, a key of `splits`. */
  scoredOn: string;
  /** The prompt of the accuracy column, a key of each row's `dice`. */
  primaryPrompt: string;
  /** What else is to be said, such as which runs are left out, and why. */
  notes?: readonly string[];
}

/** A row with the study's three columns, in per cent and percentage points; null where not run. */
export interface ComparedRow extends ComparisonRow {
  /** Dice under the primary prompt in per cent. */
  accuracy: number | null;
  /** `accuracy` minus the PEFT row's, in percentage points; null in that row itself. */
  peftComparison: number | null;
  /** `accuracy` minus the vanilla row's, in percentage points; null in that row itself. */
  vanillaComparison: number | null;
}

/** The content of table.json. */
export interface ComparisonTable {
  /** What all rows share. */
  context: ComparisonContext;
  /** Vanilla, PEFT, full fine-tunes, adapters and trivial predictors, each kind in the order given. */
  rows: ComparedRow[];
  /** What became of the hypotheses that were stated before the runs; absent if there were none. */
  verdicts?: TableVerdict[];
}

/** A hypothesis that was stated before the run, and what the data say of it. */
export interface TableVerdict extends Verdict {
  /** The row that it is about. */
  readonly model: string;
  /** The row that this is compared with. */
  readonly reference: string;
  /** The hypothesis in words. */
  readonly hypothesis: string;
  /** The prompt that was scored under. */
  readonly prompt: string;
  /** What was measured. */
  readonly metric: MaskMetric;
  /** How the row was expected to differ from the other. */
  readonly expected: Expectation;
  /** By how much at least; for "no worse", how much worse it might be. */
  readonly margin: number;
}

const kinds: readonly RowKind[] = ["vanilla", "peft", "full", "lora", "trivial"];

/** Sorts the rows by kind and compares each with the PEFT row and with the vanilla row. */
export function compareRows(
  rows: readonly ComparisonRow[],
  context: ComparisonContext,
): ComparisonTable {
  const accuracy = (row?: ComparisonRow) => {
    const score = row?.dice[context.primaryPrompt];
    return score === undefined ? null : 100 * score.mean;
  };
  const against = (row: ComparisonRow, kind: RowKind) => {
    const reference = rows.find((candidate) => candidate.kind === kind);
    const [own, other] = [accuracy(row), accuracy(reference)];
    return own === null || other === null || row === reference ? null : own - other;
  };
  const sorted = [...rows].sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
  return {
    context,
    rows: sorted.map((row) => ({
      ...row,
      accuracy: accuracy(row),
      peftComparison: against(row, "peft"),
      vanillaComparison: against(row, "vanilla"),
    })),
  };
}
