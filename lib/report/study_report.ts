/**
 * The report of a study: what was compared, on whom, with what certainty, in tables and figures. Built as
 * one document of which the HTML page and its Markdown twin are made.
 *
 * @module
 */
import type { MaskMetric } from "../train/mask_score.ts";
import type { Score } from "../train/metrics.ts";
import { contactSheet, type SheetCase } from "./contact_sheet.ts";
import type { Block, Cell, Document, FigureBlock, Text } from "./document.ts";
import { dotsFigure, type Line, linesFigure, rankFigure, type RankSeries } from "./figures.ts";
import {
  absent,
  count,
  intervalText,
  meanText,
  mebibytes,
  percent,
  plural,
  probability,
  promptName,
  seconds,
  signed,
} from "./format.ts";
import { placementMap, type PlacementRow } from "./placement_map.ts";
import { lossCurves } from "./plots.ts";
import { rasterize } from "./rasterize.ts";
import type { Study, StudyModel, StudyRow } from "./study_files.ts";

/** The prompts that the text and the first figures are about, where they were scored. */
const HEADLINES = ["tight-box", "jittered-box", "point", "whole-image"];

/** Prompts that are boxes moved by so many per cent of their sides. */
const JITTER: readonly (readonly [percent: number, prompt: string])[] = [
  [0, "tight-box"],
  [5, "jittered-box-5"],
  [10, "jittered-box-10"],
  [20, "jittered-box"],
  [40, "jittered-box-40"],
];

/** Curves beside each other in one figure. */
const CURVES_IN_A_ROW = 4;

/** A difference at or below which p counts. */
const ALPHA = 0.05;

type Interval = readonly [low: number, high: number] | null;

/** What the tests say of a model against one of the references. */
interface Tested {
  readonly difference: number;
  readonly interval: Interval;
  readonly patients: number;
  readonly pHolm: number;
}

/** A study with what every section asks of it. */
class Subject {
  readonly study: Study;
  readonly models: readonly StudyModel[];
  readonly rows: readonly StudyRow[];
  readonly prompts: readonly string[];
  readonly primary: string;

  constructor(study: Study) {
    this.study = study;
    this.models = study.models;
    const { rows, context } = study.table;
    this.rows = rows;
    this.primary = context.primaryPrompt;
    this.prompts = [...new Set(rows.flatMap(({ dice }) => Object.keys(dice)))];
  }

  get context() {
    return this.study.table.context;
  }

  /** The prompts of {@link HEADLINES} that were scored. */
  get headlines(): string[] {
    return HEADLINES.filter((prompt) => this.prompts.includes(prompt));
  }

  /** Rows that are models, and those that know no image. */
  get modelRows(): StudyRow[] {
    return this.rows.filter(({ kind }) => kind !== "trivial");
  }

  get trivialRows(): StudyRow[] {
    return this.rows.filter(({ kind }) => kind === "trivial");
  }

  nameOfKind(kind: string): string | undefined {
    return this.rows.find((row) => row.kind === kind)?.model;
  }

  tested(
    model: string,
    reference: string | undefined,
    prompt: string,
    metric = "dice",
  ): Tested | undefined {
    return this.study.statistics.find((one) => one.prompt === prompt && one.metric === metric)
      ?.comparisons.find((one) => one.model === model && one.reference === reference);
  }

  /** The number of patients that tests were made on. */
  get testedPatients(): number {
    return Math.max(
      0,
      ...this.study.statistics.flatMap(({ comparisons }) =>
        comparisons.map(({ patients }) => patients)
      ),
    );
  }
}

/** A difference with its interval below it. */
function differenceCell(tested: Tested | undefined, fallback?: number): Cell {
  if (!tested) return signed(fallback === undefined ? undefined : 100 * fallback);
  return {
    text: signed(100 * tested.difference),
    sub: tested.interval
      ? tested.interval.map((bound) => signed(100 * bound)).join(" to ")
      : undefined,
  };
}

function scoreCell(
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
function standing(tests: readonly { name: string; tested?: Tested }[]): string {
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
function best(scores: readonly (Score | undefined)[], lower = false): number {
  const means = scores.flatMap((score) => score ? [score.mean] : []);
  return lower ? Math.min(...means) : Math.max(...means);
}

/** Whether a mean is the best of some, as far as its text shows. */
function isBest(
  score: Score | undefined,
  all: readonly (Score | undefined)[],
  { scale = 100, digits = 1, lower = false } = {},
): boolean {
  return score !== undefined && all.length > 1 &&
    (scale * score.mean).toFixed(digits) === (scale * best(all, lower)).toFixed(digits);
}

// ------------------------------------------------------------------------------------ sections

function abstractOf(subject: Subject): Text[] {
  const { context, primary, modelRows, trivialRows } = subject;
  const scored = context.splits[context.scoredOn];
  const value = (row: StudyRow) => row.dice[primary];
  const described = (row: StudyRow) => {
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
      : ` that none of them was trained or chosen on.`),
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
            ? `is more than chance (Holm-adjusted p ${
              tested.pHolm < 0.001 ? "< 0.001" : `= ${tested.pHolm.toFixed(3)}`
            }, ${plural(tested.patients, "patient")}).`
            : `could not be told from chance (Holm-adjusted p = ${tested.pHolm.toFixed(3)}, ${
              plural(tested.patients, "patient")
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
    const top = blind.toSorted((a, b) =>
      b.dice["whole-image"].mean - a.dice["whole-image"].mean
    )[0];
    sentences.push(
      `Without a prompt (the whole image as the box) the highest mean Dice was ${
        (100 * top.dice["whole-image"].mean).toFixed(1)
      } %` + (top.dice["whole-image"].mean > 0.005
        ? ` (${top.model}).`
        : `: no model finds the tumour unasked.`),
    );
  }
  const notes: Text[] = context.simulated
    ? [[
      { strong: "Simulated tumours. " },
      "The anatomy is real, the tumours are not: these figures show that the method runs, and say nothing about patients.",
    ]]
    : [];
  return [...notes, sentences.join(" ")];
}

function comparisonSection(subject: Subject): Block[] {
  const { primary, context, rows, headlines } = subject;
  const references = [
    { kind: "peft", name: subject.nameOfKind("peft") },
    { kind: "vanilla", name: subject.nameOfKind("vanilla") },
  ].filter((one): one is { kind: string; name: string } => one.name !== undefined);
  // Two references are compared once, in the row of the first.
  const isReference = (model: string, i: number) =>
    references.some(({ name }, j) => name === model && j >= i);
  const scored = context.splits[context.scoredOn];
  const hasTests = subject.study.statistics.length > 0;
  const all = subject.modelRows.map(({ dice }) => dice[primary]);
  const compared = rows.filter(({ dice }) => dice[primary]);
  const table: Block = {
    kind: "table",
    caption:
      `Dice under the ${promptName(primary)} prompt${
        context.simulated ? " on simulated tumours" : ""
      }: mean ± ` +
      `standard deviation over ${plural(scored.slices, "slice")} of ${
        plural(scored.patients, "patient")
      }` +
      ` (${context.scoredOn} part), with the 95 % interval of the mean (bootstrap, patients resampled). ` +
      `Differences are in percentage points of Dice, paired by slice, with 95 % intervals` +
      (hasTests
        ? `; p: two-sided Wilcoxon signed-rank test over patients' mean differences, Holm-adjusted over all ` +
          `comparisons of this table. "Above" and "below" mean an adjusted p of ${ALPHA} or less.`
        : `.`) +
      ` The last rows know no image: they answer the box with a mask of ones, the filled box, its inscribed ellipse.`,
    header: [
      "Model",
      "Dice, %",
      "95 % interval",
      ...references.flatMap(({ name }) => [`Against ${name}`, ...(hasTests ? ["p"] : [])]),
      ...(hasTests ? ["Verdict"] : []),
    ],
    rows: compared.map((row) => {
      const score = row.dice[primary];
      const tests = references.map(({ name }) => ({
        name,
        tested: subject.tested(row.model, name, primary),
      }));
      return [
        row.model,
        { text: percent(score), strong: row.kind !== "trivial" && isBest(score, all) },
        intervalText(score),
        ...references.flatMap(({ name }, i) => {
          const other = rows.find(({ model }) => model === name)?.dice[primary];
          return [
            differenceCell(
              tests[i].tested,
              other && !isReference(row.model, i) ? score.mean - other.mean : undefined,
            ),
            ...(hasTests ? [probability(tests[i].tested?.pHolm)] : []),
          ];
        }),
        ...(hasTests ? [standing(tests)] : []),
      ];
    }),
    rules: [compared.findIndex(({ kind }) => kind === "trivial")],
  };
  const n = subject.testedPatients;
  const smallest = n > 0 ? 2 ** (1 - n) : 1;
  const blocks: Block[] = [{ kind: "heading", level: 2, text: "Comparison" }, table];
  if (hasTests && smallest > 0.01) {
    blocks.push({
      kind: "paragraph",
      text: `With ${plural(n, "patient")} the smallest p that the signed-rank test can give is ${
        smallest.toPrecision(2)
      }${smallest > ALPHA ? ": no difference can reach significance here, however large" : ""}.`,
    });
  }
  const panels = headlines.map(promptName);
  // What lies far below every model would leave no room for the differences between them.
  const lowest = best(all, true);
  const drawn = rows.filter(({ kind, dice }) =>
    kind !== "trivial" || (dice[primary]?.mean ?? 0) > lowest / 2
  );
  blocks.push({
    kind: "figure",
    name: "dice_by_prompt",
    alt: `Mean Dice of every model under ${panels.join(", ")}, with 95 % intervals`,
    caption:
      `Mean Dice by model and prompt over the same ${
        plural(scored.slices, "slice")
      } (dots; squares: predictors ` +
      `that know no image), with 95 % intervals over patients (bars); each panel has its own scale. The dashed line is ${
        subject.nameOfKind("vanilla") ?? "the first model"
      }.`,
    draw: (palette) =>
      dotsFigure({
        rows: drawn.map((row) => ({
          name: row.model,
          scores: headlines.map((prompt) => row.dice[prompt]),
          trivial: row.kind === "trivial",
        })),
        panels,
        xLabel: "Dice",
        referenceRow: subject.nameOfKind("vanilla") ?? rows[0].model,
        ownScales: true,
      }, palette),
  });
  return blocks;
}

function promptsSection(subject: Subject): Block[] {
  const { rows, prompts, models, modelRows } = subject;
  const blocks: Block[] = [{ kind: "heading", level: 2, text: "Prompts" }, {
    kind: "table",
    caption:
      `Mean Dice (%) under every prompt, with 95 % intervals over patients; bold: the highest of the models. ` +
      `Box ±p %: each side moved by up to p per cent of the box, fixed seeds. Point: the deepest pixel of ` +
      `the tumour; 5 points: drawn within it; clicks: each where the last mask is most wrong; whole image: no hint.`,
    header: ["Model", ...prompts.map(promptName)],
    rows: rows.map((row) => [
      row.model,
      ...prompts.map((prompt) => {
        const strong = row.kind !== "trivial" &&
          isBest(row.dice[prompt], modelRows.map(({ dice }) => dice[prompt]));
        return scoreCell(row.dice[prompt], { strong });
      }),
    ]),
    rules: [rows.findIndex(({ kind }) => kind === "trivial")],
  }];
  const jitter = JITTER.filter(([, prompt]) => prompts.includes(prompt));
  if (jitter.length > 1) {
    const lines = rows.filter(({ dice }) => dice[jitter[0][1]]).map((row): Line => ({
      name: row.model,
      scores: jitter.map(([, prompt]) => row.dice[prompt]),
      trivial: row.kind === "trivial",
    })).filter(({ scores, trivial }) => !trivial || best(scores) > 0.2);
    blocks.push({
      kind: "figure",
      name: "dice_by_jitter",
      alt: "Mean Dice of every model against the jitter of the box prompt",
      caption:
        `Dice against the jitter of the box prompt: each side moved by up to so many per cent of the box. ` +
        `Means over slices; bars: 95 % intervals over patients, set side by side for legibility. Grey lines ` +
        `without markers: what the box itself scores, filled or with its ellipse.`,
      draw: (palette) =>
        linesFigure({
          lines,
          places: jitter.map(([percent]) => percent),
          xLabel: "Jitter of the box (% of its sides)",
          yLabel: "Dice",
        }, palette),
    });
  }
  const clicked = models.filter(({ protocol }) => (protocol?.clicks.length ?? 0) > 1);
  if (clicked.length > 0) {
    const clicks = Math.max(...clicked.map(({ protocol }) => protocol!.clicks.length));
    blocks.push({
      kind: "figure",
      name: "dice_by_clicks",
      alt: "Mean Dice of every model after one to five clicks",
      caption:
        `Dice after one to ${clicks} simulated clicks: the first at the tumour's deepest pixel, each further ` +
        `one at the centre of the largest error of the last mask, which is a prompt too. Means over slices; ` +
        `bars: 95 % intervals over patients.`,
      draw: (palette) =>
        linesFigure({
          lines: clicked.map(({ name, protocol }) => ({ name, scores: protocol!.clicks })),
          places: Array.from({ length: clicks }, (_, i) => i + 1),
          xLabel: "Clicks",
          yLabel: "Dice",
        }, palette),
    });
  }
  return blocks;
}

/** The columns of the tables of boundaries: of slices, then of volumes. */
const BOUNDARIES: readonly {
  header: string;
  of: "slices" | "cases";
  metric: MaskMetric;
  scale: number;
  digits: number;
  lower?: boolean;
  signed?: boolean;
}[] = [
  { header: "Slices: HD95, mm", of: "slices", metric: "hd95", scale: 1, digits: 1, lower: true },
  { header: "Surface Dice 1 mm, %", of: "slices", metric: "surfaceDice1mm", scale: 100, digits: 1 },
  { header: "2 mm, %", of: "slices", metric: "surfaceDice2mm", scale: 100, digits: 1 },
  {
    header: "False positive, mm²",
    of: "slices",
    metric: "falsePositive",
    scale: 1,
    digits: 0,
    lower: true,
  },
  {
    header: "Area error, %",
    of: "slices",
    metric: "volumeError",
    scale: 100,
    digits: 0,
    signed: true,
  },
  { header: "Volumes: Dice, %", of: "cases", metric: "dice", scale: 100, digits: 1 },
  { header: "HD95, mm", of: "cases", metric: "hd95", scale: 1, digits: 1, lower: true },
  { header: "Surface Dice 1 mm, %", of: "cases", metric: "surfaceDice1mm", scale: 100, digits: 1 },
  { header: "2 mm, %", of: "cases", metric: "surfaceDice2mm", scale: 100, digits: 1 },
  {
    header: "Volume error, %",
    of: "cases",
    metric: "volumeError",
    scale: 100,
    digits: 0,
    signed: true,
  },
];

function boundarySection(subject: Subject): Block[] {
  const models = subject.models.filter(({ protocol }) => protocol);
  if (models.length === 0) return [];
  const tableOf = (prompt: string): Block[] => {
    const scored = models.filter(({ protocol }) => protocol!.prompts[prompt]);
    const columns = BOUNDARIES.filter(({ of, metric }) =>
      scored.some(({ protocol }) => protocol!.prompts[prompt][of][metric])
    );
    if (columns.length === 0) return [];
    const [first] = scored;
    const cases = first.protocol!.prompts[prompt].cases.dice?.n;
    return [{
      kind: "table",
      caption:
        `Boundaries and sizes under the ${
          promptName(prompt)
        } prompt: means, with 95 % intervals over patients, ` +
        `over ${plural(first.protocol!.prompts[prompt].slices.dice?.n ?? 0, "slice")}` +
        (cases ? ` and over ${plural(cases, "volume")} of stacked slices` : "") +
        `. HD95: 95 % Hausdorff distance; surface Dice: share of both outlines within 1 or 2 mm; area and ` +
        `volume error: (predicted − true) / true. Bold: the best of the column.`,
      header: ["Model", ...columns.map(({ header }) => header)],
      rows: scored.map(({ name, protocol }) => [
        name,
        ...columns.map(({ of, metric, scale, digits, lower, signed: isSigned }): Cell => {
          const score = protocol!.prompts[prompt][of][metric];
          const all = scored.map(({ protocol }) => protocol!.prompts[prompt][of][metric]);
          if (isSigned) {
            return {
              text: score ? signed(scale * score.mean, digits) : absent,
              sub: score?.interval?.map((bound) => signed(scale * bound, digits)).join(" to "),
            };
          }
          return scoreCell(score, {
            scale,
            digits,
            strong: isBest(score, all, { scale, digits, lower }),
          });
        }),
      ]),
    }];
  };
  const others = subject.prompts.filter((prompt) => !subject.headlines.includes(prompt))
    .flatMap(tableOf);
  return [
    { kind: "heading", level: 2, text: "Boundaries and volumes" },
    ...subject.headlines.flatMap(tableOf),
    ...(others.length > 0
      ? [{ kind: "details", summary: "The same under the other prompts", blocks: others } as const]
      : []),
  ];
}

function sizeSection(subject: Subject): Block[] {
  const models = subject.models.filter(({ protocol }) => protocol?.strataEdges);
  if (models.length === 0) return [];
  const edges = models[0].protocol!.strataEdges!;
  const prompt = subject.primary;
  const [low, high] = edges.map((edge) => edge.toFixed(0));
  const strata = ["small", "medium", "large"];
  const panels = [`up to ${low} mm²`, `${low} to ${high} mm²`, `above ${high} mm²`];
  const of = (model: StudyModel, prompt: string) =>
    strata.map((stratum) => model.protocol!.prompts[prompt]?.strata[stratum]);
  const counts = of(models[0], prompt).map((score) => score?.n ?? 0);
  const prompts = subject.headlines;
  return [
    { kind: "heading", level: 2, text: "Size of the tumour" },
    {
      kind: "figure",
      name: "dice_by_size",
      alt: "Mean Dice of every model in each third of the slices by tumour area",
      caption:
        `Dice under the ${promptName(prompt)} prompt in thirds of the slices by true tumour area ` +
        `(${
          counts.join(", ")
        } slices): means and 95 % intervals over patients. The dashed line is ${models[0].name}.`,
      draw: (palette) =>
        dotsFigure({
          rows: models.map((model) => ({ name: model.name, scores: of(model, prompt) })),
          panels: panels.map((panel, i) => `${strata[i]}: ${panel}`),
          xLabel: "Dice",
          referenceRow: models[0].name,
        }, palette),
    },
    {
      kind: "table",
      caption: `Mean Dice (%) by tumour area and prompt, with 95 % intervals over patients.`,
      header: [
        "Model",
        ...prompts.flatMap((prompt) => strata.map((name) => `${promptName(prompt)}, ${name}`)),
      ],
      rows: models.map((model) => [
        model.name,
        ...prompts.flatMap((prompt) => of(model, prompt).map((score) => scoreCell(score))),
      ]),
    },
  ];
}

/** Values of a config, as text. */
function valueText(value: unknown): string {
  if (value === null || value === undefined) return absent;
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.map(valueText).join(", ");
  if (typeof value === "object") {
    return Object.entries(value).map(([key, inner]) => `${key} ${valueText(inner)}`).join(", ");
  }
  return String(value);
}

/** The fields of the models' configs, apart by whether all models share the value. */
function configFields(models: readonly StudyModel[]): { shared: string[]; varying: string[] } {
  const fields = [...new Set(models.flatMap(({ config }) => Object.keys(config)))];
  const isShared = (field: string) =>
    new Set(models.map(({ config }) => JSON.stringify(config[field] ?? null))).size === 1;
  return {
    shared: fields.filter(isShared),
    varying: fields.filter((field) => !isShared(field)),
  };
}

function rankSection(subject: Subject): Block[] {
  const adapted = subject.models.filter(({ rank }) => rank !== undefined);
  const { varying } = configFields(adapted);
  const settings = (model: StudyModel) =>
    varying.map((field) => `${field} ${valueText(model.config[field])}`).join("; ");
  const groups = [...Map.groupBy(adapted, settings)]
    .map(([name, models]) => ({ name, models: models.toSorted((a, b) => a.rank! - b.rank!) }))
    .filter(({ models }) => new Set(models.map(({ rank }) => rank)).size > 1);
  if (groups.length === 0) return [];
  const diceOf = (name: string) => subject.rows.find(({ model }) => model === name)!.dice;
  const { headlines } = subject;
  const series = groups.map(({ name, models }): RankSeries => ({
    name: name || "LoRA",
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
      `Dice against the rank of the adapters, one panel a prompt, each on its own scale: means over slices and 95 % intervals over ` +
      `patients; grey: the means of the models without adapters. Alpha is ${
        [...new Set(adapted.map(({ config }) => valueText(config.alpha)))].join(", ")
      }, so that updates are scaled by alpha / rank.`,
    draw: (palette) => rankFigure({ series, panels: headlines.map(promptName), rules }, palette),
  }];
}

function placementSection(subject: Subject): Block[] {
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
      `What each model trained: blocks of the image encoder from first to last and the mask decoder. Full: ` +
      `adapters on layers of the block, a line for each kind of layer; hatched: trained as a whole; empty: ` +
      `frozen. ${plural(places, "placement")} in ${
        plural(rows.length, "model")
      }. Right: mean Dice (%) by prompt.`,
    draw: (palette) => placementMap({ rows, figures: prompts.map(promptName) }, palette),
  }];
}

const METRIC_NAMES: Readonly<Record<string, readonly [name: string, scale: number]>> = {
  dice: ["Dice", 100],
  iou: ["IoU", 100],
  hd95: ["HD95, mm", 1],
  surfaceDice1mm: ["surface Dice 1 mm", 100],
  surfaceDice2mm: ["surface Dice 2 mm", 100],
  falsePositive: ["false positive, mm²", 1],
  volumeError: ["area error", 100],
};

function verdictSection(subject: Subject): Block[] {
  const { verdicts } = subject.study;
  if (verdicts.length === 0) return [];
  const nameOf = (experiment: string) =>
    subject.models.find((model) => model.experiment === experiment)?.name ?? experiment;
  const tally = (["supported", "refuted", "undecided"] as const)
    .map((verdict) => `${verdicts.filter((one) => one.verdict === verdict).length} ${verdict}`);
  return [{ kind: "heading", level: 2, text: "Hypotheses" }, {
    kind: "table",
    caption:
      `Hypotheses, each written into its experiment before it ran, and what the test slices say: ${
        tally.join(", ")
      }. Differences (in percentage points, or in the metric's unit) are paired by slice, with 95 % intervals ` +
      `over patients; p: Wilcoxon signed-rank test of the patients' differences against the margin in brackets ` +
      `(0 if none), Holm-adjusted over all hypotheses.`,
    header: ["Hypothesis", "Compared", "Measure", "Expected", "Difference", "p", "n", "Verdict"],
    words: 4,
    rows: verdicts.map((one) => {
      const [metric, scale] = METRIC_NAMES[one.metric] ?? [one.metric, 1];
      const points = (value: number | null) => value === null ? absent : signed(scale * value);
      return [
        one.hypothesis,
        `${nameOf(one.experiment)} − ${nameOf(one.than)}`,
        `${metric}, ${promptName(one.prompt)}`,
        one.margin > 0
          ? `${one.expected} (${Number((scale * one.margin).toPrecision(3))})`
          : one.expected,
        { text: points(one.difference), sub: one.interval?.map(points).join(" to ") },
        probability(one.pHolm ?? undefined),
        count(one.patients),
        {
          text: one.paired === 0 ? "not comparable" : one.verdict,
          sub: one.unpaired > 0 && one.paired
            ? `on ${plural(one.paired, "shared slice")}`
            : undefined,
          strong: one.verdict !== "undecided",
        },
      ];
    }),
  }];
}

function trainingSection(subject: Subject): Block[] {
  const { modelRows, models } = subject;
  const trained = modelRows.filter(({ trainableParameters }) => (trainableParameters ?? 0) > 0);
  if (trained.length === 0) return [];
  const trainingsOf = (name: string) =>
    models.find((model) => model.name === name)?.trainings ?? [];
  const curves = models.flatMap(({ name, trainings }) =>
    trainings.map(({ part, epochs, stoppedEarly }) => ({
      name: part ? `${name}, ${part}` : name,
      metrics: epochs,
      stoppedEarly,
    }))
  );
  const figures = Array.from(
    { length: Math.ceil(curves.length / CURVES_IN_A_ROW) },
    (_, i): FigureBlock => {
      const own = curves.slice(i * CURVES_IN_A_ROW, (i + 1) * CURVES_IN_A_ROW);
      return {
        kind: "figure",
        name: i === 0 ? "loss_curves" : `loss_curves_${i + 1}`,
        alt: `Loss and Dice by epoch of ${own.map(({ name }) => name).join(", ")}`,
        caption:
          `Loss (cross-entropy + Dice) and Dice by epoch on the training slices, as they are trained on (with ` +
          `flips and jittered prompts), and on the validation slices (${
            promptName(valueText(models.at(-1)!.config.validationPrompt))
          }). Diamond and dotted line: the epoch with the best validation Dice, whose weights were scored${
            own.some(({ stoppedEarly }) => stoppedEarly)
              ? "; dashed line: stopped early, since nothing improved"
              : ""
          }.`,
        draw: (palette) => lossCurves(own, { palette, title: false }),
      };
    },
  );
  const hasMemory = trained.some(({ peakGpuBytes }) => peakGpuBytes);
  return [
    { kind: "heading", level: 2, text: "Training and its cost" },
    {
      kind: "table",
      caption:
        `What was trained, and what it took on ${subject.context.adapter}: wall time of a step (the median ` +
        `epoch's mean, ${
          valueText(models.at(-1)!.config.batchSize)
        } slices a batch) and of all steps` +
        (hasMemory
          ? `; the most device memory held at a time, cached activations of frozen layers included`
          : "") +
        `. Best epoch: that of the highest validation Dice.`,
      header: [
        "Model",
        "Trainable parameters",
        "s a step",
        "Training, s",
        ...(hasMemory ? ["Peak GPU memory, MiB"] : []),
        "Epochs",
        "Best epoch",
        "Stopped early",
      ],
      rows: trained.map((row) => {
        const trainings = trainingsOf(row.model);
        const of = (value: (training: typeof trainings[number]) => string) =>
          trainings.length === 0 ? absent : [...new Set(trainings.map(value))].join(", ");
        return [
          row.model,
          count(row.trainableParameters),
          seconds(row.secondsPerStep),
          seconds(row.trainSeconds),
          ...(hasMemory ? [mebibytes(row.peakGpuBytes)] : []),
          of(({ epochs }) => String(epochs.length)),
          row.bestEpoch === undefined ? absent : count(row.bestEpoch),
          of(({ stoppedEarly }) => stoppedEarly ? "yes" : "no"),
        ];
      }),
    },
    ...figures,
  ];
}

function casesSection(sheet: Sheet | null, subject: Subject): Block[] {
  if (!sheet || sheet.cases.length === 0) return [];
  const { models, cases } = sheet;
  return [{ kind: "heading", level: 2, text: "Cases" }, {
    kind: "figure",
    name: "cases",
    alt: `Best, median and worst test slices with the outlines of the truth and of the masks of ${
      models.join(", ")
    }`,
    caption:
      `Best, median and worst test slices${
        subject.context.simulated ? " (simulated tumours)" : ""
      } under the ${
        promptName(subject.primary)
      } prompt, ranked by the mean Dice of the models shown; of each, slices of different patients where there ` +
      `are such. Left: the slice, with the place of the close-up. Solid: truth; dashed: the model's mask, with its Dice.`,
    draw: (palette) => contactSheet({ models, cases }, palette),
    rasterize,
  }];
}

function guardSection({ study }: Subject): Block[] {
  if (study.stopped.length === 0) return [];
  return [{ kind: "heading", level: 2, text: "Rows that a guard stopped" }, {
    kind: "table",
    caption:
      `Runs whose figures would have meant nothing: a guard ended them, and no table or figure holds them.`,
    header: ["Run", "Guard", "What was seen", "Step"],
    words: 3,
    rows: study.stopped.map(({ experiment, guard, message, step }) => [
      experiment,
      guard,
      message,
      count(step),
    ]),
  }];
}

/** What each kind of model is, and what several of it are called. */
const KINDS: Readonly<Record<string, { name: string; is: string }>> = {
  vanilla: { name: "Vanilla", is: "as it comes" },
  peft: { name: "PEFT", is: "the mask decoder alone is trained" },
  full: { name: "Full fine-tunes", is: "whole modules are trained" },
  lora: {
    name: "The others",
    is: "low-rank adapters; pretrained weights are frozen but for what the placement map hatches",
  },
};

/** Clauses as one sentence. */
function sentence(clauses: readonly string[]): string {
  return clauses.join("; ") + ".";
}

function methodsSection(subject: Subject): Block[] {
  const { study, context, models } = subject;
  const { notes, crop } = study;
  const config = models.at(-1)!.config;
  const parts = Object.entries(context.splits).map(([name, size]) =>
    `${name}: ${plural(size.patients, "patient")}, ${plural(size.slices, "slice")}`
  );
  const intervals = subject.rows.some(({ dice }) => dice[subject.primary]?.interval);
  const kinds = Object.entries(KINDS).flatMap(([kind, what]) => {
    const own = subject.rows.filter((row) => row.kind === kind);
    return own.length === 0 ? [] : [`${own.length === 1 ? own[0].model : what.name}: ${what.is}`];
  });
  const items: Text[] = [
    [
      { strong: "Data. " },
      `${context.dataset}${context.simulated ? " (simulated tumours in a real brain)" : ""}; ${
        parts.join("; ")
      }. All scans of a patient lie in one part${
        study.split ? ` (split seed ${study.split.seed})` : ""
      }.${
        crop && crop.lostVoxels > 0
          ? ` The crop loses ${count(crop.lostVoxels)} of ${
            count(crop.tumourVoxels)
          } tumour voxels and ${plural(crop.lostSlices, "slice")}.`
          : ""
      }`,
    ],
    [
      { strong: "Model. " },
      `${context.baseModel} at an input side of ${context.side} pixels, up to ${
        plural(context.epochs, "epoch")
      }, ${context.pooled ?? `seed ${context.seed}`}. ${sentence(kinds)}`,
    ],
    [
      { strong: "Prompts. " },
      `Trained with ${
        valueText(config.prompt)
      }; every model is scored under all prompts on the same slices with the same fixed seeds. Prompts other than the whole image are made ` +
      `from the truth and give part of it away.`,
    ],
    [
      { strong: "Metrics. " },
      `Dice, IoU, 95 % Hausdorff distance and surface Dice at 1 and 2 mm in the scan's own spacing. ` +
      `Truth and prediction both empty score as perfect, one of them empty as worst (for distances: the ` +
      `diagonal of the grid), as in the BraTS challenges. A mask is where the logit is above 0.`,
    ],
  ];
  const tests = study.statistics.length > 0
    ? ` Tests: two-sided Wilcoxon signed-rank on patients' mean paired differences, exact up to 50 ` +
      `patients; Holm's adjustment over all comparisons under one prompt by one metric.`
    : "";
  if (intervals) {
    items.push([
      { strong: "Statistics. " },
      `Patients are the unit. 95 % intervals: percentiles of 2,000 bootstrap means with patients ` +
      `resampled, each with all its slices.${tests} The intervals describe these trained models on other ` +
      `patients; they do not cover what another training seed would change${
        context.pooled ? ", beyond the seeds pooled here" : ""
      }.`,
    ]);
  }
  const blocks: Block[] = [
    { kind: "heading", level: 2, text: "Data and methods" },
    { kind: "list", items },
  ];
  if (notes.notes.length > 0) blocks.push({ kind: "list", items: notes.notes });
  if (notes.references.length > 0) {
    blocks.push({
      kind: "table",
      caption: `Figures from elsewhere to compare with.`,
      header: ["Reference", "Dice, %", "Source"],
      rows: notes.references.map((
        { name, dice, source },
      ) => [name, (100 * dice).toFixed(1), source]),
    });
  }
  return blocks;
}

function reproductionSection(subject: Subject): Block[] {
  const { study, context, models } = subject;
  const { environment, split } = study;
  const { shared, varying } = configFields(models);
  const blocks: Block[] = [
    { kind: "heading", level: 2, text: "To make it again" },
    { kind: "code", text: context.command },
  ];
  if (environment) {
    blocks.push({
      kind: "table",
      caption: `Where and with what the runs were computed, from the record of the first.`,
      header: ["", ""],
      words: 2,
      rows: [
        ["GPU adapter", `${environment.adapter.name} (${environment.adapter.type})`],
        ["System", environment.os],
        ["Deno", environment.deno],
        ["samlora", `${environment.samlora}, commit ${environment.commit ?? "unknown"}`],
        ["Pretrained weights", environment.weights],
        ["Begun", environment.date.slice(0, 16).replace("T", " ") + " UTC"],
        ["Seed", context.pooled ?? String(context.seed)],
        ...(study.parts.length > 0 ? [["Parts", study.parts.join(", ")]] : []),
      ],
    });
  }
  if (varying.length > 0) {
    blocks.push({
      kind: "table",
      caption: `Values in which the models differ.`,
      header: ["Model", ...varying],
      words: varying.length + 1,
      rows: models.map((
        { name, config },
      ) => [name, ...varying.map((field) => valueText(config[field]))]),
    });
  }
  blocks.push({
    kind: "details",
    summary: "Every value that the models share",
    blocks: [{
      kind: "table",
      caption: `Values of the configuration; – is none.`,
      header: ["Value", ""],
      words: 2,
      rows: shared.map((field) => [field, valueText(models[0].config[field])]),
    }],
  });
  if (split) {
    blocks.push({
      kind: "details",
      summary: "Patients of each part",
      blocks: [{
        kind: "table",
        caption: `The split by patient, seed ${split.seed}${
          study.parts.length > 0 ? `, of ${study.parts[0]}` : ""
        }.`,
        header: ["Part", "Patients", ""],
        words: 3,
        rows: (["train", "validation", "test"] as const).map((part) => [
          part,
          count(split[part].length),
          split[part].join(", "),
        ]),
      }],
    });
  }
  return blocks;
}

/** The cases of the contact sheet, as `chooseCases` picks them. */
export interface Sheet {
  /** Names of the columns. */
  readonly models: readonly string[];
  readonly cases: readonly SheetCase[];
}

/** The report of a study, with the sheet of its cases where pictures may be shown. */
export function studyReport(study: Study, sheet: Sheet | null): Document {
  const subject = new Subject(study);
  const { context } = subject;
  return {
    title: `Adapting ${context.baseModel} to ${
      context.simulated ? "simulated meningiomas" : context.dataset
    }`,
    subtitle: [
      `Report of a study on ${context.dataset}, made by samlora`,
      ...(study.environment ? [` on ${study.environment.date.slice(0, 10)}`] : []),
      `. `,
      { code: context.command },
    ],
    abstract: abstractOf(subject),
    blocks: [
      ...comparisonSection(subject),
      ...verdictSection(subject),
      ...promptsSection(subject),
      ...boundarySection(subject),
      ...sizeSection(subject),
      ...rankSection(subject),
      ...placementSection(subject),
      ...casesSection(sheet, subject),
      ...trainingSection(subject),
      ...guardSection(subject),
      ...methodsSection(subject),
      ...reproductionSection(subject),
    ],
  };
}
