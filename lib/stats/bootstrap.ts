import { Random } from "../random.ts";
import { byGroup, type Observation, quantile, type Score, summarize } from "./summary.ts";

/** Options of {@linkcode bootstrapInterval}. */
export interface BootstrapOptions {
  /** Decides the resamples; default 0. */
  readonly seed?: number | string;
  /** Number of resamples; default 10000. */
  readonly resamples?: number;
  /** The share of the resamples' means that the interval holds; default 0.95. */
  readonly confidence?: number;
}

/**
 * The cluster bootstrap's percentile interval of a mean: groups (patients) are drawn with replacement,
 * each with all its observations (slices), since slices of one patient resemble each other and
 * resampling them singly would pretend to more evidence than there is.
 *
 * Source: Davison and Hinkley 1997, "Bootstrap Methods and their Application", sections 3.8 and 5.3.
 *
 * @returns [low, high]; null with fewer than two groups, whose spread between groups is unknown.
 */
export function bootstrapInterval(
  observations: readonly Observation[],
  options: BootstrapOptions = {},
): [low: number, high: number] | null {
  const { seed = 0, resamples = 10_000, confidence = 0.95 } = options;
  const groups = [...byGroup(observations).values()];
  if (groups.length < 2) return null;
  const sums = groups.map((values) => values.reduce((sum, value) => sum + value, 0));
  const counts = groups.map((values) => values.length);
  const random = new Random(`bootstrap/${seed}`);
  const means = Float64Array.from({ length: resamples }, () => {
    let [sum, count] = [0, 0];
    for (let i = 0; i < groups.length; i++) {
      const drawn = random.int(groups.length);
      sum += sums[drawn];
      count += counts[drawn];
    }
    return sum / count;
  });
  const tail = (1 - confidence) / 2;
  return [quantile(means, tail), quantile(means, 1 - tail)];
}

/** Mean, spread and number of observations, with the {@linkcode bootstrapInterval} of the mean. */
export function summarizeByPatient(observations: readonly Observation[]): Score {
  return {
    ...summarize(observations.map(({ value }) => value)),
    interval: bootstrapInterval(observations, { resamples: 2000 }),
  };
}
