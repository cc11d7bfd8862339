/**
 * Choices that a study has made: of what, among which candidates, and on whom.
 *
 * @module
 */
import { candidatesOf, scoresOf } from "../../study/choice.ts";
import { CHOSEN_FIELDS } from "../../study/schema.ts";
import type { Block, Cell } from "../document.ts";
import { plural } from "../format.ts";
import { CHOSEN_NAMES } from "../table.ts";
import type { Subject } from "./subject.ts";

/** Each choice with its candidates, their scores, and the patients that it was made on. */
export function choiceSection({ models, study }: Subject): Block[] {
  const rows = models.flatMap(({ name, choices }) =>
    choices.flatMap(({ part, choice: { values, tried, patients, slices, healthySlices } }) =>
      CHOSEN_FIELDS.filter((field) => candidatesOf(tried, field).length > 1).map((
        field,
      ): Cell[] => [
        name,
        CHOSEN_NAMES[field],
        { text: String(values[field]), strong: true },
        [...scoresOf(tried, field)].map(([value, score]) => `${value}: ${score.toFixed(3)}`)
          .join("; "),
        `${plural(patients, "validation patient")}${part ? ` of ${part}` : ""}, ${
          plural(slices, "slice")
        }${healthySlices > 0 ? ` and ${healthySlices} tumour-free` : ""}`,
      ])
    )
  );
  if (rows.length === 0) return [];
  const hasHealthy = models.some(({ choices }) =>
    choices.some(({ choice }) => choice.healthySlices > 0)
  );
  const seeds = new Set(models.flatMap(({ choices }) => choices.map(({ choice }) => choice.by)));
  return [{ kind: "heading", level: 2, text: "Choices" }, {
    kind: "table",
    caption:
      `Every choice that was made, its candidates, and on whom: never on a patient that the same ` +
      `model is tested on. The score is the mean of the Dice on the validation slices over tight box, box ` +
      `±20 %, point and whole image${
        hasHealthy
          ? ", and of the area under the ROC curve by which presence tells tumour-free slices apart"
          : ""
      }; of a field, that of its best combination with the others. A learning rate, with ` +
      `that of pretrained weights in the same proportion, and a number of epochs are chosen among trainings; WiSE-FT's share a draws trained weights back towards the pretrained ones, ` +
      `1 − a of the pretrained and a of the trained (Wortsman et al. 2022, “Robust fine-tuning of zero-shot ` +
      `models”).${
        study.parts.length > seeds.size && seeds.size > 0
          ? " The first training seed chooses; the others train what it has chosen."
          : ""
      }`,
    header: ["Model", "Choice", "Chosen", "Candidates and their scores", "Chosen on"],
    words: 5,
    rows,
  }];
}
