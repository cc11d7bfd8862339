import * as Plot from "@observablehq/plot";
import { parseHTML } from "linkedom";

/** What is used here of the element that Plot makes; the DOM's own types are a browser's. */
interface SvgElement {
  querySelector(selector: string): { remove(): void } | null;
  readonly innerHTML: string;
}

/**
 * What Observable Plot draws, on linkedom's document, so that no browser is needed.
 *
 * @param colour Of axes and their labels.
 * @returns A group, to be placed in an SVG.
 */
export function plotContent(options: Plot.PlotOptions, colour: string): string {
  const { document } = parseHTML("<html></html>") as unknown as { document: never };
  const svg = Plot.plot({ document, ...options }) as unknown as SvgElement;
  svg.querySelector("style")?.remove(); // rules for an SVG of its own in a web page
  return `<g color="${colour}" fill="currentColor" text-anchor="middle">${svg.innerHTML}</g>`;
}

/** A legend's sample of a line, from a place to the right. */
export function lineSample(
  { x, y, length }: { x: number; y: number; length: number },
  { stroke, dash }: { stroke: string; dash?: string },
): string {
  return `<line x1="${x}" x2="${x + length}" y1="${y}" y2="${y}" stroke="${stroke}" ` +
    `stroke-width="1.8"${dash ? ` stroke-dasharray="${dash}"` : ""}/>`;
}
