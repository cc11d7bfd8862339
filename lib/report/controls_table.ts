/**
 * The controls of a model as one table, with the worst of them.
 *
 * @module
 */
import { type Controls, type ControlScore, worstOf } from "../evaluate/controls/score_controls.ts";
import type { MaskMetric } from "../metrics/metrics.ts";
import { absent, metricHeader, metricText, percent } from "./format.ts";
import { markdownTable } from "./markdown_table.ts";
import type { TextGrid } from "./table.ts";

/** Metrics in the order of columns. */
const COLUMNS: readonly MaskMetric[] = ["sensitivity", "healthyPainted", "healthyArea"];

/** Each kind of slices, every mask and those that count by the rule. */
export function controlsGrid({ scores, statistics }: Controls): TextGrid {
  const line = (one: ControlScore, mask: string, values: ControlScore["all"]) => [
    one.name,
    String(one.slices),
    mask,
    percent(values.dice),
    ...COLUMNS.map((metric) => metricText(metric, values[metric])),
    one.auc === null ? absent : one.auc.toFixed(3),
  ];
  return {
    header: [
      "Slices",
      "Number",
      "Mask counts",
      "Dice (%)",
      ...COLUMNS.map((metric) => metricHeader(metric, "slice")),
      "AUC",
    ],
    rows: [
      ...scores.flatMap((one) => [
        line(one, "every mask", one.all),
        ...(one.ruled ? [line(one, "by the rule", one.ruled)] : []),
      ]),
      ...(statistics
        ? [[
          "Histogram and size alone",
          String(statistics.slices),
          ...Array(2 + COLUMNS.length).fill(absent),
          statistics.auc.toFixed(3),
        ]]
        : []),
    ],
  };
}

/** Sentences on the worst of the controls, and on what could not be made. */
export function controlsNotes({ scores, statistics, counterfactuals }: Controls): string[] {
  const { painted, found } = worstOf({ scores });
  const share = (one: ControlScore, metric: MaskMetric) =>
    `${metricText(metric, (one.ruled ?? one.all)[metric])} %`;
  const leftOut = scores.filter(({ leftOut }) => leftOut > 0)
    .map(({ name, leftOut, slices }) =>
      `${name}: made of ${slices} of ${slices + leftOut} slices.`
    );
  return [
    "AUC: chance that of two slices, one of these and one of the other kind (with tumour, or tumour-free), the " +
    "one with tumour has the higher presence score.",
    ...(painted
      ? [`Worst of the tumour-free: ${share(painted, "healthyPainted")} painted (${painted.name}).`]
      : []),
    ...(found
      ? [`Worst of those with tumour: ${share(found, "sensitivity")} found (${found.name}).`]
      : []),
    ...(statistics
      ? [
        "Histogram and size alone: a logistic regression that sees no place of anything, fitted to the slices " +
        "that the model was trained on (their number); what it tells apart, the scanner gives away.",
      ]
      : []),
    ...(counterfactuals
      ? [
        "The model was trained on mirrored and pasted slices of other patients: those here say that it learnt to tell " +
        "tumour from none, and less than they would of a model that has seen none of their kind.",
      ]
      : []),
    ...leftOut,
  ];
}

/** The table and its notes as Markdown. */
export function controlsMarkdown(controls: Controls, title: string): string {
  return [
    `# ${title}`,
    markdownTable(controlsGrid(controls)),
    controlsNotes(controls).map((note) => `- ${note}`).join("\n"),
  ].join("\n\n") + "\n";
}
