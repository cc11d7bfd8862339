/**
 * Slices beside and below each other, with the outlines of truth and mask.
 *
 * @module
 */
import { rasterize } from "./rasterize.ts";
import { conventionNote, showSlice, type StoredSlice } from "./shown_slice.ts";
import { frame, outlinePath, sideLetters, sliceImage } from "./slice_view.ts";
import { standalone, strokePath, svgText } from "./svg.ts";

/** A slice of a sheet, as it is stored. */
export interface SheetSlice extends StoredSlice {
  /** Stands below it: a few words. */
  readonly caption: string;
  /** height * width bytes; any value but 0 is tumour. */
  readonly truth: Uint8Array;
  /** A model's mask; absent where none is shown. */
  readonly mask?: Uint8Array;
}

/** Slices under one heading. */
export interface SheetGroup {
  /** Stands above its rows. */
  readonly heading: string;
  readonly slices: readonly SheetSlice[];
}

const COLUMNS = 5;
const TILE = 180;
const GAP = 8;
const HEADING = 34;
const NOTE = 24;
const CAPTION = 20;
const TRUTH = "#ffe94a";
const MASK = "#ff6a1a";

function tile(
  { caption, truth, mask, ...stored }: SheetSlice,
  { x, y, id }: { x: number; y: number; id: string },
): string {
  const shown = showSlice(stored);
  const { width, height } = shown;
  const view = { x: 0, y: 0, width, height };
  const place = { x, y, width: TILE, height: TILE };
  const unit = Math.max(width, height) / TILE;
  const outline = (own: Uint8Array, stroke: string, dash?: string) =>
    strokePath(outlinePath(shown.showMask(own), width), { stroke, width: 1.4 * unit, dash });
  const content = sliceImage(shown, view, id) + outline(truth, TRUTH) +
    (mask ? outline(mask, MASK, `${4 * unit} ${2 * unit}`) : "");
  return `<rect x="${x}" y="${y}" width="${TILE}" height="${TILE}" fill="#000000"/>` +
    frame(view, place, content) + sideLetters(shown.sides, place) +
    svgText(
      caption,
      { x: x + TILE / 2, y: y + TILE + 14, fill: "#1a1a1a" },
      `text-anchor="middle"`,
    );
}

/** Draws slices in groups as SVG. Solid: truth; dashed: mask. */
export function sheetSvg(groups: readonly SheetGroup[]): string {
  const width = COLUMNS * (TILE + GAP) + GAP;
  let y = 0;
  const drawn = groups.map(({ heading, slices }, group) => {
    const top = y;
    y += HEADING + Math.ceil(slices.length / COLUMNS) * (TILE + CAPTION + GAP);
    return svgText(heading, { x: GAP, y: top + 22, fill: "#1a1a1a" }, `font-weight="600"`) +
      slices.map((slice, i) =>
        tile(slice, {
          x: GAP + (i % COLUMNS) * (TILE + GAP),
          y: top + HEADING + Math.floor(i / COLUMNS) * (TILE + CAPTION + GAP),
          id: `slice-${group}-${i}`,
        })
      ).join("");
  });
  const note = conventionNote(groups.flatMap(({ slices }) => slices.map(showSlice)));
  return `<svg width="${width}" height="${y + NOTE}" font-size="11">${drawn.join("")}` +
    `${svgText(note, { x: GAP, y: y + 14, fill: "#1a1a1a" })}</svg>`;
}

/** The same as the bytes of a PNG file. */
export async function sliceSheet(groups: readonly SheetGroup[]): Promise<Uint8Array> {
  return await rasterize(standalone(sheetSvg(groups), "Slices", "#ffffff"));
}
