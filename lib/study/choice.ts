/**
 * Choice of a training's values among candidates, on validation patients. A learning rate, a number of epochs
 * and WiSE-FT's share may each be given as a list: every combination is tried, and the best is scored. The
 * first training seed chooses; the others train what it has chosen.
 *
 * @module
 */
import type { MadeChoice, Run } from "./results.ts";
import { type Choice, CHOSEN_FIELDS, type Config } from "./schema.ts";

/** Values that decide a training; shares of WiSE-FT are tried on its weights. */
export type TrainingChoice = Omit<Choice, "wiseFt">;

/** Candidate with its score on the validation slices. */
export type Tried = Choice & { readonly score: number };

/** Trainings among which one is chosen, those of the first rate before those of the next. */
export function trainingChoices({ learningRate, epochs }: Config): TrainingChoice[] {
  return learningRate.flatMap((rate) =>
    epochs.map((count) => ({ learningRate: rate, epochs: count }))
  );
}

/** Number of candidates: a single one is taken as it is. */
export function countCandidates(config: Config): number {
  return CHOSEN_FIELDS.reduce((product, name) => product * config[name].length, 1);
}

/**
 * The best of the candidates: that of the highest score, of those alike the one with the larger share of the
 * trained weights, and then the first.
 */
export function bestOf(tried: readonly Tried[]): Tried {
  return tried.toSorted((a, b) => b.score - a.score || b.wiseFt - a.wiseFt)[0];
}

/** Candidates of a field in the order in which they were tried. */
export function candidatesOf(tried: readonly Tried[], field: keyof Choice): number[] {
  return [...new Set(tried.map((one) => one[field]))];
}

/** The candidates' scores of a field, each the best over the values of the others. */
export function scoresOf(tried: readonly Tried[], field: keyof Choice): Map<number, number> {
  return new Map(
    candidatesOf(tried, field).map((value) => {
      const own = tried.filter((one) => one[field] === value);
      return [value, Math.max(...own.map(({ score }) => score))];
    }),
  );
}

/** Choice that a run was trained by; null if its values were given. Earlier versions chose shares alone. */
export function choiceOf({ summary, config, part, data }: Run): MadeChoice | null {
  if (summary?.choice) return summary.choice;
  const wiseFt = summary?.wiseFt;
  if (!wiseFt?.tried.length) return null;
  const training = {
    learningRate: Number(config.learningRate),
    epochs: Number(config.epochs),
  };
  return {
    values: { ...training, wiseFt: wiseFt.share },
    tried: wiseFt.tried.map(({ share, dice }) => ({ ...training, wiseFt: share, score: dice })),
    by: part,
    ...data.validation,
    healthySlices: 0,
  };
}
