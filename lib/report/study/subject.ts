/**
 * The study as the sections of its report read it, and the cells that they share.
 *
 * @module
 */
import { methodOf, PEFT_TYPES } from "../../adapters/methods.ts";
import { HEADLINE_PROMPTS } from "../../evaluate/scored_prompts.ts";
import type { Score } from "../../stats/summary.ts";
import { compareUnder } from "../../study/comparison.ts";
import type { Cell } from "../document.ts";
import {
  absent,
  intervalNote,
  intervalText,
  meanText,
  modelName,
  plural,
  signed,
} from "../format.ts";
import type { Study, StudyModel } from "../../study/read_study.ts";
import type { ComparedRow, RowTests } from "../../study/results.ts";

/** The p at or below which a difference counts. */
export const ALPHA = 0.05;

/** The smallest p that the two-sided signed-rank test can give on so many patients. */
export function smallestP(patients: number): number {
  return patients > 0 ? 2 ** (1 - patients) : 1;
}

/** Tested difference of a model from one of its references. */
export type Tested = NonNullable<RowTests["vanilla"]>;

/** A study for its report, its models by the names that readers see. */
export class Subject {
  /** All that its folder holds. */
  readonly study: Study;
  /** Trained and scored models, in the order of the table. */
  readonly models: readonly StudyModel[];
  /** Rows of the table, those of predictors that see no image among them. */
  readonly rows: readonly ComparedRow[];
  /** Prompts that any model was scored under. */
  readonly prompts: readonly string[];
  /** Prompt of the comparison. */
  readonly primary: string;

  /** Takes a study as it is read. */
  constructor(study: Study) {
    this.study = study;
    this.models = study.models.map((model) => ({ ...model, name: modelName(model.name) }));
    const { rows, context } = study.table;
    this.rows = rows.map(named);
    this.primary = context.primaryPrompt;
    this.prompts = [...new Set(this.modelRows.flatMap(({ dice }) => Object.keys(dice)))];
  }

  /** Settings that all rows share. */
  get context() {
    return this.study.table.context;
  }

  /** Size of the part that scores come from. */
  get scored() {
    return this.context.splits[this.context.scoredOn];
  }

  /** "12 patients, each of whom has the mean over their slices (48 in all)": what means are over. */
  get scoredText(): string {
    return `${
      plural(this.scored.patients, "patient")
    }, each of whom has the mean over their slices ` +
      `(${this.scored.slices} in all)`;
  }

  /** Sentence on the intervals, or on why there are none. */
  get intervalNote(): string {
    return intervalNote(this.scored.patients);
  }

  /** True if differences between models were tested. */
  get hasTests(): boolean {
    return this.study.table.statistics.length > 0;
  }

  /** Rows that were scored under a prompt, compared under it. */
  comparedUnder(prompt: string): ComparedRow[] {
    const rows = prompt === this.primary
      ? this.rows
      : compareUnder(this.study.table, prompt).rows.map(named);
    return rows.filter(({ dice }) => dice[prompt]);
  }

  /** The prompts that studies are about, as far as they were scored: text and first figures are of these. */
  get headlines(): string[] {
    return HEADLINE_PROMPTS.filter((prompt) => this.prompts.includes(prompt));
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

  /** True if some rows are others drawn back by WiSE-FT. */
  get hasWiseFt(): boolean {
    return this.rows.some(({ wiseFt }) => wiseFt !== undefined);
  }

  /** "the highest of the models", of which rows with WiSE-FT are apart. */
  get bestText(): string {
    return `the best of the models${
      this.hasWiseFt ? " with the same share of WiSE-FT or none" : ""
    }`;
  }

  /** Rows that a model may be ranked with: those treated alike by WiSE-FT, and vanilla. */
  alike(model: string): ComparedRow[] {
    const share = this.rows.find((row) => row.model === model)?.wiseFt;
    return this.modelRows.filter(({ kind, wiseFt }) => wiseFt === share || kind === "vanilla");
  }

  /** True if means have intervals; of few patients they have none. */
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

/** A row under the names that readers see. */
function named(row: ComparedRow): ComparedRow {
  const { vanilla, peft } = row.references;
  const references = { vanilla: vanilla && modelName(vanilla), peft: peft && modelName(peft) };
  return { ...row, model: modelName(row.model), references };
}

/** Name of the method of a model's adapters, such as "LoRA"; one that is not known is shown as it is. */
export function methodLabel({ config: { peftType = "lora" } }: StudyModel): string {
  const name = valueText(peftType);
  return PEFT_TYPES.includes(name) ? methodOf(name).label : name;
}

/** A tested difference with its interval below it, or one in percentage points that was not tested. */
export function differenceCell(tested: Tested | undefined, untested: number | null): Cell {
  if (!tested) return signed(untested);
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

/** True if test and interval agree that a difference is one, as hypotheses are judged too. */
function isClear({ pHolm, interval }: Tested): boolean {
  return pHolm <= ALPHA && interval !== null && interval[0] * interval[1] > 0;
}

/** "above Vanilla and PEFT", where an adjusted p says so and the whole interval lies on that side. */
export function standing(tests: readonly { name: string; tested?: Tested }[]): string {
  const clear = tests.flatMap(({ name, tested }) =>
    tested && isClear(tested) ? [{ name, above: tested.difference > 0 }] : []
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
    return Object.entries(value).map(([key, inner]) => `${key} ${valueText(inner)}`).join(", ") ||
      "none";
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
