/**
 * Scores of the models: against each other, by prompt, at boundaries, by size of the tumour.
 *
 * @module
 */
import { PRESENCE_SCORES } from "../../evaluate/presence.ts";
import {
  columnsAt,
  labelOf,
  type MaskMetric,
  METRICS,
  UNPROMPTED_METRICS,
} from "../../metrics/metrics.ts";
import type { Score } from "../../stats/summary.ts";
import type { Block, Cell, FigureBlock, TableBlock } from "../document.ts";
import { dotsFigure, type Line, LINES_IN_ONE, linesFigure } from "../figures.ts";
import {
  absent,
  intervalText,
  metricHeader,
  percent,
  plural,
  probability,
  promptName,
  seedsText,
  signed,
} from "../format.ts";
import { partGrids, unpromptedLines } from "../table.ts";
import type { StudyModel } from "../../study/read_study.ts";
import {
  ALPHA,
  best,
  differenceCell,
  isBest,
  scoreCell,
  smallestP,
  standing,
  type Subject,
} from "./subject.ts";

/** Prompts that are boxes moved by so many per cent of their sides. */
const JITTER: readonly (readonly [percent: number, prompt: string])[] = [
  [0, "tight-box"],
  [5, "jittered-box-5"],
  [10, "jittered-box-10"],
  [20, "jittered-box"],
  [40, "jittered-box-40"],
];

/** The models against vanilla, PEFT and predictors that see no image. */
export function comparisonSection(subject: Subject): Block[] {
  const n = subject.testedPatients;
  const smallest = smallestP(n);
  const few: Block = {
    kind: "paragraph",
    text: `With ${plural(n, "patient")} the smallest p that the signed-rank test can give is ${
      smallest.toPrecision(2)
    }${smallest > ALPHA ? ": no difference can reach significance here, however large" : ""}.`,
  };
  return [
    { kind: "heading", level: 2, text: "Comparison" },
    ...comparisonTables(subject),
    ...(subject.hasTests && smallest > 0.01 ? [few] : []),
    diceFigure(subject),
  ];
}

/** Masks without a prompt on slices with tumour and without, and how the rule that they count by was chosen. */
export function unpromptedSection({ study: { table }, models, hasIntervals }: Subject): Block[] {
  const lines = unpromptedLines(table);
  if (lines.length === 0) return [];
  const metrics = (["dice", ...UNPROMPTED_METRICS] as const)
    .filter((name) => lines.some(({ scores }) => scores[name]));
  return [
    { kind: "heading", level: 2, text: "Without a prompt, with and without a tumour" },
    {
      kind: "table",
      caption:
        `Masks without a prompt, all of them and those that count by the rule: means over patients${
          hasIntervals ? ", with 95 % intervals" : ""
        }, Dice over the slices with tumour, 0 where a mask does not count. ${
          metrics.flatMap((name) => METRICS[name].definition ?? []).join("; ")
        }.`,
      header: ["Model", "Mask counts", ...metrics.map((name) => metricHeader(name, "slice"))],
      words: 2,
      rows: lines.map(({ name, rule, scores }) => [
        name,
        rule,
        ...metrics.map((metric) => {
          const { scale, decimals: [, digits] } = METRICS[metric];
          return scoreCell(scores[metric], { scale, digits });
        }),
      ]),
    },
    ...candidatesTable(models),
  ];
}

/** Candidates for the rule of presence of each model, as they did on validation patients. */
function candidatesTable(models: readonly StudyModel[]): TableBlock[] {
  const rows = models.flatMap(({ name, presences }) =>
    presences.flatMap(({ part, score: chosen, candidates, tumourSlices, healthySlices }) =>
      candidates.map(({ score, threshold, auc, sensitivity, quiet }): Cell[] => [
        part ? `${name}, ${part}` : name,
        { text: PRESENCE_SCORES[score].label, strong: score === chosen },
        `${tumourSlices} + ${healthySlices}`,
        auc.toFixed(3),
        threshold.toPrecision(3),
        (100 * sensitivity).toFixed(1),
        (100 * quiet).toFixed(1),
      ])
    )
  );
  if (rows.length === 0) return [];
  return [{
    kind: "table",
    caption:
      `Candidates for the score by which a mask counts, on the validation slices with tumour and without: ` +
      `area under the ROC curve, by which the score is chosen (bold), and the largest threshold that keeps ` +
      `95 % sensitivity.`,
    header: [
      "Model",
      "Score",
      "Slices",
      "AUC",
      "Threshold",
      "Sensitivity, %",
      "Quiet on tumour-free, %",
    ],
    words: 2,
    rows,
  }];
}

/** Every training seed, split or fold by itself; nothing for a study of one. */
export function partsSection({ study: { table } }: Subject): Block[] {
  const grids = partGrids(table);
  if (grids.length === 0) return [];
  return [
    { kind: "heading", level: 2, text: "Seed by seed, split by split" },
    ...grids.map((grid): TableBlock => ({
      kind: "table",
      caption: `Mean over the part's patients. Splits share patients with each other.`,
      ...grid,
    })),
  ];
}

/** Kinds of references in the order of columns, with the fields of a row that hold the differences. */
const REFERENCES = [["peft", "peftComparison"], ["vanilla", "vanillaComparison"]] as const;

/** A table for the primary prompt, then, where differences were tested, for each other headline prompt. */
function comparisonTables(subject: Subject): TableBlock[] {
  const others = subject.hasTests ? subject.headlines : [];
  return [
    comparisonTable(subject, { prompt: subject.primary, caption: comparisonCaption(subject) }),
    ...others.filter((prompt) => prompt !== subject.primary).map((prompt) =>
      comparisonTable(subject, {
        prompt,
        caption: `The same under the ${promptName(prompt)} prompt, with tests of its own.`,
      })
    ),
  ];
}

/** Dice under one prompt, with differences to vanilla and PEFT, their tests and verdicts. */
function comparisonTable(
  subject: Subject,
  { prompt, caption }: { prompt: string; caption: string },
): TableBlock {
  const { hasTests, hasIntervals } = subject;
  const hasSeeds = subject.rows.some(({ seeds }) => seeds?.[prompt]);
  const references = REFERENCES.flatMap(([kind, field]) => {
    const name = subject.nameOfKind(kind);
    return name ? [{ kind, field, name }] : [];
  });
  const compared = subject.comparedUnder(prompt);
  const whenTested = <T>(...cells: T[]) => hasTests ? cells : [];
  return {
    kind: "table",
    caption,
    header: [
      "Model",
      "Dice, %",
      ...(hasIntervals ? ["95 % interval"] : []),
      ...(hasSeeds ? ["Seeds"] : []),
      ...references.flatMap(({ name }) => [`Against ${name}`, ...whenTested("p")]),
      ...whenTested("Verdict"),
    ],
    rows: compared.map((row) => {
      const score = row.dice[prompt];
      const alike = subject.alike(row.model).map(({ dice }) => dice[prompt]);
      const tests = references.map(({ kind }) => ({
        name: row.references[kind] ?? absent,
        tested: row.tests?.[kind],
      }));
      // Vanilla's difference to PEFT is that of PEFT to it.
      const differences = references.flatMap(({ field }, i) => {
        const untested = row.kind === "vanilla" ? null : row[field];
        const { tested } = tests[i];
        return [differenceCell(tested, untested), ...whenTested(probability(tested?.pHolm))];
      });
      return [
        row.model,
        { text: percent(score), strong: row.kind !== "trivial" && isBest(score, alike) },
        ...(hasIntervals ? [intervalText(score)] : []),
        ...(hasSeeds ? [seedsText(row.seeds?.[prompt])] : []),
        ...differences,
        ...whenTested(standing(tests)),
      ];
    }),
    rules: [compared.findIndex(({ kind }) => kind === "trivial")],
  };
}

/** Unit, intervals and tests of the comparison. */
function comparisonCaption(subject: Subject): string {
  const { primary, context, hasTests, hasWiseFt } = subject;
  const sentences = [
    `Dice under the ${promptName(primary)} prompt: mean ± standard deviation over ` +
    `${subject.scoredText}, ${context.scoredOn} part.`,
    subject.intervalNote,
    ...(subject.rows.some(({ seeds }) => seeds)
      ? ["Seeds: lowest and highest mean over patients of any training seed, all folds together."]
      : []),
    `Differences are in percentage points of Dice${
      hasTests ? ", over the same patients, paired by slice" : ""
    }.`,
    ...(hasWiseFt ? [`Models of WiSE-FT are compared with PEFT of the same share.`] : []),
    ...(hasTests
      ? [
        `p: two-sided Wilcoxon signed-rank test of these patients' differences, Holm-adjusted over all ` +
        `comparisons of this table. "Above" and "below" mean an adjusted p of ${ALPHA} or less and an ` +
        `interval without 0.`,
      ]
      : []),
    `The last rows see no image: a mask of ones, the box filled, and the ellipse inscribed in the box.`,
  ];
  return sentences.join(" ");
}

/** Means of all models under the main prompts, with their intervals. */
function diceFigure(subject: Subject): FigureBlock {
  const { primary, rows, headlines } = subject;
  const panels = headlines.map(promptName);
  const referenceRow = subject.nameOfKind("vanilla");
  // A predictor far below every model would leave no room for the differences between them.
  const lowest = best(subject.modelRows.map(({ dice }) => dice[primary]), true);
  const drawn = rows.filter(({ kind, dice }) =>
    kind !== "trivial" || (dice[primary]?.mean ?? 0) > lowest / 2
  );
  return {
    kind: "figure",
    name: "dice_by_prompt",
    alt: `Mean Dice of every model under ${panels.join(", ")}`,
    caption:
      `Mean Dice by model and prompt over the same ${
        plural(subject.scored.patients, "patient")
      } (dots; squares: predictors ` +
      `that see no image)${
        subject.hasIntervals ? ", with 95 % intervals (bars)" : ""
      }; each panel has its own scale. The dashed line is ${referenceRow ?? "the first model"}.`,
    draw: (palette) =>
      dotsFigure({
        rows: drawn.map(({ model, dice, kind }) => ({
          name: model,
          scores: headlines.map((prompt) => dice[prompt]),
          trivial: kind === "trivial",
        })),
        panels,
        xLabel: "Dice",
        referenceRow: referenceRow ?? rows[0].model,
        ownScales: true,
      }, palette),
  };
}

/** Descriptions of prompts, by what their names begin with. */
const DEFINITIONS = [
  ["jittered-box", "box ±p %: each side moved by up to p per cent of the box, by fixed seeds"],
  ["point", "point: the deepest pixel of the tumour"],
  ["points-", "5 points: drawn at random within the tumour"],
  [
    "clicks-",
    "clicks: the first at the deepest pixel, each further one where the last mask is most wrong",
  ],
  ["whole-image", "whole image: the box of the image, which is no hint"],
] as const;

/** A sentence on each kind of some prompts. */
function definitionsOf(prompts: readonly string[]): string {
  const found = DEFINITIONS.flatMap(([start, text]) =>
    prompts.some((name) => start === "point" ? name === start : name.startsWith(start)) ? text : []
  );
  const text = found.join("; ");
  return text && `${text[0].toUpperCase()}${text.slice(1)}.`;
}

/** Dice under every prompt, against jitter and clicks. */
export function promptsSection(subject: Subject): Block[] {
  const { rows, prompts } = subject;
  return [
    { kind: "heading", level: 2, text: "Prompts" },
    {
      kind: "table",
      caption:
        `Mean Dice (%) over patients under every prompt that models were scored under${
          subject.hasIntervals ? ", with 95 % intervals" : ""
        }; bold: ${subject.bestText}. ` + definitionsOf(prompts),
      header: ["Model", ...prompts.map(promptName)],
      rows: rows.map((row) => [
        row.model,
        ...prompts.map((prompt) => {
          const strong = row.kind !== "trivial" &&
            isBest(row.dice[prompt], subject.alike(row.model).map(({ dice }) => dice[prompt]));
          return scoreCell(row.dice[prompt], { strong });
        }),
      ]),
      rules: [rows.findIndex(({ kind }) => kind === "trivial")],
    },
    ...jitterFigure(subject),
    ...clicksFigure(subject),
  ];
}

/** Dice against the jitter of the box, if more than one jitter was scored. */
function jitterFigure({ rows, prompts, hasIntervals }: Subject): FigureBlock[] {
  const jitter = JITTER.filter(([, prompt]) => prompts.includes(prompt));
  if (jitter.length < 2) return [];
  const lines = rows.filter(({ dice }) => dice[jitter[0][1]]).map((row): Line => ({
    name: row.model,
    scores: jitter.map(([, prompt]) => row.dice[prompt]),
    trivial: row.kind === "trivial",
  })).filter(({ scores, trivial }) => !trivial || best(scores) > 0.2);
  const shared = lines.filter(({ trivial }) => !trivial).length <= LINES_IN_ONE;
  return [{
    kind: "figure",
    name: "dice_by_jitter",
    alt: "Mean Dice of every model against the jitter of the box prompt",
    caption:
      `Dice against the jitter of the box prompt: each side moved by up to so many per cent of the box. ` +
      `Means over patients, markers set side by side for legibility${
        hasIntervals ? "; bars: 95 % intervals" : ""
      }. ` +
      (shared
        ? `Grey lines without markers: what the box itself scores, filled or with its ellipse.`
        : `Grey lines: the models that the others are compared with.`),
    draw: (palette) =>
      linesFigure({
        lines,
        places: jitter.map(([percent]) => percent),
        xLabel: "Jitter of the box (% of its sides)",
        yLabel: "Dice",
      }, palette),
  }];
}

/** Dice after each click, if more than one was scored. */
function clicksFigure({ models, hasIntervals }: Subject): FigureBlock[] {
  const lines = models.flatMap(({ name, protocol }): Line[] =>
    protocol && protocol.clicks.length > 1 ? [{ name, scores: protocol.clicks }] : []
  );
  if (lines.length === 0) return [];
  const clicks = Math.max(...lines.map(({ scores }) => scores.length));
  return [{
    kind: "figure",
    name: "dice_by_clicks",
    alt: "Mean Dice of every model after one to five clicks",
    caption:
      `Dice after one to ${clicks} simulated clicks: the first at the tumour's deepest pixel, each further ` +
      `one at the centre of the largest error of the last mask, which is a prompt too. Means over patients${
        hasIntervals ? "; bars: 95 % intervals" : ""
      }.`,
    draw: (palette) =>
      linesFigure({
        lines,
        places: Array.from({ length: clicks }, (_, i) => i + 1),
        xLabel: "Clicks",
        yLabel: "Dice",
      }, palette),
  }];
}

/** The columns of the tables of boundaries: of slices, then of volumes. */
const BOUNDARIES = (["slice", "case"] as const).flatMap((level) =>
  columnsAt(level).map((metric, i) => {
    const { label, unit } = labelOf(metric, level);
    const of = level === "slice" ? "slices" : "cases";
    const first = i > 0 ? "" : level === "slice" ? "Slices: " : "Volumes: ";
    return { of, metric, header: `${first}${METRICS[metric].header ?? label}, ${unit}` } as const;
  })
);

/** Distances, surfaces and sizes, a table for each prompt. */
export function boundarySection(subject: Subject): Block[] {
  if (!subject.models.some(({ protocol }) => protocol)) return [];
  const others = subject.prompts.filter((prompt) => !subject.headlines.includes(prompt))
    .flatMap((prompt) => boundaryTable(subject, prompt));
  return [
    { kind: "heading", level: 2, text: "Boundaries and volumes" },
    ...subject.headlines.flatMap((prompt) => boundaryTable(subject, prompt)),
    ...(others.length > 0
      ? [{ kind: "details", summary: "The same under the other prompts", blocks: others } as const]
      : []),
  ];
}

/** The table of one prompt, if any model has a figure for it. */
function boundaryTable(subject: Subject, prompt: string): TableBlock[] {
  const scored = subject.models.flatMap(({ name, protocol }) => {
    const scores = protocol?.prompts[prompt];
    return scores ? [{ name, scores }] : [];
  });
  const columns = BOUNDARIES.filter(({ of, metric }) =>
    scored.some(({ scores }) => scores[of][metric])
  );
  if (columns.length === 0) return [];
  const { slices, cases } = scored[0].scores;
  const ofWhole = columns.filter(({ of, metric }) => of === "cases" && !METRICS[metric].ofPart)
    .map(({ metric }) => cases[metric]?.n ?? 0);
  const [fewest, most] = [Math.min(...ofWhole), Math.max(...ofWhole)];
  const alike = (name: string) => {
    const names = subject.alike(name).map(({ model }) => model);
    return scored.filter((one) => names.includes(one.name));
  };
  const definitions = new Set(columns.flatMap(({ metric }) => METRICS[metric].definition ?? []));
  return [{
    kind: "table",
    caption:
      `Boundaries and sizes under the ${promptName(prompt)} prompt: means over ${
        plural(slices.dice?.n ?? 0, "patient")
      }, of each the mean over their slices` +
      (cases.dice ? " or over the volumes stacked from them" : "") +
      (subject.hasIntervals ? ", with 95 % intervals" : "") +
      (ofWhole.length > 0
        ? `; distances, lesions and sizes of volumes over the ${
          fewest < most ? `${fewest} to ` : ""
        }${plural(most, "patient")} with a volume of which every slice was scored`
        : "") +
      `. ${
        [...definitions].join("; ")
      }. Bold: ${subject.bestText} in the column, but for signed errors.`,
    header: ["Model", ...columns.map(({ header }) => header)],
    rows: scored.map(({ name, scores }) => [
      name,
      ...columns.map(({ of, metric }) =>
        metricCell(metric, scores[of][metric], alike(name).map(({ scores }) => scores[of][metric]))
      ),
    ]),
  }];
}

/** A metric's mean above its interval, strong if it is the best of all; errors with their sign. */
function metricCell(
  metric: MaskMetric,
  score: Score | undefined,
  all: readonly (Score | undefined)[],
): Cell {
  const { scale, decimals: [, digits], direction } = METRICS[metric];
  if (direction === "zero") {
    return {
      text: score ? signed(scale * score.mean, digits) : absent,
      sub: score?.interval?.map((bound) => signed(scale * bound, digits)).join(" to "),
    };
  }
  const strong = isBest(score, all, { scale, digits, lower: direction === "lower" });
  return scoreCell(score, { scale, digits, strong });
}

/** Dice in thirds of the slices by tumour area. */
export function sizeSection(subject: Subject): Block[] {
  const models = subject.models.filter(({ protocol }) => protocol?.strataEdges);
  if (models.length === 0) return [];
  const edges = models[0].protocol!.strataEdges!;
  const prompt = subject.primary;
  const [low, high] = edges.map((edge) => edge.toFixed(0));
  const strata = ["small", "medium", "large"] as const;
  const panels = [`up to ${low} mm²`, `from ${low} to ${high} mm²`, `above ${high} mm²`];
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
        `Dice under the ${
          promptName(prompt)
        } prompt in thirds of the slices by true tumour area: means over ` +
        `patients who have such slices (${counts.join(", ")})${
          subject.hasIntervals ? " and 95 % intervals" : ""
        }. The dashed line is ${models[0].name}.`,
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
      caption: `Mean Dice (%) over patients by tumour area and prompt${
        subject.hasIntervals ? ", with 95 % intervals" : ""
      }. Tumours are ${strata.map((name, i) => `${name} ${panels[i]}`).join(", ")}.`,
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
