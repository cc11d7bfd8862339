/**
 * The abstract: results in a few sentences.
 *
 * @module
 */
import type { ComparedRow } from "../../study/results.ts";
import type { Text } from "../document.ts";
import { intervalText, meanText, plural, promptName, signed } from "../format.ts";
import { ALPHA, smallestP, type Subject, type Tested } from "./subject.ts";

/** Size of the test, the best model, what sees no image, and the best without a prompt. */
export function abstractOf(subject: Subject): Text[] {
  const { models, context } = subject;
  const scored =
    `${plural(models.length, "model")} ${models.length === 1 ? "was" : "were"} scored on ` +
    `${plural(subject.scored.slices, "slice")} of ${plural(subject.scored.patients, "patient")}${
      context.pooled
        ? `, each tested by a model that had not been trained on it.`
        : ` on which none of them was trained or selected.`
    }`;
  const sentences = [
    scored,
    ...bestText(subject),
    ...imagelessText(subject),
    ...unpromptedText(subject),
  ];
  return [sentences.join(" ")];
}

/** Rows with Dice under a prompt, the highest first. */
function ranked(rows: readonly ComparedRow[], prompt: string): ComparedRow[] {
  return rows.filter(({ dice }) => dice[prompt])
    .toSorted((a, b) => b.dice[prompt].mean - a.dice[prompt].mean);
}

/** The unadapted model, the best of the trained ones, and the test of their difference. */
function bestText(subject: Subject): string[] {
  const { primary, context } = subject;
  const described = ({ dice: { [primary]: score } }: ComparedRow) =>
    `${meanText(score)} %` +
    (score.interval ? ` (95 % interval ${intervalText(score)})` : "");
  // A row drawn back by WiSE-FT is another model: it is not ranked among those without.
  const rows = ranked(subject.modelRows.filter(({ wiseFt }) => wiseFt === undefined), primary);
  const vanilla = rows.find(({ kind }) => kind === "vanilla");
  const first = rows.find(({ kind }) => kind !== "vanilla");
  const prompt = `Under the ${promptName(primary)} prompt`;
  if (!vanilla) {
    return first ? [`${prompt} ${first.model} reached a mean Dice of ${described(first)}.`] : [];
  }
  const tested = first?.tests?.vanilla;
  return [
    `${prompt} the unadapted ${context.baseModel} reached a mean Dice of ${described(vanilla)}${
      first
        ? `; of the trained models${
          subject.hasWiseFt ? " without WiSE-FT" : ""
        } ${first.model} was highest with ${described(first)}.`
        : "."
    }`,
    ...(tested ? [testedText(tested)] : []),
  ];
}

function testedText({ difference, pHolm, patients }: Tested): string {
  const significant = pHolm <= ALPHA;
  const p = pHolm < 0.001 ? "< 0.001" : `= ${pHolm.toFixed(3)}`;
  const few = !significant && smallestP(patients) > ALPHA
    ? ", so few that no difference could be"
    : "";
  return `The difference of ${signed(100 * difference)} percentage points is ${
    significant ? "" : "not "
  }statistically significant (Holm-adjusted p ${p}, ${plural(patients, "patient")}${few}).`;
}

/** The best predictor that sees no image, and the models below it. */
function imagelessText({ primary, modelRows, trivialRows }: Subject): string[] {
  const [simple] = ranked(trivialRows, primary);
  const rows = ranked(modelRows, primary);
  if (!simple || rows.length === 0) return [];
  const above = rows.filter(({ dice }) => dice[primary].mean > simple.dice[primary].mean).length;
  const place = above === rows.length
    ? `, below every model.`
    : above === 0
    ? `, which no model exceeds: this prompt gives most of the answer away.`
    : `, which ${above} of ${plural(rows.length, "model")} exceed.`;
  return [
    `A predictor that sees no image (${simple.model.toLowerCase()}) scores ${
      meanText(simple.dice[primary])
    } % under that prompt${place}`,
  ];
}

/** The best model without a prompt. */
function unpromptedText({ modelRows, trivialRows }: Subject): string[] {
  const plain = modelRows.filter(({ wiseFt }) => wiseFt === undefined);
  const [top] = ranked(plain, "whole-image");
  if (!top) return [];
  const ones = trivialRows.find(({ model }) => model === "All ones")?.dice["whole-image"];
  return [
    `Without a prompt (the whole image as the box) the highest mean Dice${
      plain.length < modelRows.length ? " without WiSE-FT" : ""
    } was ${meanText(top.dice["whole-image"])} % by ${top.model}${
      ones ? `, where a mask of ones has ${meanText(ones)} %` : ""
    }.`,
  ];
}
