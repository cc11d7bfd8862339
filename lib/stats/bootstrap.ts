import { Random } from "../random.ts";
import { groupMeans, mean, type Observation, type Score, summarize } from "./summary.ts";

/** Options of {@linkcode bootstrapInterval}. */
export interface BootstrapOptions {
  /** Decides the resamples; default 0. */
  readonly seed?: number | string;
  /** Number of resamples; default 1999, of which the 100th from above is the 95 % quantile. */
  readonly resamples?: number;
  /** Chance with which the interval is meant to hold the mean; default 0.95. */
  readonly confidence?: number;
  /** Limits within which a mean can lie at all, such as 0 and 1 of Dice; default none. */
  readonly bounds?: readonly [low: number, high: number];
}

/** With fewer patients no interval of a mean is given: none covers what it claims to. */
export const FEWEST_PATIENTS = 10;

/**
 * The symmetric studentised bootstrap's interval of a mean: values are drawn with replacement, and the
 * quantile of the resamples' distances from the mean, each in units of its own standard error, takes the
 * place of Student's t. Ends beyond `bounds` are moved to them.
 *
 * Chosen by simulation, since scores of few patients are skewed. Coverage in per cent, of 95 intended, of the
 * mean of 10, 20, 25 and 52 patients (2000 samples each, as in `tests/stats/coverage.test.ts`), beside that
 * of the percentile bootstrap:
 *
 * | distribution                                |   10 |   20 |   25 |   52 | percentiles            |
 * | ------------------------------------------- | ---: | ---: | ---: | ---: | ---------------------- |
 * | normal                                      | 95.8 | 95.2 | 95.0 | 94.9 | 90.0, 92.6, 92.6, 93.6 |
 * | Beta(12, 1)                                 | 93.6 | 94.3 | 94.5 | 95.0 | 87.0, 89.9, 91.1, 93.7 |
 * | exponential                                 | 93.1 | 93.6 | 94.3 | 95.9 | 86.9, 90.0, 91.6, 93.8 |
 * | Dice of 52 patients, LoRA-16, tight box     | 89.9 | 90.7 | 92.0 | 94.5 | 79.4, 86.1, 88.7, 91.8 |
 * | Dice of 52 patients, PEFT, point            | 85.0 | 93.9 | 95.1 | 96.0 | 79.6, 90.6, 91.4, 93.6 |
 * | differences of 52 patients, LoRA-16 − PEFT  | 98.4 | 97.6 | 97.6 | 95.8 | 86.9, 86.9, 87.9, 92.8 |
 *
 * BCa covers 77 to 94 % at ten patients; the studentised bootstrap with equal tails one to three points more
 * of skewed scores, but 84 to 90 % of differences with heavy tails.
 *
 * Source: Hall 1988, "On Symmetric Bootstrap Confidence Intervals"; Davison and Hinkley 1997, "Bootstrap
 * Methods and their Application", section 5.2.
 *
 * @param values One for each independent unit: a patient, not a slice.
 * @returns [low, high]; null of fewer than {@linkcode FEWEST_PATIENTS} values, and of values that are all
 * alike or so few of which differ that resamples without any spread decide.
 */
export function bootstrapInterval(
  values: readonly number[],
  options: BootstrapOptions = {},
): [low: number, high: number] | null {
  const { seed = 0, resamples = 1999, confidence = 0.95, bounds = [-Infinity, Infinity] } = options;
  const { length } = values;
  if (length < FEWEST_PATIENTS || values.every((value) => value === values[0])) return null;
  const centre = mean(values);
  const deviations = Float64Array.from(values, (value) => value - centre);
  const drawn = drawResamples(length, { resamples, seed });
  const distances = new Float64Array(resamples);
  for (let i = 0; i < resamples; i++) distances[i] = studentised(deviations, drawn, i * length);
  distances.sort();
  const squares = deviations.reduce((sum, value) => sum + value ** 2, 0);
  const rank = Math.min(resamples, Math.round((resamples + 1) * confidence));
  const reach = distances[rank - 1] * Math.sqrt(squares / (length - 1) / length);
  if (!Number.isFinite(reach)) return null;
  return [Math.max(bounds[0], centre - reach), Math.min(bounds[1], centre + reach)];
}

/** Draws of the last call: a study's many means are over as many patients, by the same seed. */
let last: { readonly key: string; readonly drawn: Uint32Array } | null = null;

/** Places of the values of all resamples, one resample after another. */
function drawResamples(
  length: number,
  { resamples, seed }: { resamples: number; seed: number | string },
): Uint32Array {
  const key = JSON.stringify([length, resamples, seed]);
  if (last?.key !== key) {
    const random = new Random(`bootstrap/${seed}`);
    const drawn = new Uint32Array(resamples * length);
    for (let i = 0; i < drawn.length; i++) drawn[i] = random.int(length);
    last = { key, drawn };
  }
  return last.drawn;
}

/**
 * Distance of the mean of the resample whose draws begin at `first`, in units of its standard error; infinite
 * where all that was drawn is alike.
 */
function studentised(deviations: Float64Array, drawn: Uint32Array, first: number): number {
  const { length } = deviations;
  let [sum, squares] = [0, 0];
  for (let i = first; i < first + length; i++) {
    const value = deviations[drawn[i]];
    sum += value;
    squares += value * value;
  }
  const spread = squares - sum * sum / length;
  if (spread <= 1e-12 * squares) return sum === 0 ? 0 : Infinity;
  return Math.abs(sum) / Math.sqrt(length * spread / (length - 1));
}

/**
 * Mean, spread and number of patients, with the {@linkcode bootstrapInterval} of the mean: a patient's
 * score is the mean over what was observed of them.
 */
export function summarizeByPatient(
  observations: readonly Observation[],
  options: BootstrapOptions = {},
): Score {
  const patients = groupMeans(observations);
  return { ...summarize(patients), interval: bootstrapInterval(patients, options) };
}
