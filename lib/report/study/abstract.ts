/**
 * The abstract: what came out, in a few sentences.
 *
 * @module
 */
import type { Text } from "../document.ts";
import { intervalText, plural, promptName, signed } from "../format.ts";
import type { ComparedRow } from "../../study/results.ts";
import { ALPHA, smallestP, type Subject } from "./subject.ts";

/** Says in a few sentences on whom the models were scored, and what came out. */
export function abstractOf(subject: Subject): Text[] {
  const { context, primary, modelRows, trivialRows } = subject;
  const scored = context.splits[context.scoredOn];
  const value = (row: ComparedRow) => row.dice[primary];
  const described = (row: ComparedRow) => {
    const score = value(row);
    return `${(100 * score.mean).toFixed(1)} %` +
      (score.interval ? ` (95 % interval ${intervalText(score)})` : "");
  };
  const ranked = modelRows.filter(value).toSorted((a, b) => value(b).mean - value(a).mean);
  const vanilla = ranked.find(({ kind }) => kind === "vanilla");
  const [first] = ranked.filter(({ kind }) => kind !== "vanilla");
  const sentences: string[] = [
    `${plural(subject.models.length, "model")} ${
      subject.models.length === 1 ? "was" : "were"
    } scored on ${plural(scored.slices, "slice")} of ${plural(scored.patients, "patient")}` +
    (context.pooled
      ? `, each tested by a model that had not been trained on it.`
      : ` on which none of them was trained or selected.`),
  ];
  if (vanilla) {
    sentences.push(
      `Under the ${
        promptName(primary)
      } prompt the unadapted ${context.baseModel} reached a mean Dice of ${described(vanilla)}` +
        (first
          ? `; of the trained models ${first.model} was highest with ${described(first)}.`
          : "."),
    );
    const tested = first && subject.tested(first.model, vanilla.model, primary);
    if (tested) {
      sentences.push(
        `The difference of ${signed(100 * tested.difference)} percentage points ` +
          (tested.pHolm <= ALPHA
            ? `is statistically significant (Holm-adjusted p ${
              tested.pHolm < 0.001 ? "< 0.001" : `= ${tested.pHolm.toFixed(3)}`
            }, ${plural(tested.patients, "patient")}).`
            : `is not statistically significant (Holm-adjusted p = ${tested.pHolm.toFixed(3)}, ${
              plural(tested.patients, "patient")
            }${
              smallestP(tested.patients) > ALPHA ? ", so few that no difference could be" : ""
            }).`),
      );
    }
  } else if (first) {
    sentences.push(
      `Under the ${promptName(primary)} prompt ${first.model} reached a mean Dice of ${
        described(first)
      }.`,
    );
  }
  const simple = trivialRows.filter(value).toSorted((a, b) => value(b).mean - value(a).mean)[0];
  if (simple && ranked.length > 0) {
    const below = ranked.filter((row) => value(row).mean <= value(simple).mean).length;
    sentences.push(
      `A predictor that sees no image (${simple.model.toLowerCase()}) scores ${
        (100 * value(simple).mean).toFixed(1)
      } % under that prompt` +
        (below === 0
          ? `, below every model.`
          : below === ranked.length
          ? `, which no model exceeds: this prompt gives most of the answer away.`
          : `, which ${ranked.length - below} of ${plural(ranked.length, "model")} exceed.`),
    );
  }
  const blind = modelRows.filter((row) => row.dice["whole-image"]);
  if (blind.length > 0) {
    const ones = trivialRows.find(({ model }) => model === "All ones")?.dice["whole-image"];
    const top = blind.toSorted((a, b) =>
      b.dice["whole-image"].mean - a.dice["whole-image"].mean
    )[0];
    sentences.push(
      `Without a prompt (the whole image as the box) the highest mean Dice was ${
        (100 * top.dice["whole-image"].mean).toFixed(1)
      } % by ${top.model}${
        ones ? `, where a mask of ones has ${(100 * ones.mean).toFixed(1)} %` : ""
      }.`,
    );
  }
  return [sentences.join(" ")];
}
