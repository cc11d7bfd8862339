/**
 * Scores of the models: against each other, by prompt, at boundaries, by size of the tumour.
 *
 * @module
 */
import { columnsAt, labelOf, METRICS } from "../../metrics/metrics.ts";
import type { Block, Cell } from "../document.ts";
import { dotsFigure, type Line, LINES_IN_ONE, linesFigure } from "../figures.ts";
import {
  absent,
  intervalText,
  percent,
  plural,
  probability,
  promptName,
  signed,
} from "../format.ts";
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

/** The models against vanilla, PEFT and what knows no image. */
export function comparisonSection(subject: Subject): Block[] {
  const { primary, context, rows, headlines } = subject;
  const references = [
    { kind: "peft", name: subject.nameOfKind("peft") },
    { kind: "vanilla", name: subject.nameOfKind("vanilla") },
  ].filter((one): one is { kind: string; name: string } => one.name !== undefined);
  // Two references are compared once, in the row of the first.
  const isReference = (model: string, i: number) =>
    references.some(({ name }, j) => name === model && j >= i);
  const scored = context.splits[context.scoredOn];
  const hasTests = subject.study.table.statistics.length > 0;
  const all = subject.modelRows.map(({ dice }) => dice[primary]);
  const compared = rows.filter(({ dice }) => dice[primary]);
  const table: Block = {
    kind: "table",
    caption: `Dice under the ${promptName(primary)} prompt: mean ± ` +
      `standard deviation over ${plural(scored.slices, "slice")} of ${
        plural(scored.patients, "patient")
      }` +
      ` (${context.scoredOn} part)${
        subject.hasIntervals
          ? ", with the 95 % interval of the mean (bootstrap, patients resampled)"
          : ""
      }. ` +
      `Differences are in percentage points of Dice, paired by slice` +
      (hasTests
        ? `, with 95 % intervals; p: two-sided Wilcoxon signed-rank test over patients' mean differences, Holm-adjusted over all ` +
          `comparisons of this table. "Above" and "below" mean an adjusted p of ${ALPHA} or less.`
        : `.`) +
      ` The last rows see no image: a mask of ones, the box filled, and the ellipse inscribed in the box.`,
    header: [
      "Model",
      "Dice, %",
      ...(subject.hasIntervals ? ["95 % interval"] : []),
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
        ...(subject.hasIntervals ? [intervalText(score)] : []),
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
  const smallest = smallestP(n);
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
    alt: `Mean Dice of every model under ${panels.join(", ")}`,
    caption:
      `Mean Dice by model and prompt over the same ${
        plural(scored.slices, "slice")
      } (dots; squares: predictors ` +
      `that see no image)${
        subject.hasIntervals ? ", with 95 % intervals over patients (bars)" : ""
      }; each panel has its own scale. The dashed line is ${
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

/** Dice under every prompt, against jitter and clicks. */
export function promptsSection(subject: Subject): Block[] {
  const { rows, prompts, models, modelRows } = subject;
  const blocks: Block[] = [{ kind: "heading", level: 2, text: "Prompts" }, {
    kind: "table",
    caption:
      `Mean Dice (%) under every prompt${
        subject.hasIntervals ? ", with 95 % intervals over patients" : ""
      }; bold: the highest of the models. ` +
      `Box ±p %: each side moved by up to p per cent of the box, fixed seeds. Point: the deepest pixel of ` +
      `the tumour; 5 points: drawn at random within it; clicks: the first at the deepest pixel, each further one where ` +
      `the last mask is most wrong; whole image: no hint.`,
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
    const shared = lines.filter(({ trivial }) => !trivial).length <= LINES_IN_ONE;
    blocks.push({
      kind: "figure",
      name: "dice_by_jitter",
      alt: "Mean Dice of every model against the jitter of the box prompt",
      caption:
        `Dice against the jitter of the box prompt: each side moved by up to so many per cent of the box. ` +
        `Means over slices, markers set side by side for legibility${
          subject.hasIntervals ? "; bars: 95 % intervals over patients" : ""
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
    const definitions = new Set(columns.map(({ metric }) => METRICS[metric].definition));
    return [{
      kind: "table",
      caption:
        `Boundaries and sizes under the ${
          promptName(prompt)
        } prompt: means, with 95 % intervals over patients, ` +
        `over ${plural(first.protocol!.prompts[prompt].slices.dice?.n ?? 0, "slice")}` +
        (cases ? ` and over ${plural(cases, "volume")} stacked from them` : "") +
        `. ${[...definitions].filter((text) => text).join("; ")}. ` +
        `Bold: the best of the column, but for signed errors.`,
      header: ["Model", ...columns.map(({ header }) => header)],
      rows: scored.map(({ name, protocol }) => [
        name,
        ...columns.map(({ of, metric }): Cell => {
          const { scale, decimals: [, digits], direction } = METRICS[metric];
          const score = protocol!.prompts[prompt][of][metric];
          const all = scored.map(({ protocol }) => protocol!.prompts[prompt][of][metric]);
          if (direction === "zero") {
            return {
              text: score ? signed(scale * score.mean, digits) : absent,
              sub: score?.interval?.map((bound) => signed(scale * bound, digits)).join(" to "),
            };
          }
          const lower = direction === "lower";
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
      caption:
        `Mean Dice (%) by tumour area and prompt, with 95 % intervals over patients. Tumours are ${
          strata.map((name, i) => `${name} ${panels[i]}`).join(", ")
        }.`,
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
