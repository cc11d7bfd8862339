/**
 * Verdicts on hypotheses that were stated before the experiment: supported, refuted or undecided, from
 * differences paired by observation, with patients as the units and all hypotheses as one family.
 *
 * @module
 */
import { bootstrapInterval, type BootstrapOptions } from "./bootstrap.ts";
import { type ModelObservations, pairedDifferences } from "./compare.ts";
import { holm } from "./holm.ts";
import { byGroup, mean } from "./summary.ts";
import { wilcoxonSignedRank } from "./wilcoxon.ts";

/** What is expected of a difference. */
export const EXPECTATIONS = ["greater", "less", "no worse"] as const;

/** What is expected of a difference. */
export type Expectation = (typeof EXPECTATIONS)[number];

/** A hypothesis with what was observed. */
export interface Claim {
  /** How the model's values differ from the other's. */
  readonly expected: Expectation;
  /** By how much they must differ at least, or may be worse at most. */
  readonly margin: number;
  /** Whether lower values are better: "no worse" needs to know. */
  readonly lowerIsBetter: boolean;
  /** The model of which something is claimed. */
  readonly own: ModelObservations;
  /** The model that it is compared with. */
  readonly other: ModelObservations;
}

/** What became of a hypothesis. */
export interface Verdict {
  /** Mean over the paired observations of own minus other; null if there are none. */
  readonly difference: number | null;
  /** Bootstrap interval of `difference`, patients resampled; null with fewer than two patients. */
  readonly interval: readonly [low: number, high: number] | null;
  /** Two-sided p of Wilcoxon's signed-rank test of the patients' differences against the margin. */
  readonly p: number;
  /** `p` after Holm's adjustment over all hypotheses that were judged together. */
  readonly pHolm: number;
  /** Patients whose mean differences were tested. */
  readonly patients: number;
  /** Observations of both models that were paired. */
  readonly paired: number;
  /** Observations of one of the two that the other lacks: on them the two cannot be compared. */
  readonly unpaired: number;
  /** What follows. */
  readonly verdict: "supported" | "refuted" | "undecided";
}

/** The chance of an error anywhere in a family of hypotheses. */
const ALPHA = 0.05;

/**
 * Judges hypotheses together. What is tested is whether the difference lies beyond a threshold: the
 * margin for "greater", minus the margin for "less", and for "no worse" the margin on the worse side
 * (non-inferiority). A hypothesis is supported, or refuted, if p after Holm's adjustment is below 0.05
 * and the whole interval of the difference lies on the expected, or the other, side of the threshold;
 * otherwise the data do not decide.
 */
export function judge(claims: readonly Claim[], options: BootstrapOptions = {}): Verdict[] {
  const found = claims.map(({ expected, margin, lowerIsBetter, own, other }) => {
    const differences = pairedDifferences(own, other);
    const sign = expected === "less" || (expected === "no worse" && lowerIsBetter) ? -1 : 1;
    const beyond = expected === "no worse" ? -margin : margin;
    const patients = [...byGroup(differences).values()].map(mean);
    const { p } = wilcoxonSignedRank(patients.map((value) => sign * value - beyond));
    const interval = bootstrapInterval(differences, options);
    const [low, high] = interval ? interval.map((bound) => sign * bound).sort((a, b) => a - b) : [];
    return {
      difference: differences.length === 0 ? null : mean(differences.map(({ value }) => value)),
      interval,
      p,
      patients: patients.length,
      paired: differences.length,
      unpaired: own.size + other.size - 2 * differences.length,
      side: low === undefined ? 0 : low > beyond ? 1 : high < beyond ? -1 : 0,
    };
  });
  const adjusted = holm(found.map(({ p }) => p));
  return found.map(({ side, ...rest }, i) => {
    const decided = adjusted[i] < ALPHA && side !== 0;
    const verdict = !decided ? "undecided" : side > 0 ? "supported" : "refuted";
    return { ...rest, pHolm: adjusted[i], verdict };
  });
}
