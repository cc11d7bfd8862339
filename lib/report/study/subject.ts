/**
 * The study as the sections of its report read it, and the cells that they share.
 *
 * @module
 */
import { methodOf } from "../../adapters/methods.ts";
import type { Score } from "../../stats/summary.ts";
import type { Cell } from "../document.ts";
import { absent, intervalText, meanText, modelName, plural, signed } from "../format.ts";
import type { Study, StudyModel } from "../../study/read_study.ts";
import type { ComparedRow, ComparisonFamily } from "../../study/results.ts";

/** The prompts that the text and the first figures are about, where they were scored. */
const HEADLINES = ["tight-box", "jittered-box", "point", "whole-image"];

/** The p at or below which a difference counts. */
export const ALPHA = 0.05;

/** The smallest p that the two-sided signed-rank test can give on so many patients. */
export function smallestP(patients: number): number {
  return patients > 0 ? 2 ** (1 - patients) : 1;
}

/** Tested difference of a model from one of the references. */
export type Tested = ComparisonFamily["comparisons"][number];

/** A study for its report, its models by the names that readers see. */
export class Subject {
  /** All that its folder holds. */
  readonly study: Study;
  /** Trained and scored models, in the order of the table. */
  readonly models: readonly StudyModel[];
  /** Rows of the table, those of predictors that see no image among them. */
  readonly rows: readonly ComparedRow[];
  /** Prompts that any row was scored under. */
  readonly prompts: readonly string[];
  /** Prompt of the comparison. */
  readonly primary: string;

  /** Takes a study as it is read. */
  constructor(study: Study) {
    this.study = study;
    this.models = study.models.map((model) => ({ ...model, name: modelName(model.name) }));
    const { rows, context } = study.table;
    this.rows = rows.map((row) => ({ ...row, model: modelName(row.model) }));
    this.primary = context.primaryPrompt;
    this.prompts = [...new Set(rows.flatMap(({ dice }) => Object.keys(dice)))];
  }

  /** Settings that all rows share. */
  get context() {
    return this.study.table.context;
  }

  /** Size of the part that scores come from. */
  get scored() {
    return this.context.splits[this.context.scoredOn];
  }

  /** "48 slices of 12 patients": what scores come from. */
  get scoredText(): string {
    return `${plural(this.scored.slices, "slice")} of ${plural(this.scored.patients, "patient")}`;
  }

  /** True if differences between models were tested. */
  get hasTests(): boolean {
    return this.study.table.statistics.length > 0;
  }

  /** The prompts of {@link HEADLINES} that were scored. */
  get headlines(): string[] {
    return HEADLINES.filter((prompt) => this.prompts.includes(prompt));
  }

  /** Rows of models. */
  get modelRows(): ComparedRow[] {
    return this.rows.filter(({ kind }) => kind !== "trivial");
  }

  /** Rows of predictors that see no image. */
  get trivialRows(): ComparedRow[] {
    return this.rows.filter(({ kind }) => kind === "trivial");
  }

  /** Name of the first row of a kind. */
  nameOfKind(kind: string): string | undefined {
    return this.rows.find((row) => row.kind === kind)?.model;
  }

  /** Test of a model against a reference under one prompt by one metric, if there was one. */
  tested(
    model: string,
    reference: string | undefined,
    prompt: string,
    metric = "dice",
  ): Tested | undefined {
    return this.study.table.statistics.find((one) => one.prompt === prompt && one.metric === metric)
      ?.comparisons.find((one) =>
        modelName(one.model) === model && modelName(one.reference) === reference
      );
  }

  /** True if means have intervals; with one patient they have none. */
  get hasIntervals(): boolean {
    return this.rows.some(({ dice }) => dice[this.primary]?.interval);
  }

  /** The number of patients that tests were made on. */
  get testedPatients(): number {
    return Math.max(
      0,
      ...this.study.table.statistics.flatMap(({ comparisons }) =>
        comparisons.map(({ patients }) => patients)
      ),
    );
  }
}

/** Name of the method of a model's adapters, such as "LoRA". */
export function methodLabel({ config: { peftType = "lora" } }: StudyModel): string {
  return methodOf(String(peftType)).label;
}

/** A difference with its interval below it. */
export function differenceCell(tested: Tested | undefined, fallback?: number): Cell {
  if (!tested) return signed(fallback === undefined ? undefined : 100 * fallback);
  return {
    text: signed(100 * tested.difference),
    sub: tested.interval
      ? tested.interval.map((bound) => signed(100 * bound)).join(" to ")
      : undefined,
  };
}

/** A mean with its interval below it. */
export function scoreCell(
  score: Score | undefined,
  { scale = 100, digits = 1, strong = false } = {},
): Cell {
  return {
    text: meanText(score, scale, digits),
    sub: score?.interval ? intervalText(score, scale, digits).replace(" to ", "–") : undefined,
    strong,
  };
}

/** "above Vanilla and PEFT", from adjusted p values. */
export function standing(tests: readonly { name: string; tested?: Tested }[]): string {
  const clear = tests.flatMap(({ name, tested }) =>
    tested && tested.pHolm <= ALPHA ? [{ name, above: tested.difference > 0 }] : []
  );
  const side = (above: boolean) =>
    clear.filter((one) => one.above === above).map(({ name }) => name).join(" and ");
  const [above, below] = [side(true), side(false)];
  const parts = [above && `above ${above}`, below && `below ${below}`].filter(Boolean);
  if (parts.length > 0) return parts.join(", ");
  return tests.some(({ tested }) => tested) ? "no difference shown" : absent;
}

/** The best of some means. */
export function best(scores: readonly (Score | undefined)[], lower = false): number {
  const means = scores.flatMap((score) => score ? [score.mean] : []);
  return lower ? Math.min(...means) : Math.max(...means);
}

/** True if a mean is the best of some, as far as its text shows. */
export function isBest(
  score: Score | undefined,
  all: readonly (Score | undefined)[],
  { scale = 100, digits = 1, lower = false } = {},
): boolean {
  return score !== undefined && all.length > 1 &&
    (scale * score.mean).toFixed(digits) === (scale * best(all, lower)).toFixed(digits);
}

/** Values of a config, as text. */
export function valueText(value: unknown): string {
  if (value === null || value === undefined) return absent;
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(valueText).join(", ");
  if (typeof value === "object") {
    return Object.entries(value).map(([key, inner]) => `${key} ${valueText(inner)}`).join(", ");
  }
  return String(value);
}

/** The fields of the models' configs, apart by whether all models share the value. */
export function configFields(
  models: readonly StudyModel[],
): { shared: string[]; varying: string[] } {
  const fields = [...new Set(models.flatMap(({ config }) => Object.keys(config)))];
  const isShared = (field: string) =>
    new Set(models.map(({ config }) => JSON.stringify(config[field] ?? null))).size === 1;
  return {
    shared: fields.filter(isShared),
    varying: fields.filter((field) => !isShared(field)),
  };
}
