/**
 * The figures of a report that plot scores. Each is a function of a palette, so that one drawing serves a
 * page that is light or dark and a file on white paper.
 *
 * @module
 */
import * as Plot from "@observablehq/plot";
import type { Score } from "../stats/summary.ts";
import { type Palette, type SeriesStyle, seriesStyle } from "./palette.ts";
import { legend, type LegendEntry, panelRow } from "./panels.ts";
import { stack, textWidth } from "./svg.ts";

/** A score that a model may lack. */
export type MaybeScore = Score | undefined;

/** A score with its interval, at a place of a line or in a row of dots. */
interface Mark {
  place: number | string;
  mean: number;
  low: number;
  high: number;
}

function markOf(place: number | string, score: MaybeScore): Mark[] {
  if (!score) return [];
  const [low, high] = score.interval ?? [score.mean, score.mean];
  return [{ place, mean: score.mean, low, high }];
}

function marksOf(scores: readonly MaybeScore[], places: readonly (number | string)[]): Mark[] {
  return scores.flatMap((score, i) => markOf(places[i], score));
}

/** A line of a panel with its name in the legend. */
interface StyledLine {
  readonly name: string;
  readonly points: readonly Mark[];
  readonly style: SeriesStyle;
}

/** A panel of lines. */
interface LinePanel {
  readonly title?: string;
  /** Drawn with intervals and markers. */
  readonly lines: readonly StyledLine[];
  /** Drawn grey, without either. */
  readonly references: readonly StyledLine[];
}

/** Axes and layout of panels of lines. */
interface LinePanelOptions {
  readonly x: Plot.ScaleOptions;
  readonly y: Plot.ScaleOptions;
  readonly height: number;
  /** Panels in a row. */
  readonly columns: number;
  /** Entries of the legend; default the lines and references of the first panel. */
  readonly entries?: readonly LegendEntry[];
}

/** A line with its intervals and markers, moved by `dx` pixels. */
function lineMarks(
  { points, style }: StyledLine,
  { palette, dx }: { palette: Palette; dx: number },
): Plot.Markish[] {
  const at = { x: "place", y: "mean", stroke: style.colour, dx };
  return [
    Plot.ruleX(points, {
      x: "place",
      y1: "low",
      y2: "high",
      stroke: style.colour,
      strokeWidth: 1.2,
      strokeOpacity: 0.75,
      dx,
    }),
    Plot.line(points, {
      ...at,
      strokeWidth: 1.8,
      strokeDasharray: style.dash,
      ariaLabel: () => "line",
    }),
    Plot.dot(points, {
      ...at,
      symbol: style.symbol,
      r: 3.8,
      fill: style.filled ? style.colour : palette.ground,
    }),
  ];
}

/** Style of lines that others are compared with: grey, told apart by their dashes. */
function reference(palette: Palette, n: number): SeriesStyle {
  const dash = ["1 3", "6 3", "6 3 1 3", "3 3"][n % 4];
  return { colour: palette.soft, dash, symbol: "circle", filled: false };
}

/** A legend over rows of panels. */
function linePanels(
  panels: readonly LinePanel[],
  { x, y, height, columns, entries }: LinePanelOptions,
  palette: Palette,
): string {
  const drawn = panels.map(({ title, lines, references }) => ({
    title,
    x,
    y: { grid: true, nice: true, ...y },
    marks: [
      ...references.map(({ points, style }) =>
        Plot.line(points, {
          x: "place",
          y: "mean",
          stroke: style.colour,
          strokeWidth: 1.4,
          strokeDasharray: style.dash,
          ariaLabel: () => "reference",
        })
      ),
      ...lines.flatMap((line, i) =>
        lineMarks(line, { palette, dx: 5 * (i - (lines.length - 1) / 2) })
      ),
    ],
  }));
  const { lines, references } = panels[0];
  const plain = references.map((line) => ({ ...line, without: "marker" as const }));
  return stack([
    legend(entries ? [...plain, ...entries] : [...lines, ...plain], palette),
    ...Array.from(
      { length: Math.ceil(drawn.length / columns) },
      (_, row) =>
        panelRow(drawn.slice(row * columns, (row + 1) * columns), { height, columns, palette }),
    ),
  ]);
}

/** A model's scores at each place of a plot, some of which it may lack. */
export interface Line {
  /** Name in the legend. */
  readonly name: string;
  /** As many as there are places. */
  readonly scores: readonly MaybeScore[];
  /** True for what knows no image: drawn grey and without markers. */
  readonly trivial?: boolean;
}

/** Lines of {@linkcode linesFigure} and their axes. */
export interface LinesOptions {
  /** Lines in the order of their styles. */
  readonly lines: readonly Line[];
  /** Places along x. */
  readonly places: readonly number[];
  /** Label below the axis of places. */
  readonly xLabel: string;
  /** Label beside the axis of scores. */
  readonly yLabel: string;
}

/** Most models that share a panel. */
export const LINES_IN_ONE = 7;

/**
 * Means with intervals as lines over a few places. Up to seven models share one panel; more have a
 * panel each, with the first two, which the others are compared with, grey in all of them.
 */
export function linesFigure(
  { lines, places, xLabel, yLabel }: LinesOptions,
  palette: Palette,
): string {
  const models = lines.filter(({ trivial }) => !trivial);
  const shared = models.length <= LINES_IN_ONE;
  const styled = ({ name, scores }: Line, style: SeriesStyle): StyledLine => ({
    name,
    points: marksOf(scores, places),
    style,
  });
  const own: SeriesStyle = { colour: palette.series[1], symbol: "circle", filled: true };
  const references = (shared ? lines.filter(({ trivial }) => trivial) : models.slice(0, 2))
    .map((line, i) => styled(line, reference(palette, i)));
  const x = {
    domain: [Math.min(...places), Math.max(...places)],
    ticks: [...places],
    tickFormat: String,
    inset: shared ? 24 : 10,
    label: xLabel,
  };
  if (shared) {
    const panel = {
      lines: models.map((line, i) => styled(line, seriesStyle(palette, i))),
      references,
    };
    const options = { x, y: { label: yLabel, ticks: 6 }, height: 320, columns: 1 };
    return linePanels([panel], options, palette);
  }
  const scores = models.flatMap((line) => marksOf(line.scores, places));
  const domain = [
    Math.min(...scores.map(({ low }) => low)),
    Math.max(...scores.map(({ high }) => high)),
  ];
  return linePanels(
    models.slice(2).map((line) => ({ title: line.name, lines: [styled(line, own)], references })),
    {
      x,
      y: { label: yLabel, ticks: 4, domain },
      height: 190,
      columns: 4,
      entries: [{ name: "the model that the panel names", style: own }],
    },
    palette,
  );
}

/** A set of ranks that differ in nothing else. */
export interface RankSeries {
  /** Name in the legend. */
  readonly name: string;
  /** Ranks in ascending order. */
  readonly ranks: readonly number[];
  /** By panel: a score for each of the ranks. */
  readonly scores: readonly (readonly MaybeScore[])[];
}

/**
 * Dice against rank, one panel a prompt on a scale of its own, with the means of models without adapters
 * ruled through.
 *
 * @param options.rules Models without rank: a mean for each panel.
 */
export function rankFigure(
  { series, panels, rules }: {
    series: readonly RankSeries[];
    panels: readonly string[];
    rules: readonly { readonly name: string; readonly scores: readonly MaybeScore[] }[];
  },
  palette: Palette,
): string {
  const ranks = [...new Set(series.flatMap((one) => one.ranks))].sort((a, b) => a - b);
  return linePanels(
    panels.map((title, panel) => ({
      title,
      lines: series.map(({ name, ranks, scores }, i) => ({
        name,
        points: marksOf(scores[panel], ranks),
        style: seriesStyle(palette, i + 1),
      })),
      references: rules.map(({ name, scores }, i) => ({
        name,
        points: ranks.flatMap((rank) => markOf(rank, scores[panel])),
        style: reference(palette, i),
      })),
    })),
    {
      x: { type: "point", domain: ranks, tickFormat: String, padding: 0.4, label: "Rank" },
      y: { label: "Dice", ticks: 5 },
      height: 270,
      columns: panels.length,
    },
    palette,
  );
}

/** A mark of a row; trivial for what knows no image. */
interface Dot extends Mark {
  trivial: boolean;
}

/** Intervals with a dot at each mean, a square for what knows no image. */
function dotMarks(dots: readonly Dot[], palette: Palette): Plot.Markish[] {
  const at = { x: "mean", y: "place", ariaLabel: () => "mean" };
  return [
    Plot.ruleY(dots, {
      y: "place",
      x1: "low",
      x2: "high",
      stroke: (dot: Dot) => dot.trivial ? palette.soft : palette.ink,
      strokeWidth: 1.6,
    }),
    Plot.dot(dots.filter(({ trivial }) => !trivial), {
      ...at,
      r: 4,
      fill: palette.series[1],
      stroke: palette.ink,
    }),
    Plot.dot(dots.filter(({ trivial }) => trivial), {
      ...at,
      r: 3.6,
      symbol: "square",
      fill: palette.ground,
      stroke: palette.soft,
    }),
  ];
}

/**
 * Rows of models against columns of panels, each a mean with its interval (a forest plot).
 *
 * @param options.rows Models with a score for each panel.
 * @param options.referenceRow Name of the row whose means are ruled through each panel.
 * @param options.ownScales True if each panel has a scale of its own.
 */
export function dotsFigure(
  { rows, panels, xLabel, referenceRow, ownScales = false }: {
    rows: readonly Line[];
    panels: readonly string[];
    xLabel: string;
    referenceRow?: string;
    ownScales?: boolean;
  },
  palette: Palette,
): string {
  const dots = panels.map((_, panel) =>
    rows.flatMap(({ name, scores, trivial = false }) =>
      markOf(name, scores[panel]).map((mark): Dot => ({ ...mark, trivial }))
    )
  );
  const domain = (shown: readonly Dot[]): [number, number] => {
    const low = Math.min(...shown.map((dot) => dot.low));
    const high = Math.max(...shown.map((dot) => dot.high));
    return [Math.max(0, low - 0.05 * (high - low)), Math.min(1, high + 0.05 * (high - low) + 1e-3)];
  };
  const names = rows.map(({ name }) => name);
  const left = 16 + Math.max(...names.map(textWidth));
  const drawn = panels.map((title, panel) => {
    const own = dots[panel];
    return {
      title,
      x: {
        domain: domain(ownScales ? own : dots.flat()),
        nice: true,
        ticks: panels.length > 3 ? 3 : 4,
        inset: 8,
        label: xLabel,
        grid: true,
      },
      y: { type: "point", domain: names, axis: null, padding: 0.7 } as const,
      marks: [
        // The names stand left of the first panel, beyond its frame.
        Plot.text(panel === 0 ? names : [], {
          y: (name: string) => name,
          text: (name: string) => name,
          frameAnchor: "left",
          textAnchor: "end",
          dx: -8,
          fill: palette.ink,
          clip: false,
        }),
        Plot.ruleX(own.filter(({ place }) => place === referenceRow), {
          x: "mean",
          stroke: palette.soft,
          strokeDasharray: "3 3",
        }),
        ...dotMarks(own, palette),
      ],
    };
  });
  return stack([panelRow(drawn, { height: 74 + 22 * rows.length, left, palette })]);
}
