import { bootstrapInterval, type BootstrapOptions } from "./bootstrap.ts";
import { holm } from "./holm.ts";
import { groupMeans, mean, type Observation } from "./summary.ts";
import { type WilcoxonResult, wilcoxonSignedRank } from "./wilcoxon.ts";

/** Difference of two models on the same observations, with patients as the units. */
export interface PairedTest extends WilcoxonResult {
  /** Mean over patients of own minus other; NaN if nothing is paired. */
  readonly difference: number;
  /** Interval of `difference` by `bootstrapInterval`; null where it has none. */
  readonly interval: readonly [low: number, high: number] | null;
  /** Patients whose mean differences were tested. */
  readonly patients: number;
  /** Observations of both models that were paired. */
  readonly paired: number;
}

/** A model against a reference, as one of a family of tests. */
export interface Comparison extends Omit<PairedTest, "paired"> {
  /** The model's name. */
  readonly model: string;
  /** The name of the model that it is compared with. */
  readonly reference: string;
  /** `p` after Holm's adjustment over the family: all comparisons made in one call. */
  readonly pHolm: number;
}

/** A model's observations by the id of what was observed, so that they can be paired. */
export type ModelObservations = ReadonlyMap<string, Observation>;

/**
 * Tests own minus other on every observation that both have. The units of mean, interval and Wilcoxon's test
 * alike are patients: the mean of a patient's paired differences.
 *
 * @param options.beyond Value tested for each patient's mean difference, such as its distance from a
 * margin; default the difference itself.
 */
export function pairedTest(
  own: ModelObservations,
  other: ModelObservations,
  options: BootstrapOptions & { beyond?: (difference: number) => number } = {},
): PairedTest {
  const { beyond = (difference: number) => difference, ...bootstrap } = options;
  const differences = own.entries().flatMap(([id, { group, value }]) => {
    const paired = other.get(id);
    return paired ? [{ group, value: value - paired.value }] : [];
  }).toArray();
  const patients = groupMeans(differences);
  return {
    difference: mean(patients),
    interval: bootstrapInterval(patients, bootstrap),
    patients: patients.length,
    paired: differences.length,
    ...wilcoxonSignedRank(patients.map(beyond)),
  };
}

/**
 * Compares models with their references, paired by observation, with patients as the units; p values are
 * adjusted for all comparisons together. Observations that only one of two models has are left out.
 *
 * @param models Observations by model.
 * @param options.references Names of the models that each model is compared with; those that have no
 * observation in common with it are skipped.
 */
export function compareModels(
  models: ReadonlyMap<string, ModelObservations>,
  options: BootstrapOptions & { references: ReadonlyMap<string, readonly string[]> },
): Comparison[] {
  const { references, ...bootstrap } = options;
  const found: Omit<Comparison, "pHolm">[] = [];
  for (const [model, own] of models) {
    for (const reference of references.get(model) ?? []) {
      const { paired, ...test } = pairedTest(own, models.get(reference) ?? new Map(), bootstrap);
      if (paired > 0) found.push({ model, reference, ...test });
    }
  }
  const adjusted = holm(found.map(({ p }) => p));
  return found.map((comparison, i) => ({ ...comparison, pHolm: adjusted[i] }));
}
