import * as Plot from "@observablehq/plot";
import { plotContent } from "../../lib/report/panels.ts";
import { rasterFont } from "../../lib/report/rasterize.ts";
import { escapeXml, strokePath } from "../../lib/report/svg.ts";
import type { CurvePoint, FaultRun } from "./run_fault.ts";

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
    const mean = (field: "dice" | "predicted") =>
      near.reduce((sum, one) => sum + one[field], 0) / near.length;
    return { ...point, dice: mean("dice"), predicted: mean("predicted") };
  });
}

/**
 * A panel for each run: Dice and predicted share of the training masks by step, and where a guard would
 * have ended it. What comes after that line is how it went on without guards. Readable in black and white.
 *
 * @returns The text of an SVG file.
 */
export function autopsyFigure(
  runs: readonly FaultRun[],
): string {
  const rows = Math.ceil(runs.length / columns);
  const width = columns * panel.width + 16;
  const height = header + rows * (panel.height + panel.top) + 10;
  const drawn = runs.map((run, i) => {
    const x = 8 + (i % columns) * panel.width;
    const y = header + Math.floor(i / columns) * (panel.height + panel.top);
    const points = smooth(run.curve);
    const line = (field: "dice" | "predicted", style: LineStyle) =>
      Plot.line(points, {
        x: "step",
        y: field,
        stroke: style.stroke,
        strokeWidth: 1.8,
        strokeDasharray: style.dash,
      });
    const [first] = run.caught;
    const content = plotContent({
      width: panel.width,
      height: panel.height,
      marginLeft: 40,
      marginRight: 12,
      marginTop: 8,
      marginBottom: 36,
      x: {
        domain: [0, run.steps],
        label: "Step",
        ticks: 5,
        labelAnchor: "center",
        labelArrow: "none",
      },
      y: { domain: [0, 1], label: null, ticks: 5, grid: true },
      marks: [
        Plot.frame({ stroke: "#b0b0b0" }),
        ...(first ? [Plot.ruleX([first.step], { stroke: ink, strokeWidth: 2.4 })] : []),
        line("predicted", predicted),
        line("dice", dice),
      ],
    }, ink);
    const { dice: end, predicted: share } = run.test[run.prompt];
    return `<g transform="translate(${x},${y})">` +
      `<text x="8" y="14" font-size="12" font-weight="700" fill="${ink}">` +
      `${escapeXml(run.title)}</text>` +
      `<text x="8" y="29" font-size="11" fill="${ink}">${escapeXml(verdict(run))}</text>` +
      `<text x="8" y="42" font-size="11" fill="${ink}">in the end: Dice ${
        (100 * end).toFixed(1)
      } %, ${(100 * share).toFixed(1)} % of the image</text>` +
      `<g transform="translate(0,${panel.top})" font-size="10">${content}</g></g>`;
  });
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
    ...drawn,
    "</svg>\n",
  ].join("\n");
}
