/**
 * Verdicts on hypotheses that were stated before the experiment: supported, refuted or undecided, from
 * differences paired by observation, with patients as the units and all hypotheses as one family.
 *
 * @module
 */
import type { BootstrapOptions } from "./bootstrap.ts";
import { type ModelObservations, pairedTest } from "./compare.ts";
import { holm } from "./holm.ts";

/** Expected signs of a difference; "no worse" allows for a margin. */
export const EXPECTATIONS = ["greater", "less", "no worse"] as const;

/** Expected sign of a difference. */
export type Expectation = (typeof EXPECTATIONS)[number];

/** A hypothesis with what was observed. */
export interface Claim {
  /** Expected sign of the model's values minus the other's. */
  readonly expected: Expectation;
  /** Least difference expected, or the most by which the model may be worse. */
  readonly margin: number;
  /** True if lower values are better: "no worse" needs to know. */
  readonly lowerIsBetter: boolean;
  /** The model of which something is claimed. */
  readonly own: ModelObservations;
  /** The model that it is compared with. */
  readonly other: ModelObservations;
  /** Limits within which a difference can lie at all; default none. */
  readonly bounds?: BootstrapOptions["bounds"];
}

/** Outcome of a hypothesis. */
export interface Verdict {
  /** Mean over patients of own minus other; null if nothing is paired. */
  readonly difference: number | null;
  /** Interval of `difference` by `bootstrapInterval`; null where it has none, as of few patients. */
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
  /** Decision from interval and adjusted p. */
  readonly verdict: "supported" | "refuted" | "undecided";
}

/** The chance of an error anywhere in a family of hypotheses. */
const ALPHA = 0.05;

/**
 * Judges hypotheses together. Each is tested for a difference beyond a threshold: the
 * margin for "greater", minus the margin for "less", and for "no worse" the margin on the worse side
 * (non-inferiority). A hypothesis is supported, or refuted, if p after Holm's adjustment is below 0.05
 * and the whole interval of the difference lies on the expected, or the other, side of the threshold;
 * otherwise, and where there are too few patients for an interval, the data do not decide.
 */
export function judge(claims: readonly Claim[], options: BootstrapOptions = {}): Verdict[] {
  const found = claims.map(({ expected, margin, lowerIsBetter, own, other, bounds }) => {
    const sign = expected === "less" || (expected === "no worse" && lowerIsBetter) ? -1 : 1;
    const beyond = expected === "no worse" ? -margin : margin;
    const { difference, interval, p, patients, paired } = pairedTest(own, other, {
      ...options,
      bounds,
      beyond: (value) => sign * value - beyond,
    });
    const [low, high] = interval ? interval.map((bound) => sign * bound).sort((a, b) => a - b) : [];
    return {
      difference: paired === 0 ? null : difference,
      interval,
      p,
      patients,
      paired,
      unpaired: own.size + other.size - 2 * paired,
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
