import { normalTail } from "./normal.ts";

/** Result of {@linkcode wilcoxonSignedRank}. */
export interface WilcoxonResult {
  /** The smaller of the rank sums of positive and of negative differences. */
  readonly statistic: number;
  /** Two-sided p value. */
  readonly p: number;
  /** Differences other than zero, which alone are ranked. */
  readonly n: number;
  /** Exact count of signs or normal approximation. */
  readonly method: "exact" | "normal";
}

/** Up to so many differences all 2^n signs are counted, beyond them the sum is nearly normal. */
const EXACT_LIMIT = 50;

/**
 * Wilcoxon's signed-rank test that paired differences are symmetric about zero, two-sided. Zeros are
 * dropped (Wilcoxon's own treatment), ties share the mean of their ranks. Up to 50 differences p is
 * exact, ties or not: the share of all 2^n assignments of signs with a rank sum at least as extreme.
 * Beyond, it is the normal approximation with the variance corrected for ties and no continuity
 * correction, as scipy's `wilcoxon(method="approx")`.
 *
 * Source: Wilcoxon 1945, "Individual Comparisons by Ranking Methods"; Pratt and Gibbons 1981.
 *
 * @param differences One for each independent unit: a patient, not a slice.
 * @returns p is 1 if no difference is other than zero.
 */
export function wilcoxonSignedRank(differences: readonly number[]): WilcoxonResult {
  const ranked = differences.filter((d) => d !== 0).sort((a, b) => Math.abs(a) - Math.abs(b));
  const n = ranked.length;
  if (n === 0) return { statistic: 0, p: 1, n, method: "exact" };
  // Twice the ranks, which ties leave whole numbers.
  const doubled = new Array<number>(n);
  let ties = 0;
  for (let start = 0, end = 0; start < n; start = end) {
    while (end < n && Math.abs(ranked[end]) === Math.abs(ranked[start])) end++;
    doubled.fill(start + 1 + end, start, end);
    const size = end - start;
    ties += size ** 3 - size;
  }
  const total = n * (n + 1);
  const positive = doubled.reduce((sum, rank, i) => sum + (ranked[i] > 0 ? rank : 0), 0);
  const smaller = Math.min(positive, total - positive);
  const statistic = smaller / 2;
  if (n <= EXACT_LIMIT) return { statistic, p: exact(doubled, smaller), n, method: "exact" };
  const variance = n * (n + 1) * (2 * n + 1) / 24 - ties / 48;
  const z = (total / 4 - statistic) / Math.sqrt(variance);
  return { statistic, p: Math.min(1, 2 * normalTail(z)), n, method: "normal" };
}

/** Twice the chance that the ranks of random signs sum to `smaller` or less. */
function exact(ranks: readonly number[], smaller: number): number {
  // chance[s]: that the positive ranks among those seen so far sum to s.
  const chance = new Float64Array(smaller + 1);
  chance[0] = 1;
  for (const rank of ranks) {
    for (let sum = smaller; sum >= 0; sum--) {
      chance[sum] = (chance[sum] + (sum >= rank ? chance[sum - rank] : 0)) / 2;
    }
  }
  return Math.min(1, 2 * chance.reduce((a, b) => a + b, 0));
}
