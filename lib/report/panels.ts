/**
 * Panels of plots, drawn by Observable Plot on linkedom's document, so that no browser is needed, and
 * their legends.
 *
 * @module
 */
import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";
import { visible } from "../errors.ts";
import type { Palette, SeriesStyle } from "./palette.ts";
import { FIGURE_WIDTH, FONT_SIZE, type Part, strokePath, svgText, textWidth } from "./svg.ts";

/** Members used here of the element that Plot makes; the DOM's own types are a browser's. */
interface SvgElement {
  querySelector(selector: string): { remove(): void } | null;
  readonly innerHTML: string;
}

/**
 * A plot by Observable Plot as a group, to be placed in an SVG.
 *
 * @param colour Colour of axes and their labels.
 */
export function plotContent(options: Plot.PlotOptions, colour: string): string {
  const { document } = parseHTML("<html></html>") as unknown as { document: never };
  const svg = Plot.plot({ document, ...options }) as unknown as SvgElement;
  svg.querySelector("style")?.remove(); // rules for an SVG of its own in a web page
  const content = visible(svg.innerHTML).replaceAll(COORDINATES, roundNumbers);
  return `<g color="${colour}" fill="currentColor" text-anchor="middle">${content}</g>`;
}

/** Attributes of SVG that hold positions and sizes. */
const COORDINATES = / (d|[xy][12]?|c[xy]|r|width|height|points|transform)="[^"]*"/g;

/** Numbers to hundredths of a pixel: more can not be seen. */
function roundNumbers(attribute: string): string {
  return attribute.replaceAll(
    /-?\d+\.\d{3,}(e-?\d+)?/g,
    (text) => String(Number(Number(text).toFixed(2))),
  );
}

/** Options of an axis whose label stands in its middle, without an arrow. */
export const axisLabel = { labelAnchor: "center", labelArrow: "none" } as const;

/** A framed plot among others beside it. */
export interface Panel {
  /** Heading above the frame; cut where it is wider than the panel. */
  readonly title?: string;
  /** Scale and axis below the frame; an axis of null needs no room. */
  readonly x: Plot.ScaleOptions;
  /** An axis of null needs no room; its label is drawn in the first panel alone. */
  readonly y: Plot.ScaleOptions;
  /** Marks within the frame. */
  readonly marks: readonly Plot.Markish[];
}

/**
 * Panels of one width beside each other.
 *
 * @param options.columns Panels that there is room for; default as many as there are.
 * @param options.left Room in pixels before the first panel.
 */
export function panelRow(
  panels: readonly Panel[],
  options: { height: number; palette: Palette; columns?: number; left?: number },
): Part {
  const { height, palette, columns = panels.length, left = 0 } = options;
  const width = Math.floor((FIGURE_WIDTH - left) / columns);
  const drawn = panels.map(({ title, x, y, marks }, i) => {
    const room = Math.max(4, Math.floor((width - 6) / 6.2)); // the heading is bold
    const heading = title && title.length > room ? `${title.slice(0, room - 1)}…` : title;
    const content = plotContent({
      style: { fontSize: `${FONT_SIZE}px` },
      width,
      height,
      marginLeft: y.axis === null ? 8 : i === 0 ? 66 : 46,
      marginRight: 8,
      marginTop: heading ? 26 : 10,
      marginBottom: x.axis === null ? 8 : 42,
      x: { labelOffset: 36, ...axisLabel, ...x },
      y: { labelOffset: 56, ...axisLabel, ...y, label: i === 0 ? y.label : null },
      marks: [
        Plot.frame({ stroke: palette.line }),
        Plot.text(heading ? [heading] : [], {
          frameAnchor: "top",
          text: (name: string) => name,
          dy: -13,
          fill: palette.ink,
          fontWeight: 600,
        }),
        ...marks,
      ],
    }, palette.soft);
    return `<g transform="translate(${left + i * width},0)">${content}</g>`;
  });
  return [height, drawn.join("")];
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

/** Entry of a legend. */
export interface LegendEntry {
  /** Text beside the sample. */
  readonly name: string;
  /** Line and marker of the sample. */
  readonly style: SeriesStyle;
  /** Part of the sample that is left out; default none. */
  readonly without?: "marker" | "line";
}

/** A sample of each line with its name, in as many rows as it takes. */
export function legend(entries: readonly LegendEntry[], palette: Palette): Part {
  let [x, y] = [8, 14];
  const drawn = entries.map(({ name, style, without }) => {
    const width = 46 + textWidth(name) + 18;
    if (x + width > FIGURE_WIDTH && x > 8) [x, y] = [8, y + 20];
    const line = strokePath(`M${x},${y}h36`, { stroke: style.colour, dash: style.dash });
    const sample = (without === "line" ? "" : line) +
      (without === "marker" ? "" : marker(style, palette, { x: x + 18, y })) +
      svgText(name, { x: x + 43, y: y + 4, fill: palette.ink });
    x += width;
    return sample;
  });
  return [y + 14, drawn.join("")];
}
