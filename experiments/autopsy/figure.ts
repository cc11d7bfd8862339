import * as Plot from "@observablehq/plot";
import { plotContent } from "../../lib/report/panels.ts";
import { rasterFont } from "../../lib/report/rasterize.ts";
import { escapeXml, strokePath } from "../../lib/report/svg.ts";
import { mean } from "../../lib/stats/summary.ts";
import type { CurvePoint, FaultRun } from "./run_fault.ts";
import { percent } from "./table.ts";

/** Style of a line in every panel, and its name in the legend. */
interface LineStyle {
  readonly name: string;
  readonly stroke: string;
  readonly dash?: string;
}

const ink = "#1a1a1a";
// Two colours of the Okabe-Ito palette; without colour the lines differ by their dashes.
const dice: LineStyle = { name: "Dice of the training masks", stroke: "#0072b2" };
const predicted: LineStyle = {
  name: "share of the image predicted",
  stroke: "#d55e00",
  dash: "4 2.5",
};
const columns = 3;
const panel = { width: 292, height: 196, top: 44 };
const header = 64;

/** Line below a panel's title: the guard that ended the run, and its step. */
function verdict({ caught: [first] }: FaultRun): string {
  if (!first) return "no guard objects";
  return first.step === 0
    ? `${first.guard}, before the first step`
    : `${first.guard}, after step ${first.step}`;
}

/** Means over so many neighbouring batches, so that single batches do not hide the course. */
const SMOOTHED = 3;

function smooth(points: readonly CurvePoint[]): CurvePoint[] {
  return points.map((point, i) => {
    const near = points.slice(Math.max(0, i - SMOOTHED + 1), i + 1);
    const of = (field: "dice" | "predicted") => mean(near.map((one) => one[field]));
    return { ...point, dice: of("dice"), predicted: of("predicted") };
  });
}

/** Dice and predicted share by step, and the step at which the first guard objects, as SVG content. */
function courseOf({ curve, caught: [first], steps }: FaultRun): string {
  const points = smooth(curve);
  const line = (field: "dice" | "predicted", { stroke, dash }: LineStyle) =>
    Plot.line(points, { x: "step", y: field, stroke, strokeWidth: 1.8, strokeDasharray: dash });
  return plotContent({
    width: panel.width,
    height: panel.height,
    marginLeft: 40,
    marginRight: 12,
    marginTop: 8,
    marginBottom: 36,
    x: { domain: [0, steps], label: "Step", ticks: 5, labelAnchor: "center", labelArrow: "none" },
    y: { domain: [0, 1], label: null, ticks: 5, grid: true },
    marks: [
      Plot.frame({ stroke: "#b0b0b0" }),
      ...(first ? [Plot.ruleX([first.step], { stroke: ink, strokeWidth: 2.4 })] : []),
      line("predicted", predicted),
      line("dice", dice),
    ],
  }, ink);
}

/** The panel of a run, the i-th of the figure, under its title, verdict and end. */
function panelOf(run: FaultRun, i: number): string {
  const x = 8 + (i % columns) * panel.width;
  const y = header + Math.floor(i / columns) * (panel.height + panel.top);
  const { dice: end, predicted: share } = run.test[run.prompt];
  const line = (y: number, words: string, style = 'font-size="11"') =>
    `<text x="8" y="${y}" ${style} fill="${ink}">${escapeXml(words)}</text>`;
  return `<g transform="translate(${x},${y})">` +
    line(14, run.title, 'font-size="12" font-weight="700"') +
    line(29, verdict(run)) +
    line(42, `in the end: Dice ${percent(end)} %, ${percent(share)} % of the image`) +
    `<g transform="translate(0,${panel.top})" font-size="10">${courseOf(run)}</g></g>`;
}

/**
 * A panel for each run: Dice and predicted share of the training masks by step, and where a guard would
 * have ended it. What comes after that line is how it went on without guards. Readable in black and white.
 *
 * @returns The text of an SVG file.
 */
export function autopsyFigure(runs: readonly FaultRun[]): string {
  const rows = Math.ceil(runs.length / columns);
  const width = columns * panel.width + 16;
  const height = header + rows * (panel.height + panel.top) + 10;
  const title = "Course of a training under each fault, and the guard that sees it";
  const sample = (at: number, style: LineStyle) =>
    strokePath(`M${at},46h30`, style) +
    `<text x="${at + 36}" y="50" fill="${ink}">${style.name}</text>`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}" font-family="${rasterFont}, Helvetica, Arial, sans-serif" ` +
    `font-size="11" role="img">`,
    `<title>${escapeXml(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="16" y="26" font-size="16" font-weight="700" fill="${ink}">${escapeXml(title)}</text>`,
    sample(16, dice),
    sample(230, predicted),
    `<line x1="462" x2="462" y1="38" y2="54" stroke="${ink}" stroke-width="2.4"/>`,
    `<text x="470" y="50" fill="${ink}">a guard ends the run; after it: how it went on without</text>`,
    ...runs.map(panelOf),
    "</svg>\n",
  ].join("\n");
}
