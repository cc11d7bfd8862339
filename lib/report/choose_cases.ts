import { decodeRunLengths } from "../formats/run_length.ts";
import type { SliceSet } from "../data/slices.ts";
import { InputError } from "../errors.ts";
import { mean } from "../stats/summary.ts";
import { dice } from "../metrics/metrics.ts";
import type { Sheet, SheetCase } from "./contact_sheet.ts";
import { modelName } from "./format.ts";
import { showSlice } from "./shown_slice.ts";
import type { Study, StudyModel } from "../study/read_study.ts";

/** Models beside each other: vanilla and PEFT, then those of the highest Dice. */
const MODELS = 5;

/** Slices of each kind. */
const EACH = 2;

/** Scores are written to six decimals. */
const TOLERANCE = 2e-6;

/** True if two models were scored on the same slices, cut alike. */
function sameSlices(a: StudyModel, b: StudyModel): boolean {
  const key = ({ slices }: StudyModel) =>
    slices.map(({ id, tumourPixels }) => `${id} ${tumourPixels}`).sort().join();
  return key(a) === key(b);
}

/** The models that are shown, in the order of the table. */
function chooseModels({ models, table }: Study): StudyModel[] {
  const prompt = table.context.primaryPrompt;
  const rowOf = (name: string) => table.rows.find(({ model }) => model === name)!;
  const rank = ({ name }: StudyModel) => {
    const { kind, dice } = rowOf(name);
    return kind === "vanilla" ? 3 : kind === "peft" ? 2 : dice[prompt]?.mean ?? 0;
  };
  const kept = models.filter(({ masks, slices, wiseFt }) =>
    wiseFt === undefined && masks.size > 0 && slices.every(({ id }) => masks.has(id))
  );
  const alike = kept.filter((model) => sameSlices(model, kept[0]));
  const chosen = alike.toSorted((a, b) => rank(b) - rank(a)).slice(0, MODELS);
  return alike.filter((model) => chosen.includes(model));
}

/** Some items in the order given, of different patients as long as there are such. */
function ofDifferentPatients<T extends { patient: string }>(items: readonly T[]): T[] {
  const first = items.filter(({ patient }, i) =>
    items.findIndex((other) => other.patient === patient) === i
  );
  return [...first, ...items.filter((item) => !first.includes(item))].slice(0, EACH);
}

/**
 * Picks the slices of a contact sheet: best, median and worst by the mean Dice of the models shown.
 *
 * @returns null if the study kept no masks.
 * @throws {InputError} if these slices are not those that the study was scored on.
 */
export async function chooseCases(study: Study, slices: SliceSet): Promise<Sheet | null> {
  const models = chooseModels(study);
  if (models.length === 0) return null;
  const prompt = study.table.context.primaryPrompt;
  const scored = models.map((model) => new Map(model.slices.map((slice) => [slice.id, slice])));
  const diceOf = (model: number, id: string) => scored[model].get(id)!.scores[prompt].dice;
  const ranked = models[0].slices
    .map(({ id, patient }) => ({ id, patient, dice: mean(models.map((_, i) => diceOf(i, id))) }))
    .sort((a, b) => b.dice - a.dice || a.id.localeCompare(b.id));
  const middle = (ranked.length - 1) / 2;
  const fromMiddle = ranked
    .map((slice, i) => ({ ...slice, away: Math.abs(i - middle) }))
    .sort((a, b) => a.away - b.away);
  const kinds = [
    ["best", ofDifferentPatients(ranked)],
    ["median", ofDifferentPatients(fromMiddle)],
    ["worst", ofDifferentPatients(ranked.toReversed())],
  ] as const;
  const cases: SheetCase[] = [];
  const shown = new Set<string>();
  for (const [rank, chosen] of kinds) {
    for (const { id } of chosen) {
      if (shown.has(id)) continue;
      shown.add(id);
      const ref = slices.refs.find((ref) => ref.id === id);
      if (!ref) throw notThese(study, `they have no ${id}`);
      const { image, mask } = await slices.read(ref);
      const view = showSlice({ ...ref, image });
      const predictions = models.map((model, i) => {
        const { size: [height, width], counts, dice: own } = model.masks.get(id)!;
        if (height !== ref.height || width !== ref.width) {
          throw notThese(study, `${id} is ${ref.width} x ${ref.height}, not ${width} x ${height}`);
        }
        const predicted = decodeRunLengths({ size: [height, width], counts });
        const expected = own ?? diceOf(i, id);
        if (Math.abs(dice(predicted, mask) - expected) > TOLERANCE) {
          throw notThese(study, `${id} has another truth`);
        }
        return { name: modelName(model.name), mask: view.showMask(predicted), dice: expected };
      });
      const { caseId, index } = ref;
      const name = `${caseId.replace(/^.*?-(?=\d)/, "")}, slice ${index}`;
      cases.push({ ...view, rank, name, truth: view.showMask(mask), predictions });
    }
  }
  return { models: models.map(({ name }) => modelName(name)), cases };
}

function notThese({ folder }: Study, reason: string): InputError {
  return new InputError(
    `these are not the slices that ${folder} was scored on (${reason}): name the study's own data set`,
  );
}
