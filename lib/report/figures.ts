/**
 * The figures of a report, drawn by Observable Plot on linkedom's document. Each is a function of a
 * palette, so that one drawing serves a page that is light or dark and a file on white paper.
 *
 * @module
 */
import * as Plot from "@observablehq/plot";
import type { Score } from "../stats/summary.ts";
import { type Palette, type SeriesStyle, seriesStyle } from "./palette.ts";
import { lineSample, plotContent } from "./plot_content.ts";
import { escapeXml } from "./xml.ts";

/** Width of every figure in pixels: that of the page's text. */
export const FIGURE_WIDTH = 900;

const FONT_SIZE = 12;

/** Roughly how wide a text is at the figures' font size. */
export function textWidth(text: string): number {
  return 6.5 * text.length;
}

/** The content of a plot, to be placed in a figure. */
function plot(options: Plot.PlotOptions, palette: Palette): string {
  return plotContent({ style: { fontSize: `${FONT_SIZE}px` }, ...options }, palette.soft);
}

/** Puts parts below each other: [height, content]. */
function stack(parts: readonly (readonly [height: number, content: string])[]): string {
  let y = 0;
  const placed = parts.map(([height, content]) => {
    const at = y;
    y += height;
    return `<g transform="translate(0,${at})">${content}</g>`;
  });
  return `<svg width="${FIGURE_WIDTH}" height="${y}" viewBox="0 0 ${FIGURE_WIDTH} ${y}" ` +
    `font-size="${FONT_SIZE}">${placed.join("")}</svg>`;
}

/** A marker's outline, as Plot draws it, at a place. */
function marker(
  { symbol, colour, filled }: SeriesStyle,
  palette: Palette,
  at: { x: number; y: number },
): string {
  const shapes: Record<SeriesStyle["symbol"], string> = {
    circle: "M4,0A4,4,0,1,1,-4,0A4,4,0,1,1,4,0z",
    square: "M-3.5,-3.5h7v7h-7z",
    triangle: "M0,-4.6L4.2,3.2L-4.2,3.2z",
    diamond: "M0,-5L3.6,0L0,5L-3.6,0z",
    cross: "M-4.6,-1.6h3v-3h3.2v3h3v3.2h-3v3h-3.2v-3h-3z",
    times: "M-3.4,-3.4L3.4,3.4M-3.4,3.4L3.4,-3.4",
    star: "M0,-5L1.2,-1.6L4.8,-1.6L1.9,.6L3,4L0,1.9L-3,4L-1.9,.6L-4.8,-1.6L-1.2,-1.6z",
  };
  return `<path transform="translate(${at.x},${at.y})" d="${shapes[symbol]}" stroke="${colour}" ` +
    `stroke-width="1.5" fill="${filled ? colour : palette.ground}"/>`;
}

/** What a legend says of a line; a plain one has no marker. */
interface LegendEntry {
  readonly name: string;
  readonly style: SeriesStyle;
  readonly plain?: boolean;
}

/** Lines with their styles. */
function named(
  lines: readonly { readonly name: string }[],
  styles: readonly SeriesStyle[],
): LegendEntry[] {
  return lines.map(({ name }, i) => ({ name, style: styles[i] }));
}

/** Lines without markers. */
function plain(
  lines: readonly { readonly name: string }[],
  styles: readonly SeriesStyle[],
): LegendEntry[] {
  return named(lines, styles).map((entry) => ({ ...entry, plain: true }));
}

/** A sample of each line with its name, in as many rows as it takes. */
function legend(
  entries: readonly LegendEntry[],
  palette: Palette,
): [height: number, content: string] {
  let [x, y] = [8, 14];
  const drawn = entries.map(({ name, style, plain }) => {
    const width = 46 + textWidth(name) + 18;
    if (x + width > FIGURE_WIDTH && x > 8) [x, y] = [8, y + 20];
    const sample = lineSample({ x, y, length: 36 }, { stroke: style.colour, dash: style.dash }) +
      (plain ? "" : marker(style, palette, { x: x + 18, y })) +
      `<text x="${x + 43}" y="${y + 4}" fill="${palette.ink}">${escapeXml(name)}</text>`;
    x += width;
    return sample;
  });
  return [y + 14, drawn.join("")];
}

/** One line of a plot: a model's score at each place, some of which it may lack. */
export interface Line {
  readonly name: string;
  /** As many as there are places. */
  readonly scores: readonly (Score | undefined)[];
  /** Knows no image: drawn grey and without marker. */
  readonly trivial?: boolean;
}

/** What the lines of {@linkcode linesFigure} are drawn over. */
export interface LinesOptions {
  readonly lines: readonly Line[];
  /** Places along x. */
  readonly places: readonly number[];
  readonly xLabel: string;
  readonly yLabel: string;
  /** Unit after a tick of x. */
  readonly unit?: string;
}

/** Above this many models each has a panel of its own. */
export const LINES_IN_ONE = 7;

/** A score at a place. */
interface PlacedScore {
  place: number;
  mean: number;
  low: number;
  high: number;
}

function placed(
  scores: readonly (Score | undefined)[],
  places: readonly number[],
): PlacedScore[] {
  return scores.flatMap((score, i) => {
    if (!score) return [];
    const [low, high] = score.interval ?? [score.mean, score.mean];
    return [{ place: places[i], mean: score.mean, low, high }];
  });
}

/** A line with its intervals and markers. */
function lineMarks(
  points: readonly PlacedScore[],
  style: SeriesStyle,
  { palette, dx = 0 }: { palette: Palette; dx?: number },
): Plot.Markish[] {
  const where = { x: "place", y: "mean", stroke: style.colour, dx };
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
      ...where,
      strokeWidth: 1.8,
      strokeDasharray: style.dash,
      ariaLabel: () => "line",
    }),
    Plot.dot(points, {
      ...where,
      symbol: style.symbol,
      r: 3.8,
      fill: style.filled ? style.colour : palette.ground,
    }),
  ];
}

const axisLabel = { labelAnchor: "center", labelArrow: "none" } as const;

const axisOfDice = { grid: true, nice: true, labelOffset: 56, ...axisLabel } as const;

/** The axis of places to scale. */
function axisOfPlaces(
  { places, xLabel, unit = "" }: LinesOptions,
  { inset }: { inset: number },
): Plot.ScaleOptions {
  return {
    domain: [Math.min(...places), Math.max(...places)],
    ticks: [...places],
    tickFormat: (value: number) => `${value}${unit}`,
    inset,
    label: xLabel,
    labelOffset: 36,
    ...axisLabel,
  };
}

/** Grey, for what knows no image and for references. */
function reference(palette: Palette, dash: string): SeriesStyle {
  return { colour: palette.soft, dash, symbol: "circle", filled: false };
}

/** A line without intervals and markers. */
function referenceMark(points: readonly PlacedScore[], style: SeriesStyle): Plot.Markish {
  return Plot.line(points, {
    x: "place",
    y: "mean",
    stroke: style.colour,
    strokeWidth: 1.4,
    strokeDasharray: style.dash,
    ariaLabel: () => "reference",
  });
}

/**
 * Means with intervals as lines over a few places. Up to seven models share one panel; more have a
 * panel each, with the first two, which the others are compared with, grey in all of them.
 */
export function linesFigure(options: LinesOptions, palette: Palette): string {
  const models = options.lines.filter(({ trivial }) => !trivial);
  return models.length <= LINES_IN_ONE
    ? sharedPanel(options, palette)
    : panelEach(options, palette);
}

function sharedPanel(options: LinesOptions, palette: Palette) {
  const { lines, places, yLabel } = options;
  const models = lines.filter(({ trivial }) => !trivial);
  const trivial = lines.filter((line) => line.trivial);
  const dashes = ["1 4", "6 3 1 3", "3 3"];
  const styles = models.map((_, i) => seriesStyle(palette, i));
  const references = trivial.map((_, i) => reference(palette, dashes[i % dashes.length]));
  const height = 330;
  const content = plot({
    width: FIGURE_WIDTH,
    height,
    marginLeft: 66,
    marginRight: 20,
    marginBottom: 42,
    x: axisOfPlaces(options, { inset: 24 }),
    y: { label: yLabel, ticks: 6, ...axisOfDice },
    marks: [
      Plot.frame({ stroke: palette.line }),
      ...trivial.map(({ scores }, i) => referenceMark(placed(scores, places), references[i])),
      ...models.flatMap(({ scores }, i) =>
        lineMarks(placed(scores, places), styles[i], {
          palette,
          dx: 5 * (i - (models.length - 1) / 2),
        })
      ),
    ],
  }, palette);
  return stack([
    legend([...named(models, styles), ...plain(trivial, references)], palette),
    [height, content],
  ]);
}

const COLUMNS = 4;

function panelEach(options: LinesOptions, palette: Palette) {
  const { lines, places, yLabel } = options;
  const models = lines.filter(({ trivial }) => !trivial);
  const [first, second, ...others] = models;
  const scores = models.flatMap((line) => placed(line.scores, places));
  const bounds = [
    Math.min(...scores.map(({ low }) => low)),
    Math.max(...scores.map(({ high }) => high)),
  ];
  const own: SeriesStyle = { colour: palette.series[1], symbol: "circle", filled: true };
  const compared = [first, second];
  const references = ["1 3", "5 3"].map((dash) => reference(palette, dash));
  const height = 190;
  const rows = Array.from({ length: Math.ceil(others.length / COLUMNS) }, (_, row) => {
    const shown = others.slice(row * COLUMNS, (row + 1) * COLUMNS);
    const draw = (column: number, width: number) =>
      shown[column] === undefined ? "" : plot({
        width,
        height,
        marginLeft: column === 0 ? 66 : 40,
        marginRight: 8,
        marginTop: 24,
        marginBottom: 42,
        x: axisOfPlaces(options, { inset: 10 }),
        y: { domain: bounds, label: column === 0 ? yLabel : null, ticks: 4, ...axisOfDice },
        marks: [
          Plot.frame({ stroke: palette.line }),
          heading(shown[column].name, { palette, width }),
          ...compared.map((line, i) => referenceMark(placed(line.scores, places), references[i])),
          ...lineMarks(placed(shown[column].scores, places), own, { palette }),
        ],
      }, palette);
    return [height, besides(COLUMNS, { left: 0, draw })] as const;
  });
  return stack([
    legend([
      ...plain(compared, references),
      { name: "the model that the panel names", style: own },
    ], palette),
    ...rows,
  ]);
}

/** A row of {@linkcode dotsFigure}: a model's score in each panel. */
export interface DotsRow {
  readonly name: string;
  readonly scores: readonly (Score | undefined)[];
  readonly trivial?: boolean;
}

/** Panels beside each other: as many plots of one width, the first with room for its axis. */
function besides(
  count: number,
  { left, draw }: { left: number; draw: (panel: number, width: number) => string },
): string {
  const width = Math.floor((FIGURE_WIDTH - left) / count);
  return Array.from(
    { length: count },
    (_, i) => `<g transform="translate(${left + i * width},0)">${draw(i, width)}</g>`,
  ).join("");
}

/** A panel's heading, cut where it is wider than the panel. */
function heading(
  text: string,
  { palette, width }: { palette: Palette; width: number },
): Plot.Markish {
  const room = Math.max(4, Math.floor(width / textWidth("x")) - 2);
  const name = text.length > room ? `${text.slice(0, room - 1)}…` : text;
  return Plot.text([name], {
    frameAnchor: "top",
    text: (name: string) => name,
    dy: -13,
    fill: palette.ink,
    fontWeight: 600,
  });
}

/** What a row of {@linkcode dotsFigure} has in a panel. */
interface Dot {
  name: string;
  mean: number;
  low: number;
  high: number;
  trivial: boolean;
}

/**
 * Rows of models against columns of panels, each a mean with its interval (a forest plot).
 *
 * @param options.referenceRow Name of the row whose means are ruled through each panel.
 * @param options.ownScales Whether each panel has a scale of its own.
 */
export function dotsFigure(
  { rows, panels, xLabel, referenceRow, ownScales = false }: {
    rows: readonly DotsRow[];
    panels: readonly string[];
    xLabel: string;
    referenceRow?: string;
    ownScales?: boolean;
  },
  palette: Palette,
): string {
  const dots = panels.map((_, panel) =>
    rows.flatMap(({ name, scores, trivial = false }): Dot[] => {
      const score = scores[panel];
      if (!score) return [];
      const [low, high] = score.interval ?? [score.mean, score.mean];
      return [{ name, mean: score.mean, low, high, trivial }];
    })
  );
  const domain = (shown: readonly Dot[]): [number, number] => {
    const low = Math.min(...shown.map((dot) => dot.low));
    const high = Math.max(...shown.map((dot) => dot.high));
    return [Math.max(0, low - 0.05 * (high - low)), Math.min(1, high + 0.05 * (high - low) + 1e-3)];
  };
  const names = rows.map(({ name }) => name);
  const height = 74 + 22 * rows.length;
  const left = 16 + Math.max(...names.map(textWidth));
  const content = besides(panels.length, {
    left,
    draw: (panel, width) => {
      const own = dots[panel];
      const first = panel === 0;
      return plot({
        width,
        height,
        marginLeft: 8,
        marginRight: 8,
        marginTop: 26,
        marginBottom: 42,
        x: {
          domain: domain(ownScales ? own : dots.flat()),
          nice: true,
          // Up to 1.4 times as many are drawn, each label 26 pixels wide.
          ticks: width < 240 ? 3 : 4,
          inset: 8,
          label: xLabel,
          labelOffset: 36,
          grid: true,
          ...axisLabel,
        },
        y: { type: "point", domain: names, axis: null, padding: 0.7 },
        marks: [
          Plot.frame({ stroke: palette.line }),
          heading(panels[panel], { palette, width }),
          // The names stand left of the first panel, beyond its frame.
          ...(first
            ? [Plot.text(names, {
              y: (name: string) => name,
              text: (name: string) => name,
              frameAnchor: "left",
              textAnchor: "end",
              dx: -8,
              fill: palette.ink,
              clip: false,
            })]
            : []),
          Plot.ruleX(own.filter(({ name }) => name === referenceRow), {
            x: "mean",
            stroke: palette.soft,
            strokeDasharray: "3 3",
          }),
          Plot.ruleY(own, {
            y: "name",
            x1: "low",
            x2: "high",
            stroke: (dot: Dot) => dot.trivial ? palette.soft : palette.ink,
            strokeWidth: 1.6,
          }),
          Plot.dot(own.filter(({ trivial }) => !trivial), {
            x: "mean",
            y: "name",
            r: 4,
            fill: palette.series[1],
            stroke: palette.ink,
            ariaLabel: () => "mean",
          }),
          Plot.dot(own.filter(({ trivial }) => trivial), {
            x: "mean",
            y: "name",
            r: 3.6,
            symbol: "square",
            fill: palette.ground,
            stroke: palette.soft,
            ariaLabel: () => "mean",
          }),
        ],
      }, palette);
    },
  });
  return stack([[height, content]]);
}

/** A set of ranks that differ in nothing else. */
export interface RankSeries {
  readonly name: string;
  readonly ranks: readonly number[];
  /** By panel: a score for each of the ranks. */
  readonly scores: readonly (readonly (Score | undefined)[])[];
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
    rules: readonly { readonly name: string; readonly scores: readonly (Score | undefined)[] }[];
  },
  palette: Palette,
): string {
  const ranks = [...new Set(series.flatMap((one) => one.ranks))].sort((a, b) => a - b);
  const styles = series.map((_, i) => seriesStyle(palette, i + 1));
  const references = rules.map((_, i) => reference(palette, ["1 3", "6 3"][i % 2]));
  const height = 270;
  const draw = (panel: number, width: number) =>
    plot({
      width,
      height,
      marginLeft: panel === 0 ? 66 : 46,
      marginRight: 8,
      marginTop: 26,
      marginBottom: 42,
      x: {
        type: "point",
        domain: ranks,
        tickFormat: String,
        padding: 0.4,
        label: "Rank",
        labelOffset: 36,
        ...axisLabel,
      },
      y: {
        label: panel === 0 ? "Dice" : null,
        ticks: 5,
        ...axisOfDice,
      },
      marks: [
        Plot.frame({ stroke: palette.line }),
        heading(panels[panel], { palette, width }),
        ...rules.map(({ scores }, i) =>
          Plot.ruleY(scores[panel] ? [scores[panel].mean] : [], {
            stroke: references[i].colour,
            strokeWidth: 1.5,
            strokeDasharray: references[i].dash,
          })
        ),
        ...series.flatMap(({ scores, ranks }, i) =>
          lineMarks(placed(scores[panel], ranks), styles[i], {
            palette,
            dx: 6 * (i - (series.length - 1) / 2),
          })
        ),
      ],
    }, palette);
  return stack([
    legend([...named(series, styles), ...plain(rules, references)], palette),
    [height, besides(panels.length, { left: 0, draw })],
  ]);
}
