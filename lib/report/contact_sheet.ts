import type { Palette } from "./palette.ts";
import { conventionNote, type Sides } from "./shown_slice.ts";
import {
  closeUp,
  frame,
  type GreySlice,
  type MaskPrediction,
  outlinePath,
  sideLetters,
  sliceImage,
} from "./slice_view.ts";
import { FIGURE_WIDTH, strokePath, svgText } from "./svg.ts";

/** One slice with the models' masks. */
export interface SheetCase extends GreySlice {
  /** Reason why it is shown: "best", "median", "worst"; empty where there is none. */
  readonly rank: string;
  /** Case and slice, in a few words. */
  readonly name: string;
  /** height * width bytes; any value but 0 is tumour. Absent where it is not known. */
  readonly truth?: Uint8Array;
  /** In the order of the columns. */
  readonly predictions: readonly MaskPrediction[];
  /** The patient's sides, where they are known. */
  readonly sides: Sides | null;
}

/** The cases of a contact sheet, as `chooseCases` picks them. */
export interface Sheet {
  /** Names of the columns, as many as each case has predictions. */
  readonly models: readonly string[];
  /** Slices, each a row. */
  readonly cases: readonly SheetCase[];
}

/** Size of the close-up: so many times the tumour's box, and no smaller than this. */
const CLOSE_UP = { factor: 2.2, minimum: 40 };

// On a slice, which is grey on black whatever the page is.
const TRUTH = "#ffe94a";
const PREDICTION = "#ff6a1a";
const WHITE = "#ffffff";

const GAP = 6;
const HEAD = 46;
const LABEL = 18;
const RANKS = 70;

/** An outline with a dark edge, which is seen on any grey; `unit` is the slice pixels of a picture's. */
function outline(mask: Uint8Array, width: number, unit: number, colour: string): string {
  const path = outlinePath(mask, width);
  const dash = colour === PREDICTION ? `${5 * unit} ${3 * unit}` : undefined;
  return strokePath(path, { stroke: "#000000", width: 3.2 * unit }, `stroke-opacity="0.55"`) +
    strokePath(path, { stroke: colour, width: 1.7 * unit, dash });
}

/** Meaning of the outlines, with the left end at `x`. */
function legend(x: number, withTruth: boolean): string {
  const first = withTruth
    ? strokePath(`M${x + 10},11h30`, { stroke: TRUTH, width: 2 }) +
      svgText("truth", { x: x + 47, y: 15, fill: WHITE })
    : "";
  const own = x + (withTruth ? 96 : 10);
  return `<rect x="${x}" y="1" width="${
    withTruth ? 264 : 150
  }" height="20" rx="3" fill="#3a3a3a"/>` +
    first + strokePath(`M${own},11h30`, { stroke: PREDICTION, width: 2, dash: "5 3" }) +
    svgText(withTruth ? "model's mask; Dice" : "model's mask", { x: own + 37, y: 15, fill: WHITE });
}

/**
 * Slices below each other, models beside each other: the whole slice with the place of the close-up,
 * then the close-up once for each model with the truth and the model's mask outlined, and its Dice.
 */
export function contactSheet({ models, cases }: Sheet, palette: Palette): string {
  const columns = models.length + 1;
  const tile = Math.min(168, Math.floor((FIGURE_WIDTH - RANKS - (columns - 1) * GAP) / columns));
  const x = (column: number) => RANKS + column * (tile + GAP);
  const middle = `text-anchor="middle"`;
  const text = (value: string, x: number, y: number, attributes = "") =>
    svgText(value, { x, y, fill: palette.ink }, attributes);
  const rows = cases.map((one, row) => {
    const y = HEAD + row * (tile + LABEL + GAP);
    const place = (column: number) => ({ x: x(column), y, width: tile, height: tile });
    const whole = { x: 0, y: 0, width: one.width, height: one.height };
    const focus = one.truth ?? one.predictions[0]?.mask;
    const view = focus && closeUp(focus, one, CLOSE_UP) || whole;
    const [unit, wholeUnit] = [view, whole].map(({ width, height }) =>
      Math.max(width, height) / tile
    );
    const marked = strokePath(
      `M${view.x},${view.y}h${view.width}v${view.height}h${-view.width}z`,
      { stroke: WHITE, width: 1.3 * wholeUnit },
    );
    const truth = one.truth ? outline(one.truth, one.width, unit, TRUTH) : "";
    const tiles = one.predictions.map(({ mask, dice }, i) =>
      frame(
        view,
        place(i + 1),
        `<use href="#case-${row}"/>` + truth + outline(mask, one.width, unit, PREDICTION),
      ) + text(dice?.toFixed(3) ?? "", x(i + 1) + tile / 2, y + tile + 14, middle)
    );
    return `<defs>${sliceImage(one, view, `case-${row}`)}</defs>` +
      text(one.rank, 0, y + 16, `font-weight="600" font-size="13"`) +
      frame(whole, place(0), sliceImage(one, whole, `slice-${row}`) + marked) +
      sideLetters(one.sides, place(0)) +
      text(one.name, x(0) + tile / 2, y + tile + 14, `${middle} font-size="10"`) + tiles.join("");
  });
  const heads = ["Slice", ...models].map((name, i) =>
    text(name, x(i) + tile / 2, HEAD - 8, `${middle} font-weight="600"`)
  );
  const key = legend(x(0), cases.some(({ truth }) => truth !== undefined));
  const corner = text(conventionNote(cases), x(0) + 276, 15);
  const width = Math.max(FIGURE_WIDTH, x(columns) - GAP);
  const height = HEAD + cases.length * (tile + LABEL + GAP);
  return `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    `font-size="12">${key}${corner}${heads.join("")}${rows.join("")}</svg>`;
}
