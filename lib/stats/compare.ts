import { bootstrapInterval, type BootstrapOptions } from "./bootstrap.ts";
import { holm } from "./holm.ts";
import { byGroup, mean, type Observation } from "./summary.ts";
import { type WilcoxonResult, wilcoxonSignedRank } from "./wilcoxon.ts";

/** Difference of two models on the same observations, with patients as the units. */
export interface PairedTest extends WilcoxonResult {
  /** Mean over the paired observations (slices) of own minus other; NaN if there are none. */
  readonly difference: number;
  /** Bootstrap interval of `difference`, patients resampled; null with fewer than two. */
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
 * Tests own minus other on every observation that both have: the units of Wilcoxon's test are patients
 * (the mean of a patient's slices).
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
  const patients = [...byGroup(differences).values()].map(mean);
  return {
    difference: mean(differences.map(({ value }) => value)),
    interval: bootstrapInterval(differences, bootstrap),
    patients: patients.length,
    paired: differences.length,
    ...wilcoxonSignedRank(patients.map(beyond)),
  };
}

/**
 * Compares every model with every reference, paired by observation: the test's units are
 * patients (the mean of a patient's slices), its p values are adjusted for all comparisons together.
 * Observations that only one of two models has are left out. Two references are compared once: the
 * later with the earlier.
 *
 * @param models Observations by model.
 * @param options.references Names of the models to compare with; those that are not there are skipped.
 */
export function compareModels(
  models: ReadonlyMap<string, ModelObservations>,
  options: BootstrapOptions & { references: readonly string[] },
): Comparison[] {
  const { references, ...bootstrap } = options;
  const found: Omit<Comparison, "pHolm">[] = [];
  for (const [rank, reference] of references.entries()) {
    const others = models.get(reference);
    if (!others) continue;
    for (const [model, own] of models) {
      if (references.slice(0, rank + 1).includes(model)) continue;
      const { paired, ...test } = pairedTest(own, others, bootstrap);
      if (paired > 0) found.push({ model, reference, ...test });
    }
  }
  const adjusted = holm(found.map(({ p }) => p));
  return found.map((comparison, i) => ({ ...comparison, pHolm: adjusted[i] }));
}
