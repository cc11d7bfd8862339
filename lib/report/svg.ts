/**
 * Parts of SVG that every picture is made of.
 *
 * @module
 */

import { visible } from "../errors.ts";

/** Width of every figure of a page in pixels: that of the page's text. */
export const FIGURE_WIDTH = 900;

/** Size of a figure's text in pixels. */
export const FONT_SIZE = 12;

/** Text made safe for SVG and HTML, between tags and inside quoted attributes. */
export function escapeXml(text: string): string {
  return visible(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/** Rough width of a text in pixels at the figures' font size. */
export function textWidth(text: string): number {
  return 6.5 * text.length;
}

/** A line of text whose base line is at y; `attributes` are SVG's, such as `text-anchor="end"`. */
export function svgText(
  text: string,
  { x, y, fill }: { x: number; y: number; fill: string },
  attributes = "",
): string {
  const at = Number(x.toFixed(1));
  return `<text x="${at}" y="${y}" fill="${fill}" ${attributes}>${escapeXml(text)}</text>`;
}

/** Line of an outline or a curve's sample, in pixels. */
export interface Stroke {
  /** Colour. */
  readonly stroke: string;
  /** Width; default 1.8. */
  readonly width?: number;
  /** Lengths of SVG's `stroke-dasharray`; absent for a solid line. */
  readonly dash?: string;
}

/** A path drawn as a line; `attributes` are SVG's. */
export function strokePath(
  path: string,
  { stroke, width = 1.8, dash }: Stroke,
  attributes = "",
): string {
  return `<path d="${path}" fill="none" stroke="${stroke}" stroke-width="${width}"` +
    `${dash ? ` stroke-dasharray="${dash}"` : ""} ${attributes}/>`;
}

/** A part of a picture below others: its height in pixels and its SVG. */
export type Part = readonly [height: number, content: string];

/** A figure of parts below each other. */
export function stack(parts: readonly Part[]): string {
  let y = 0;
  const placed = parts.map(([height, content]) => {
    const at = y;
    y += height;
    return `<g transform="translate(0,${at})">${content}</g>`;
  });
  return `<svg width="${FIGURE_WIDTH}" height="${y}" viewBox="0 0 ${FIGURE_WIDTH} ${y}" ` +
    `font-size="${FONT_SIZE}">${placed.join("")}</svg>`;
}

/**
 * An SVG as a file of its own: with its namespace, a font, a title and a ground behind it.
 *
 * @param svg Begins with `<svg `.
 */
export function standalone(svg: string, title: string, ground: string): string {
  const fonts = `Lato, Helvetica, Arial, 'Liberation Sans', sans-serif`;
  return svg.trim().replace(
    /^<svg ([^>]*)>/,
    `<svg xmlns="http://www.w3.org/2000/svg" font-family="${fonts}" $1>` +
      `<title>${escapeXml(title)}</title><rect width="100%" height="100%" fill="${ground}"/>`,
  ) + "\n";
}
