// A table and a figure of what one click reaches, from what tests/bench/predict.ts wrote down.
//
// deno run -A tests/bench/spread_report.ts [results/predict]
//
// Reads spread.json of the folder, and writes spread.md and spread.svg beside it.
import * as Plot from "@observablehq/plot";
import { join } from "node:path";
import { markdownTable } from "../../lib/report/markdown_table.ts";
import { legend, type LegendEntry, panelRow } from "../../lib/report/panels.ts";
import { paper } from "../../lib/report/palette.ts";
import { stack, standalone } from "../../lib/report/svg.ts";

/** Share of the Dice of a box in each slice that one click is to reach. */
export const AIM = 0.9;

/** A scan that was segmented by one click and by a box in each slice. */
export interface SpreadScan {
  readonly id: string;
  /** Slices of the volume. */
  readonly count: number;
  /** Dice of the volume from one click. */
  readonly click: number;
  /** Dice of the volume from a box in each slice. */
  readonly box: number;
  /** Seconds a slice of the click, encoding included. */
  readonly seconds: number;
  /** Index of the slice with the click. */
  readonly clicked: number;
  /** Slices with tumour or mask: pixels of each, and the Dice of the click. */
  readonly slices: readonly {
    readonly index: number;
    readonly truth: number;
    readonly box: number;
    readonly click: number;
    readonly dice: number;
  }[];
}

/** First and last slice with something in it. */
function span({ slices }: SpreadScan, of: "truth" | "click"): string {
  const own = slices.filter((slice) => slice[of] > 0).map(({ index }) => index);
  return own.length === 0 ? "none" : `${own[0]} to ${own.at(-1)}`;
}

/** The table of all scans. */
export function spreadTable(scans: readonly SpreadScan[]): string {
  return markdownTable({
    header: [
      "scan",
      "slices",
      "a box in each slice",
      "one click",
      "share",
      "tumour in slices",
      "mask in slices",
      "s a slice",
    ],
    rows: scans.map((scan) => [
      scan.id,
      String(scan.count),
      scan.box.toFixed(3),
      scan.click.toFixed(3),
      `${(100 * scan.click / scan.box).toFixed(0)} %${
        scan.click < AIM * scan.box ? " (fails)" : ""
      }`,
      span(scan, "truth"),
      span(scan, "click"),
      scan.seconds.toFixed(2),
    ]),
  });
}

const LINES = [
  { of: "truth", name: "truth", colour: 0, dash: undefined },
  { of: "box", name: "a box in each slice", colour: 3, dash: "6 3" },
  { of: "click", name: "one click", colour: 2, dash: undefined },
] as const;

/** Areas along the scans that fail. */
export function spreadFigure(scans: readonly SpreadScan[]): string {
  const entries = LINES.map(({ name, colour, dash }): LegendEntry => ({
    name,
    style: { colour: paper.series[colour], dash, symbol: "circle", filled: true },
    without: "marker",
  }));
  const panels = scans.map(({ id, slices, clicked }) => ({
    title: id,
    x: { label: "Slice" },
    y: { label: "Pixels", grid: true },
    marks: [
      Plot.ruleX([clicked], { stroke: paper.soft, strokeDasharray: "2 3" }),
      ...LINES.map(({ of, colour, dash }) =>
        Plot.line(slices, {
          x: "index",
          y: of,
          stroke: paper.series[colour],
          strokeDasharray: dash,
          strokeWidth: 1.6,
        })
      ),
    ],
  }));
  const svg = stack([legend(entries, paper), panelRow(panels, { height: 240, palette: paper })]);
  return standalone(svg, "Area of truth and masks by slice, of scans that fail", paper.ground);
}

if (import.meta.main) {
  const folder = Deno.args[0] ?? "results/predict";
  const { scans }: { scans: SpreadScan[] } = JSON.parse(
    await Deno.readTextFile(join(folder, "spread.json")),
  );
  const failed = scans.filter(({ click, box }) => click < AIM * box);
  await Deno.writeTextFile(join(folder, "spread.md"), `${spreadTable(scans)}\n`);
  if (failed.length > 0) await Deno.writeTextFile(join(folder, "spread.svg"), spreadFigure(failed));
}
