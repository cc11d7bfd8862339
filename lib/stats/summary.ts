/** Arithmetic mean; NaN for no values. */
export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Sample standard deviation (divisor n - 1); 0 for a single value, NaN for none. */
export function standardDeviation(values: readonly number[]): number {
  if (values.length === 1) return 0;
  const centre = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1));
}

/** Mean, sample standard deviation and count of the scores of patients. */
export interface Score {
  /** Mean over patients. */
  mean: number;
  /** Sample standard deviation over patients. */
  sd: number;
  /** Number of patients. */
  n: number;
  /** 95 % interval of the mean; absent or null where none was found, as of few patients. */
  interval?: readonly [low: number, high: number] | null;
}

/** Mean, sample standard deviation and count of `values`. */
export function summarize(values: readonly number[]): Score {
  return { mean: mean(values), sd: standardDeviation(values), n: values.length };
}

/** The value below which a share of the values lies, interpolated linearly as numpy does. */
export function quantile(values: Float64Array | readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort();
  const rank = share * (sorted.length - 1);
  const below = Math.floor(rank);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
}

/** A value of one unit of observation, such as a slice, and the group that it belongs to. */
export interface Observation {
  /** The patient: observations of one group are not independent of each other. */
  readonly group: string;
  /** The measurement. */
  readonly value: number;
}

/** The mean of each group's values, groups in the order in which they first appear. */
export function groupMeans(observations: readonly Observation[]): number[] {
  const groups = Map.groupBy(observations, ({ group }) => group);
  return [...groups.values()].map((own) => mean(own.map(({ value }) => value)));
}
