import { contactSheet, type SheetCase } from "./contact_sheet.ts";
import { paper } from "./palette.ts";
import { rasterize } from "./rasterize.ts";
import { showSlice, type StoredSlice } from "./shown_slice.ts";
import { standalone } from "./svg.ts";

/** Scans of a sheet; a higher picture would be hard to read and to draw. */
export const SCANS_PER_SHEET = 24;

/** A slice of a scan with its mask. */
export interface PredictedSlice extends StoredSlice {
  /** Name of the scan. */
  readonly name: string;
  /** Index of the slice. */
  readonly index: number;
  /** A byte a pixel; any value but 0 is set. */
  readonly mask: Uint8Array;
  /** The true mask, where it is known. */
  readonly truth?: Uint8Array;
  /** Dice of the two, where it is known. */
  readonly dice?: number;
}

/** A slice as it is shown: in radiological convention and in the scan's aspect. */
function sheetCase(slice: PredictedSlice): SheetCase {
  const shown = showSlice(slice);
  return {
    ...shown,
    rank: shown.plane,
    name: `${slice.name}, slice ${slice.index}`,
    truth: slice.truth && shown.showMask(slice.truth),
    predictions: [{ name: "Mask", mask: shown.showMask(slice.mask), dice: slice.dice }],
  };
}

/**
 * A contact sheet as PNG: a row a scan with its slice of the largest mask, in radiological
 * convention where the orientation is known.
 *
 * @param slices At most {@linkcode SCANS_PER_SHEET}.
 */
export async function predictionSheet(slices: readonly PredictedSlice[]): Promise<Uint8Array> {
  const svg = contactSheet({ models: ["Mask"], cases: slices.map(sheetCase) }, paper);
  return await rasterize(standalone(svg, "Predicted masks", paper.ground));
}
