/**
 * Presence scores: how sure a model is that the mask it gives without a prompt is a tumour at all, and the
 * rule, a score and its threshold, by which a mask counts or a slice stays empty.
 *
 * @module
 */

/** Output of a model for one slice without a prompt, that presence scores are computed from. */
export interface PresenceInput {
  /** Logits of the mask, on the slice's grid; above 0 is mask. */
  readonly logits: Float32Array;
  /** IoU that SAM's head estimates for the mask. */
  readonly iou: number;
}

/** Logit that a mask's threshold is raised to for its stability. */
const STABLE = 1;

const highest = (logits: Float32Array) => {
  let most = -Infinity;
  for (const logit of logits) if (logit > most) most = logit;
  return most;
};

/** Candidates for a presence score, in the order of tables; a higher one says tumour. */
export const PRESENCE_SCORES = {
  /** Mean logit inside the mask; of an empty mask the highest logit, which is not above 0. */
  meanLogit: {
    label: "mean logit inside the mask",
    compute: ({ logits }: PresenceInput): number => {
      let [sum, count] = [0, 0];
      for (const logit of logits) {
        if (logit <= 0) continue;
        sum += logit;
        count++;
      }
      return count > 0 ? sum / count : highest(logits);
    },
  },
  /** Highest logit of the slice. */
  maxLogit: {
    label: "highest logit",
    compute: ({ logits }: PresenceInput): number => highest(logits),
  },
  /** Share of the mask that stays with the threshold raised by 1; 0 of an empty mask. */
  stability: {
    label: "stability",
    compute: ({ logits }: PresenceInput): number => {
      let [inside, sure] = [0, 0];
      for (const logit of logits) {
        if (logit > 0) inside++;
        if (logit > STABLE) sure++;
      }
      return inside > 0 ? sure / inside : 0;
    },
  },
  /** IoU that SAM's head estimates, which `iouLoss` trains to be 0 where there is no tumour. */
  iou: { label: "estimated IoU", compute: ({ iou }: PresenceInput): number => iou },
} as const;

/** Name of a presence score. */
export type PresenceName = keyof typeof PRESENCE_SCORES;

/** Names of all presence scores, in the order of tables. */
export const PRESENCE_NAMES = Object.keys(PRESENCE_SCORES) as PresenceName[];

/** Every presence score of one slice. */
export type PresenceScores = Readonly<Record<PresenceName, number>>;

/** Rule by which a mask that was given without a prompt counts. */
export interface PresenceRule {
  /** Score that decides. */
  readonly score: PresenceName;
  /** Least value with which a mask counts. */
  readonly threshold: number;
}

/** Computes every presence score of a slice. */
export function presenceScores(input: PresenceInput): PresenceScores {
  const scores = PRESENCE_NAMES.map((name) => [name, PRESENCE_SCORES[name].compute(input)]);
  return Object.fromEntries(scores);
}

/** True if a mask counts by a rule; without a rule every mask does. */
export function isPresent(
  scores: Readonly<Partial<Record<PresenceName, number | null>>>,
  rule: PresenceRule | null,
): boolean {
  return rule === null || (scores[rule.score] ?? -Infinity) >= rule.threshold;
}

/** A slice that a rule is chosen on. */
export interface PresenceSample {
  /** True if the slice shows tumour. */
  readonly tumour: boolean;
  /** True if the model painted anything into it. */
  readonly painted: boolean;
  /** Its presence scores. */
  readonly scores: PresenceScores;
}

/** A candidate with its threshold, as it does on the slices that it was chosen on. */
export interface PresenceCandidate extends PresenceRule {
  /**
   * Chance that a slice with tumour has the higher score of two, one of each kind (area under the ROC
   * curve); unpainted slices count as the lowest.
   */
  readonly auc: number;
  /** Share of the slices with tumour in which a mask counts. */
  readonly sensitivity: number;
  /** Share of the tumour-free slices in which none does. */
  readonly quiet: number;
}

/** Share of the slices with tumour in which a mask must count still. */
export const SENSITIVITY = 0.95;

/** Decimals that scores are recorded with. */
const DECIMALS = 1e6;

/**
 * Every candidate with the largest threshold that keeps a mask in 95 % of the slices with tumour; where
 * too few of them are painted, in all that are.
 *
 * @param samples Validation slices: nothing is learnt of test patients.
 * @returns the candidates in the order of the table; none if no slice is tumour-free, or none with tumour
 * is painted.
 */
export function presenceCandidates(samples: readonly PresenceSample[]): PresenceCandidate[] {
  const tumour = samples.filter((sample) => sample.tumour);
  const healthy = samples.filter((sample) => !sample.tumour);
  const needed = Math.ceil(SENSITIVITY * tumour.length - 1e-9);
  return PRESENCE_NAMES.flatMap((score) => {
    const of = (sample: PresenceSample) => sample.painted ? sample.scores[score] : -Infinity;
    const own = tumour.map(of).sort((a, b) => b - a);
    const painted = own.filter((value) => value > -Infinity);
    if (healthy.length === 0 || painted.length === 0) return [];
    const least = painted[Math.min(needed, painted.length) - 1];
    const threshold = Math.floor(least * DECIMALS) / DECIMALS;
    const share = (values: readonly number[], holds: (value: number) => boolean) =>
      values.filter(holds).length / values.length;
    const others = healthy.map(of);
    return [{
      score,
      threshold,
      auc: areaUnderCurve(own, others),
      sensitivity: share(own, (value) => value >= threshold),
      quiet: share(others, (value) => value < threshold),
    }];
  });
}

/** The candidate that tells the slices apart best; null if there is none. */
export function choosePresence(
  candidates: readonly PresenceCandidate[],
): PresenceCandidate | null {
  const [best = null] = candidates.toSorted((a, b) => b.auc - a.auc);
  return best;
}

/** Share of the pairs of which the first is the higher, those that are alike counting half (Mann-Whitney U). */
export function areaUnderCurve(above: readonly number[], below: readonly number[]): number {
  let wins = 0;
  for (const a of above) {
    for (const b of below) wins += a > b ? 1 : a === b ? 0.5 : 0;
  }
  return wins / (above.length * below.length);
}
