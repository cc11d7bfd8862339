import * as Plot from "@observablehq/plot";
import { paper, seriesStyle } from "../../lib/report/palette.ts";
import { axisLabel, type Panel, panelRow } from "../../lib/report/panels.ts";
import { rasterize } from "../../lib/report/rasterize.ts";
import { stack, standalone } from "../../lib/report/svg.ts";

/** Time and most memory of a command. */
export interface Measured {
  readonly seconds: number;
  /** Processor time of all threads. */
  readonly cpuSeconds: number;
  readonly bytes: number;
}

/** Commands that read a whole study. */
const COMMANDS = ["plan", "status", "gather"] as const;

/** Studies of several sizes. */
export interface Growth {
  readonly command: string;
  readonly studies: (
    & { readonly tasks: number }
    & Readonly<
      Record<typeof COMMANDS[number], Measured>
    >
  )[];
}

/** A line with its name at its end. */
export interface NamedLine {
  readonly name: string;
  readonly points: readonly { readonly x: number; readonly y: number }[];
}

/** Marks of lines, in the order of their styles. */
export function lineMarks(lines: readonly NamedLine[]): Plot.Markish[] {
  return lines.flatMap(({ name, points }, i) => {
    const { colour } = seriesStyle(paper, i);
    return [
      Plot.line(points, { x: "x", y: "y", stroke: colour, strokeWidth: 1.6 }),
      Plot.dot(points, { x: "x", y: "y", fill: colour, r: 3 }),
      Plot.text(points.slice(-1), {
        x: "x",
        y: "y",
        text: () => name,
        fill: colour,
        textAnchor: "end",
        dy: i === 0 ? 12 : -9, // the lowest line has its name below
        dx: -4,
      }),
    ];
  });
}

/** Writes panels beside each other as a PNG. */
export async function drawPanels(
  panels: readonly Panel[],
  { path, title }: { path: string; title: string },
): Promise<void> {
  const svg = stack([panelRow(panels, { height: 300, palette: paper })]);
  await Deno.writeFile(path, await rasterize(standalone(svg, title, paper.ground)));
}

/** Draws processor time and memory by the number of tasks. */
export async function drawGrowth({ studies }: Growth, path: string): Promise<void> {
  const ticks = studies.map(({ tasks }) => tasks);
  const linesOf = (value: (measured: Measured) => number): NamedLine[] =>
    COMMANDS.map((name) => ({
      name,
      points: studies.map((study) => ({ x: study.tasks, y: value(study[name]) })),
    }));
  const x = {
    type: "log",
    label: "tasks",
    ticks,
    tickFormat: (count: number) => count.toLocaleString("en"),
    inset: 16,
    ...axisLabel,
  } as const;
  const panel = (title: string, value: (measured: Measured) => number): Panel => {
    const lines = linesOf(value);
    const most = Math.max(...lines.flatMap(({ points }) => points.map(({ y }) => y)));
    const y = { label: null, domain: [-0.08 * most, 1.15 * most] };
    return { title, x, y, marks: lineMarks(lines) };
  };
  await drawPanels([
    panel("Processor time of a command (s)", ({ cpuSeconds }) => cpuSeconds),
    panel("Most memory of its process (MiB)", ({ bytes }) => bytes / 2 ** 20),
  ], { path, title: "Growth with the number of tasks" });
}

/** Cost of a study's frozen prefix, and of a training with it and without. */
export interface PrefixCost {
  readonly command: string;
  readonly prefix: { readonly cpuSeconds: number; readonly diskBytes: number };
  readonly training: { readonly withPrefix: number; readonly without: number };
}

/** Trainings that the figure goes up to: five ranks, three seeds, five folds. */
const MOST_TRAININGS = 75;

/** Draws processor time by the number of trainings, with the prefix shared and without. */
export async function drawPrefix({ prefix, training }: PrefixCost, path: string): Promise<void> {
  const counts = [1, 5, 15, 30, 45, 60, MOST_TRAININGS];
  const minutes = (seconds: (count: number) => number) =>
    counts.map((count) => ({ x: count, y: seconds(count) / 60 }));
  const alone = minutes((count) => count * training.without);
  const shared = minutes((count) => prefix.cpuSeconds + count * training.withPrefix);
  await drawPanels([{
    title: "Processor time of a study's trainings",
    x: { label: "trainings", ticks: counts, inset: 16, ...axisLabel },
    y: { label: "min", domain: [0, 1.1 * alone.at(-1)!.y], ...axisLabel },
    marks: lineMarks([
      { name: "prefix computed once", points: shared },
      { name: "each computes its own", points: alone },
    ]),
  }], { path, title: "Cost of the shared prefix and its saving" });
}
