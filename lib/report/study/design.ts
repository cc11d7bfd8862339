/**
 * Differences between the models: ranks, places, and hypotheses about them.
 *
 * @module
 */
import type { Block } from "../document.ts";
import { rankFigure, type RankSeries } from "../figures.ts";
import { meanText, plural, promptName } from "../format.ts";
import { verdictTable } from "../verdict_table.ts";
import { placementMap, type PlacementRow } from "../placement_map.ts";
import type { StudyModel } from "../../study/read_study.ts";
import { configFields, methodLabel, type Subject, valueText } from "./subject.ts";

/** Dice against rank, where models differ in nothing else. */
export function rankSection(subject: Subject): Block[] {
  const adapted = subject.models.filter(({ rank, wiseFt }) =>
    rank !== undefined && wiseFt === undefined
  );
  const { varying } = configFields(adapted);
  const settings = (model: StudyModel) =>
    varying.map((field) => `${field} ${valueText(model.config[field])}`).join("; ");
  const groups = [...Map.groupBy(adapted, settings)]
    .map(([name, models]) => ({ name, models: models.toSorted((a, b) => a.rank! - b.rank!) }))
    // A series has one model a rank: others differ in more than their values say.
    .filter(({ models }) =>
      models.length > 1 && new Set(models.map(({ rank }) => rank)).size === models.length
    );
  if (groups.length === 0) return [];
  const diceOf = (name: string) => subject.rows.find(({ model }) => model === name)!.dice;
  const { headlines } = subject;
  const series = groups.map(({ name, models }): RankSeries => ({
    name: name || (/^(\w+)-\d+$/.exec(models[0].name)?.[1] ?? methodLabel(models[0])),
    ranks: models.map(({ rank }) => rank!),
    scores: headlines.map((prompt) => models.map((model) => diceOf(model.name)[prompt])),
  }));
  const rules = ["vanilla", "peft"].flatMap((kind) => {
    const name = subject.nameOfKind(kind);
    return name ? [{ name, scores: headlines.map((prompt) => diceOf(name)[prompt]) }] : [];
  });
  return [{ kind: "heading", level: 2, text: "Rank" }, {
    kind: "figure",
    name: "dice_by_rank",
    alt: "Mean Dice against the rank of the adapters, under each of the main prompts",
    caption:
      `Dice against the rank of the adapters, one panel a prompt, each on its own scale: means over patients${
        subject.hasIntervals ? " and their 95 % intervals" : ""
      }; ` +
      `grey: the means of the models without adapters. Alpha is ${
        [...new Set(adapted.map(({ config }) => valueText(config.alpha)))].join(", ")
      }: updates are scaled by alpha / rank, with rsLoRA by alpha / √rank.`,
    draw: (palette) => rankFigure({ series, panels: headlines.map(promptName), rules }, palette),
  }];
}

/** Map of the parts that each model trained. */
export function placementSection(subject: Subject): Block[] {
  const trained = subject.models.filter(({ placement, trainableParameters }) =>
    placement && trainableParameters > 0
  );
  if (trained.length === 0) return [];
  const key = ({ placement }: StudyModel) =>
    JSON.stringify(
      placement!.map(({ part, trained, adapters }) => [part, trained > 0, Object.keys(adapters)]),
    );
  const prompts = subject.headlines;
  const rows = trained.map((model): PlacementRow & { key: string } => {
    const { dice } = subject.rows.find(({ model: name }) => name === model.name)!;
    return {
      key: key(model),
      name: model.name,
      parts: model.placement!,
      figures: prompts.map((prompt) => meanText(dice[prompt])),
    };
  });
  const places = new Set(rows.map(({ key }) => key)).size;
  return [{ kind: "heading", level: 2, text: "Placement" }, {
    kind: "figure",
    name: "placement",
    alt: "Which blocks of the image encoder and the mask decoder each model trained",
    caption:
      `What each model trained: blocks of the image encoder from first to last and the mask decoder. Filled: ` +
      `adapters on layers of the block, a line for each kind of layer; hatched: trained as a whole; empty: ` +
      `frozen. ${plural(places, "placement")} in ${
        plural(rows.length, "model")
      }. Right: mean Dice (%) by prompt.`,
    draw: (palette) => placementMap({ rows, figures: prompts.map(promptName) }, palette),
  }];
}

/** The hypotheses and their verdicts. */
export function verdictSection({ study: { table: { verdicts } } }: Subject): Block[] {
  if (verdicts.length === 0) return [];
  const tally = (["supported", "refuted", "undecided"] as const)
    .map((verdict) => `${verdicts.filter((one) => one.verdict === verdict).length} ${verdict}`);
  return [{ kind: "heading", level: 2, text: "Hypotheses" }, {
    kind: "table",
    caption:
      `Hypotheses, each written into its experiment before it ran, and what the test slices say: ${
        tally.join(", ")
      }. Differences (in percentage points, or in the metric's unit) are means over patients ` +
      `of what is paired by slice, with their 95 % intervals; p: Wilcoxon signed-rank test of the same patients' ` +
      `differences against the margin in brackets (0 if none), Holm-adjusted over all hypotheses. Without an ` +
      `interval nothing is decided.`,
    words: 4,
    ...verdictTable(verdicts),
  }];
}
