/**
 * Holm's step-down adjustment: p values of one family of tests, such that rejecting those up to α errs
 * anywhere with a chance of at most α, whatever the tests' dependence.
 *
 * Source: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
 *
 * @returns the adjusted p values in the order given.
 */
export function holm(pValues: readonly number[]): number[] {
  const order = pValues.map((_, i) => i).sort((a, b) => pValues[a] - pValues[b]);
  const adjusted = new Array<number>(pValues.length);
  let highest = 0;
  order.forEach((index, rank) => {
    highest = Math.max(highest, Math.min(1, (pValues.length - rank) * pValues[index]));
    adjusted[index] = highest;
  });
  return adjusted;
}
