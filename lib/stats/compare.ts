import { bootstrapInterval, type BootstrapOptions } from "./bootstrap.ts";
import { holm } from "./holm.ts";
import { byGroup, mean, type Observation } from "./summary.ts";
import { type WilcoxonResult, wilcoxonSignedRank } from "./wilcoxon.ts";

/** How one model differs from a reference on the same observations. */
export interface Comparison extends WilcoxonResult {
  /** The model's name. */
  readonly model: string;
  /** The name of the model that it is compared with. */
  readonly reference: string;
  /** Mean over the observations (slices) of model minus reference. */
  readonly difference: number;
  /** Bootstrap interval of `difference`, patients resampled; null with fewer than two. */
  readonly interval: readonly [low: number, high: number] | null;
  /** Patients whose mean differences were tested. */
  readonly patients: number;
  /** `p` after Holm's adjustment over the family: all comparisons made in one call. */
  readonly pHolm: number;
}

/** A model's observations by the id of what was observed, so that they can be paired. */
export type ModelObservations = ReadonlyMap<string, Observation>;

/** Own minus other of every observation that both have. */
export function pairedDifferences(own: ModelObservations, other: ModelObservations): Observation[] {
  const differences: Observation[] = [];
  for (const [id, { group, value }] of own) {
    const paired = other.get(id);
    if (paired) differences.push({ group, value: value - paired.value });
  }
  return differences;
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
      const differences = pairedDifferences(own, others);
      if (differences.length === 0) continue;
      const patients = [...byGroup(differences).values()].map(mean);
      found.push({
        model,
        reference,
        difference: mean(differences.map(({ value }) => value)),
        interval: bootstrapInterval(differences, bootstrap),
        patients: patients.length,
        ...wilcoxonSignedRank(patients),
      });
    }
  }
  const adjusted = holm(found.map(({ p }) => p));
  return found.map((comparison, i) => ({ ...comparison, pHolm: adjusted[i] }));
}
