import { InputError } from "../errors.ts";
import { Random } from "../random.ts";

/** Shares of the patients. */
export interface SplitFractions {
  /** For training. */
  train: number;
  /** For choosing the best epoch. */
  validation: number;
  /** For the reported scores. */
  test: number;
}

/** A patient-level split, as it is written down with a run. */
export interface Split {
  /** The seed it was drawn with. */
  readonly seed: number | string;
  /** Patients to train on, sorted. */
  readonly train: readonly string[];
  /** Patients to choose the best epoch on, sorted; empty if there were too few patients. */
  readonly validation: readonly string[];
  /** Patients to report on, sorted. */
  readonly test: readonly string[];
  /**
   * True with two patients only: validation then takes slices of the training patient, held out from
   * training. Test patients are never shared.
   */
  readonly validationSharesTrainingPatients: boolean;
}

/** Options of {@linkcode splitPatients}. */
export interface SplitPatientsOptions {
  /** Equal seeds give equal splits of equal patients, in whatever order these are listed. */
  seed: number | string;
  /** Default 0.7, 0.1 and 0.2. */
  fractions?: SplitFractions;
}

/** The shares used unless others are given. */
export const DEFAULT_FRACTIONS: Readonly<SplitFractions> = {
  train: 0.7,
  validation: 0.1,
  test: 0.2,
};

/**
 * Splits patients for training, validation and test. Validation and test get their share rounded to
 * the nearest whole number but at least one patient each, training the rest, at least one (taken
 * from the larger of the others). With two patients validation has none of its own: see
 * {@linkcode Split.validationSharesTrainingPatients}.
 *
 * @param patients Patients, repeated or not.
 * @throws {InputError} if there are fewer than two patients, or a fraction is not above 0, or the
 * fractions do not sum to 1.
 */
export function splitPatients(patients: Iterable<string>, options: SplitPatientsOptions): Split {
  const { seed, fractions = DEFAULT_FRACTIONS } = options;
  const shares = [fractions.train, fractions.validation, fractions.test];
  if (shares.some((f) => !(f > 0)) || Math.abs(shares[0] + shares[1] + shares[2] - 1) > 1e-6) {
    throw new InputError(
      `the split fractions ${shares.join(", ")} must be above 0 and sum to 1: for example ` +
        `0.7, 0.1, 0.2`,
    );
  }
  const unique = [...new Set(patients)].sort();
  const n = unique.length;
  if (n < 2) {
    throw new InputError(
      `a split needs 2 patients or more and the data has ${n}: add cases of other patients`,
    );
  }
  const shuffled = new Random(seed).fork("split").shuffle(unique);
  let validation = n === 2 ? 0 : Math.max(1, Math.round(fractions.validation * n));
  let test = Math.max(1, Math.round(fractions.test * n));
  while (validation + test > n - 1) {
    if (test >= validation && test > 1) test--;
    else validation--;
  }
  return {
    seed,
    train: shuffled.slice(validation + test).sort(),
    validation: shuffled.slice(test, test + validation).sort(),
    test: shuffled.slice(0, test).sort(),
    validationSharesTrainingPatients: validation === 0,
  };
}

/** Options of {@linkcode foldPatients}. */
export interface FoldPatientsOptions {
  /** Equal seeds give equal folds of equal patients, in whatever order these are listed. */
  seed: number | string;
  /** Number of folds. */
  folds: number;
  /** The fold that is tested, counted from 1. */
  fold: number;
  /** Share of all patients to validate on; default a tenth. */
  validation?: number;
}

/**
 * The split of one fold of a cross-validation by patient: over all folds each patient is tested exactly
 * once. Validation takes its share of all patients, at least one, from those tested in the next fold
 * first; the others are trained on.
 *
 * @param patients Patients, repeated or not.
 * @throws {InputError} if there are fewer than two folds, more folds than patients, or no such fold.
 */
export function foldPatients(patients: Iterable<string>, options: FoldPatientsOptions): Split {
  const { seed, folds, fold } = options;
  const unique = [...new Set(patients)].sort();
  if (!(Number.isInteger(folds) && folds >= 2 && folds <= unique.length)) {
    throw new InputError(
      `${folds} folds are not possible with ${unique.length} patients: give 2 to ${unique.length}`,
    );
  }
  if (!(Number.isInteger(fold) && fold >= 1 && fold <= folds)) {
    throw new InputError(`there is no fold ${fold}: folds are counted from 1 to ${folds}`);
  }
  const shuffled = new Random(seed).fork("folds").shuffle(unique);
  const inFold = (which: number) => shuffled.filter((_, i) => i % folds === which % folds);
  // The fold after the tested one first, and so on.
  const rest = Array.from({ length: folds - 1 }, (_, i) => inFold(fold + i)).flat();
  const share = options.validation ?? DEFAULT_FRACTIONS.validation;
  const wanted = Math.max(1, Math.round(share * unique.length));
  const validation = Math.min(wanted, rest.length - 1);
  return {
    seed,
    train: rest.slice(validation).sort(),
    validation: rest.slice(0, validation).sort(),
    test: inFold(fold - 1).sort(),
    validationSharesTrainingPatients: validation === 0,
  };
}

/** A split's parts, as items (slices, cases) of its patients. */
export interface Partition<T> {
  /** Items to train on. */
  train: T[];
  /** Items to choose the best epoch on. */
  validation: T[];
  /** Items to report on. */
  test: T[];
}

/**
 * Sorts items into the parts that their patients are in, keeping their order. Items of patients that
 * the split does not know are left out. If validation shares the training patients, it gets the
 * last eighth of their items (at least one), which for slices is one end of the tumour, so that few
 * held-out slices have a neighbour in training.
 *
 * @throws {InputError} if a part would have no item.
 */
export function partition<T extends { readonly patient: string }>(
  items: readonly T[],
  split: Split,
): Partition<T> {
  const of = (patients: readonly string[]) => {
    const wanted = new Set(patients);
    return items.filter((item) => wanted.has(item.patient));
  };
  let train = of(split.train);
  let validation = of(split.validation);
  const test = of(split.test);
  if (split.validationSharesTrainingPatients) {
    const kept = train.length - Math.max(1, Math.round(train.length / 8));
    validation = train.slice(kept);
    train = train.slice(0, kept);
  }
  for (const [name, part] of Object.entries({ train, validation, test })) {
    if (part.length === 0) {
      throw new InputError(
        `the ${name} part of the split has no slices: add cases, or ask for fewer tumour voxels`,
      );
    }
  }
  return { train, validation, test };
}

/** The patients that are in more than one part, sorted; an honest split has none. */
export function overlap(split: Pick<Split, "train" | "validation" | "test">): string[] {
  const parts = [split.train, split.validation, split.test].map((part) => new Set(part));
  const all = new Set([...parts[0], ...parts[1], ...parts[2]]);
  return [...all].filter((p) => parts.filter((part) => part.has(p)).length > 1).sort();
}
