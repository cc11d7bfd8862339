/**
 * Curves of training runs as SVG.
 *
 * @module
 */
import * as Plot from "@observablehq/plot";
import type { EpochMetrics } from "../train/training.ts";
import { type Palette, paper } from "./palette.ts";
import { lineSample, plotContent } from "./plot_content.ts";
import { escapeXml } from "./xml.ts";

/** A run's name, as it heads its column, and its epochs. */
export interface Curve {
  /** For example "LoRA-16". */
  name: string;
  /** In the order of the epochs; a figure that was not measured is NaN and leaves a gap. */
  metrics: readonly EpochMetrics[];
  /** The epoch after which patience had run out, whether training ended there or went on. */
  earlyStoppingEpoch?: number | null;
}

/** How curves are drawn. */
export interface LossCurvesOptions {
  /** True if the tumours are simulated: the title then says so. */
  simulated?: boolean;
  /** Whether there is a title. Default true. */
  title?: boolean;
  /** Colours. Default those of white paper. */
  palette?: Palette;
}

/** The epoch of the highest validation Dice, the first of equals: the one whose weights count. */
export function bestEpoch(metrics: readonly EpochMetrics[]): EpochMetrics | undefined {
  return metrics.reduce<EpochMetrics | undefined>(
    (best, epoch) =>
      best === undefined || epoch.validationDice > best.validationDice ? epoch : best,
    undefined,
  );
}

/** A value of a curve. */
interface Point {
  run: string;
  epoch: number;
  value: number;
}

/** How the curves of one split look: by colour, and by dash and marker where there is none. */
interface Style {
  name: string;
  stroke: string;
  dash?: string;
  fill: string;
}

/** The styles of both splits, in two colours of the palette. */
function splitStyles({ series, ground }: Palette): { training: Style; validation: Style } {
  return {
    training: { name: "training", stroke: series[1], fill: series[1] },
    validation: { name: "validation", stroke: series[2], dash: "5 3", fill: ground },
  };
}

const font = "Helvetica, Arial, 'Liberation Sans', sans-serif";
const margin = { left: 52, right: 16 };
const columnWidth = 190;
const panelHeight = 210;
const titleHeight = 28;
const legendHeight = 30;
/** Above this many epochs markers would run into one another. */
const markersUpTo = 20;

/**
 * Loss (above) and Dice (below) against the epoch, training and validation, one column a run on
 * shared axes; a dotted vertical line marks each run's best epoch by validation Dice, a dashed one
 * where early stopping ended it or would have. The SVG needs no style or font from outside, has a
 * white ground, and is readable in black and white.
 *
 * @param runs Runs without metrics (a model that was not trained) are left out.
 * @returns The text of an SVG file.
 * @throws {RangeError} if no run has metrics.
 */
export function lossCurves(runs: readonly Curve[], options: LossCurvesOptions = {}): string {
  const trained = runs.filter((run) => run.metrics.length > 0);
  if (trained.length === 0) throw new RangeError("no run has metrics to draw");
  const { palette = paper } = options;
  const { training, validation } = splitStyles(palette);
  const best = trained.map((run) => {
    const { epoch, validationDice } = bestEpoch(run.metrics)!;
    return { run: run.name, epoch, value: validationDice };
  });
  const stops = trained.flatMap(({ name, earlyStoppingEpoch }) =>
    typeof earlyStoppingEpoch === "number" ? [{ run: name, epoch: earlyStoppingEpoch }] : []
  );
  const width = Math.max(
    stops.length > 0 ? 520 : 420, // the legend's
    margin.left + margin.right + columnWidth * trained.length,
  );
  const of = (value: (epoch: EpochMetrics) => number): Point[] =>
    trained.flatMap((run) =>
      run.metrics.map((epoch) => ({ run: run.name, epoch: epoch.epoch, value: value(epoch) }))
    );
  const lastEpoch = Math.max(...trained.flatMap((run) => run.metrics.map(({ epoch }) => epoch)));

  const markers = lastEpoch <= markersUpTo;
  const step = Math.ceil(lastEpoch / 5);
  const ticks = Array.from({ length: Math.floor(lastEpoch / step) }, (_, i) => (i + 1) * step);
  const panel = (y: number, label: string, { marks, names }: PanelContent): string => {
    const content = plotContent({
      width,
      height: panelHeight,
      marginLeft: margin.left,
      marginRight: margin.right,
      marginTop: names ? 26 : 10,
      marginBottom: names ? 8 : 34,
      fx: {
        domain: trained.map((run) => run.name),
        axis: names ? "top" : null,
        label: null,
        padding: 0.08,
      },
      x: {
        domain: lastEpoch > 1 ? [1, lastEpoch] : [0.5, 1.5],
        axis: names ? null : "bottom",
        ticks,
        tickFormat: String,
        inset: 10,
        label: "Epoch",
        labelAnchor: "center",
        labelArrow: "none",
      },
      y: {
        label,
        nice: true,
        inset: 6,
        ticks: 5,
        grid: true,
        labelAnchor: "center",
        labelArrow: "none",
      },
      marks: [
        Plot.frame({ stroke: palette.line }),
        Plot.ruleX(best, { fx: "run", x: "epoch", stroke: palette.soft, strokeDasharray: "1 3" }),
        Plot.ruleX(stops, {
          fx: "run",
          x: "epoch",
          stroke: palette.ink,
          strokeDasharray: "6 3",
          ariaLabel: () => "early stopping",
        }),
        ...marks,
      ],
    }, palette.soft);
    return `<g transform="translate(0,${y})">${content}</g>`;
  };
  const curve = (points: Point[], style: Style): Plot.Markish[] => [
    Plot.line(points, {
      fx: "run",
      x: "epoch",
      y: "value",
      stroke: style.stroke,
      strokeWidth: 1.8,
      strokeDasharray: style.dash,
      ariaLabel: () => style.name,
    }),
    ...(markers
      ? [Plot.dot(points, {
        fx: "run",
        x: "epoch",
        y: "value",
        r: 2.8,
        stroke: style.stroke,
        fill: style.fill,
      })]
      : []),
  ];

  const top = (options.title === false ? 0 : titleHeight) + legendHeight;
  const loss = panel(top, "Loss", {
    names: true,
    marks: [
      ...curve(of((epoch) => epoch.trainLoss), training),
      ...curve(of((epoch) => epoch.validationLoss), validation),
    ],
  });
  const dice = panel(top + panelHeight, "Dice", {
    names: false,
    marks: [
      ...curve(of((epoch) => epoch.trainDice), training),
      ...curve(of((epoch) => epoch.validationDice), validation),
      Plot.dot(best, {
        fx: "run",
        x: "epoch",
        y: "value",
        r: 4.5,
        symbol: "diamond",
        stroke: palette.ink,
        fill: validation.stroke,
      }),
      Plot.text(best, {
        fx: "run",
        frameAnchor: "bottom-right", // where a Dice that rises leaves room
        text: ({ epoch, value }: Point) => `best ${value.toFixed(3)}, epoch ${epoch}`,
        dx: -12,
        dy: -8,
        fill: palette.ink,
        stroke: palette.ground,
        strokeWidth: 4,
      }),
    ],
  });
  const height = top + 2 * panelHeight;
  const title = `Loss and Dice by epoch${options.simulated ? ", simulated tumours" : ""}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}" font-family="${font}" font-size="11" role="img">`,
    ...(options.title === false ? [] : [
      `<title>${escapeXml(title)}</title>`,
      `<rect width="${width}" height="${height}" fill="${palette.ground}"/>`,
      `<text x="14" y="24" font-size="15" font-weight="bold" fill="${palette.ink}">${
        escapeXml(title)
      }</text>`,
    ]),
    `<g transform="translate(0,${top - legendHeight})">${
      legend({ markers, palette, stops: stops.length > 0 })
    }</g>`,
    loss,
    dice,
    "</svg>\n",
  ].join("\n");
}

/** The marks of one row of panels, and whether the runs' names stand above it. */
interface PanelContent {
  marks: Plot.Markish[];
  names: boolean;
}

/** A sample of each curve with its name, in one line under the title. */
function legend(
  { markers, palette, stops }: { markers: boolean; palette: Palette; stops: boolean },
): string {
  const { training, validation } = splitStyles(palette);
  const sample = (x: number, style: Style) =>
    lineSample({ x, y: 14, length: 30 }, style) +
    (markers
      ? `<circle cx="${x + 15}" cy="14" r="2.8" fill="${style.fill}" stroke="${style.stroke}"/>`
      : "") +
    `<text x="${x + 36}" y="18" fill="${palette.ink}">${style.name}</text>`;
  return sample(14, training) + sample(110, validation) +
    `<path d="M230,9l4.5,5l-4.5,5l-4.5,-5z" fill="${validation.stroke}" stroke="${palette.ink}"/>` +
    `<text x="240" y="18" fill="${palette.ink}">best epoch by validation Dice</text>` +
    (stops
      ? `<line x1="420" x2="420" y1="6" y2="22" stroke="${palette.ink}" stroke-dasharray="6 3"/>` +
        `<text x="428" y="18" fill="${palette.ink}">early stopping</text>`
      : "");
}
