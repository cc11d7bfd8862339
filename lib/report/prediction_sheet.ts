import type { Axis } from "../data/plane.ts";
import type { Volume } from "../formats/volume.ts";
import { contactSheet, type SheetCase } from "./contact_sheet.ts";
import { asShown, displayOf } from "./orientation.ts";
import { paper } from "./palette.ts";
import { rasterize } from "./rasterize.ts";
import { standalone } from "./svg.ts";

/** Scans of a sheet; a higher picture would be hard to read and to draw. */
export const SCANS_PER_SHEET = 24;

/** A slice of a scan with its mask. */
export interface PredictedSlice {
  /** Name of the scan. */
  readonly name: string;
  /** The scan's geometry. */
  readonly volume: Pick<Volume, "shape" | "spacing" | "affine" | "isPlaced">;
  /** Axis of its slices. */
  readonly axis: Axis;
  /** Index of the slice. */
  readonly index: number;
  /** The slice's pixels, 0..255, rows one after another. */
  readonly image: Float32Array;
  /** Columns. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
  /** A byte a pixel; any value but 0 is set. */
  readonly mask: Uint8Array;
  /** The true mask, where it is known. */
  readonly truth?: Uint8Array;
  /** Dice of the two, where it is known. */
  readonly dice?: number;
}

/** A slice as it is shown: in radiological convention and in the scan's aspect. */
function sheetCase(slice: PredictedSlice): SheetCase {
  const display = displayOf(slice.volume, slice.axis);
  const shown = <T extends Float32Array | Uint8Array>(pixels: T) => asShown(pixels, slice, display);
  const { pixels: image, width, height } = shown(slice.image);
  return {
    rank: display.sides ? display.plane : "as stored",
    name: `${slice.name}, slice ${slice.index}`,
    image,
    width,
    height,
    truth: slice.truth && shown(slice.truth).pixels,
    predictions: [{ name: "Mask", mask: shown(slice.mask).pixels, dice: slice.dice }],
    sides: display.sides,
  };
}

/**
 * A contact sheet as PNG: a row a scan with its slice of the largest mask, in radiological convention.
 *
 * @param slices At most {@linkcode SCANS_PER_SHEET}.
 */
export async function predictionSheet(slices: readonly PredictedSlice[]): Promise<Uint8Array> {
  const note = "Radiological convention: the patient's right is on the left, front or top above.";
  const svg = contactSheet({ models: ["Mask"], cases: slices.map(sheetCase), note }, paper);
  return await rasterize(standalone(svg, "Predicted masks", paper.ground));
}
