/**
 * Slices at which a model fails without a prompt, by the kind of failure.
 *
 * @module
 */
import type { PresenceRule } from "../evaluate/presence.ts";
import { isPresent } from "../evaluate/presence.ts";
import { AUTOMATIC_PROMPTS } from "../evaluate/scored_prompts.ts";
import type { Records, SliceRecord } from "../study/records.ts";
import type { Run } from "../study/results.ts";

/** Kinds of failure, in the order in which they are shown. */
export const FAILURES = {
  invented: "A tumour painted into a tumour-free slice",
  missed: "A tumour passed over",
  elsewhere: "A mask beside the tumour",
  much: "Too much painted",
  little: "Too little painted",
  outline: "An outline that is off",
} as const;

/** Kind of a failure. */
export type FailureKind = keyof typeof FAILURES;

/** A slice at which a model fails. */
export interface Failure {
  readonly id: string;
  readonly patient: string;
  readonly part: string;
  readonly kind: FailureKind;
  /** Dice with the truth, 0 where a mask does not count; of a tumour-free slice 0. */
  readonly dice: number;
  /** Area painted in mm². */
  readonly area: number;
}

/** Share of the true area by which a mask is too large or too small. */
const MUCH = 0.5;
const LITTLE = -0.33;

function kindOf({ tumourPixels }: SliceRecord, values: Values, counts: boolean): FailureKind {
  if (tumourPixels === 0) return "invented";
  if (!counts || values.sensitivity === 0) return "missed";
  if (values.dice === 0) return "elsewhere";
  const error = values.signedVolumeError ?? 0;
  return error > MUCH ? "much" : error < LITTLE ? "little" : "outline";
}

type Values = NonNullable<SliceRecord["scores"]["whole-image"]>;

/** Failure of a slice of one part; null for a tumour-free slice that stays empty. */
function failureOf(slice: SliceRecord, part: string, rule: PresenceRule | null): Failure | null {
  const values = slice.scores[AUTOMATIC_PROMPTS[0]];
  if (!values) return null;
  const counts = isPresent(slice.presence ?? {}, rule);
  const isFree = slice.tumourPixels === 0;
  if (isFree && (values.healthyPainted !== 1 || !counts)) return null;
  const { id, patient } = slice;
  const area = isFree
    ? values.healthyArea ?? 0
    : values.truth * (1 + (values.signedVolumeError ?? 0));
  const dice = isFree || !counts ? 0 : values.dice;
  return { id, patient, part, kind: kindOf(slice, values, counts), dice, area };
}

/**
 * The worst slices of a row without a prompt: half of them those with tumour of the lowest Dice, the others
 * tumour-free ones with the largest area painted; where one kind has fewer, more of the other.
 *
 * @param count Slices in all.
 */
export function worstSlices(
  { runs, records }: { runs: readonly Run[]; records: readonly Records[] },
  { row, count }: { row: string; count: number },
): Failure[] {
  const seen = new Set<string>();
  const found = records.filter((one) => one.row === row).flatMap((one) => {
    const run = runs.find(({ part, experiment }) => part === one.part && experiment.name === row);
    return [...one.slices, ...one.healthy ?? []].flatMap((slice) => {
      const failure = seen.has(slice.id) ? null : failureOf(slice, one.part, run?.presence ?? null);
      seen.add(slice.id); // of several seeds the first
      return failure ?? [];
    });
  });
  const free = found.filter(({ kind }) => kind === "invented").sort((a, b) => b.area - a.area);
  const others = found.filter(({ kind }) => kind !== "invented")
    .sort((a, b) => a.dice - b.dice || a.id.localeCompare(b.id));
  const ofFree = Math.min(free.length, Math.max(count >> 1, count - others.length));
  return [...free.slice(0, ofFree), ...others.slice(0, count - ofFree)];
}
