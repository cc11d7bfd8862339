/**
 * The masks of several models on one slice, side by side, as PNG.
 *
 * @module
 */
import { rasterFont, rasterize } from "./rasterize.ts";
import { conventionNote, type ShownSlice, showSlice, type StoredSlice } from "./shown_slice.ts";
import {
  closeUp,
  frame,
  type MaskPrediction,
  outlinePath,
  sideLetters,
  sliceImage,
} from "./slice_view.ts";
import { strokePath, svgText } from "./svg.ts";

/** One slice as it is stored, its truth and the models' masks. */
export interface MaskPictureOptions extends StoredSlice {
  /** height * width bytes; any value but 0 is tumour. Without it, predictions stand alone. */
  readonly truth?: Uint8Array;
  /** In the order of the panels. */
  readonly predictions: readonly MaskPrediction[];
  /** The box prompt in pixels, [x0, y0, x1, y1], the last two exclusive. */
  readonly box?: readonly [x0: number, y0: number, x1: number, y1: number];
  /** Stands above the panels, for example the case and the slice. */
  readonly caption?: string;
  /** Width of a panel in pixels; default 256. */
  readonly panelWidth?: number;
}

const ink = "#1a1a1a";
const truthColour = "#f0e442";
const predictionColour = "#d55e00";
const boxColour = "#ffffff";
const gap = 8;
const captionHeight = 34;
const panelHeaderHeight = 40;
const legendHeight = 54;
/** Size of the close-up: so many times the tumour's box, and no smaller than this. */
const CLOSE_UP = { factor: 1.7, minimum: 24 };

/** A slice as it is drawn, with its masks and its box. */
type Drawn = ShownSlice & Pick<MaskPictureOptions, "truth" | "predictions" | "box">;

/** A column of the picture: its header, and what lies over the slice. */
interface Panel {
  readonly name: string;
  readonly dice?: number;
  /** SVG in slice pixels; `unit` is the number of them that one pixel of the picture covers. */
  readonly overlay: (unit: number) => string;
}

/** Image, truth, and one panel a prediction. */
function panels({ width, truth, predictions, box }: Drawn): Panel[] {
  const outlined = (mask: Uint8Array | undefined, stroke: string) => {
    const path = mask && outlinePath(mask, width);
    return (unit: number) =>
      path ? strokePath(path, { stroke, width: 1.5 * unit }, `stroke-linecap="square"`) : "";
  };
  const filled = (mask: Uint8Array, colour: string) =>
    `<path d="${outlinePath(mask, width)}" fill="${colour}" ` +
    `fill-opacity="0.3" shape-rendering="crispEdges"/>`;
  const truthOutline = outlined(truth, truthColour);
  return [
    {
      name: "Image",
      overlay: (unit) =>
        box
          ? strokePath(`M${box[0]},${box[1]}H${box[2]}V${box[3]}H${box[0]}z`, {
            stroke: boxColour,
            width: 1.2 * unit,
            dash: `${5 * unit} ${4 * unit}`,
          })
          : "",
    },
    ...(truth
      ? [{
        name: "Truth",
        overlay: (unit: number) => filled(truth, truthColour) + truthOutline(unit),
      }]
      : []),
    ...predictions.map(({ name, mask, dice }): Panel => {
      const outline = outlined(mask, predictionColour);
      return {
        name,
        dice,
        overlay: (unit) => filled(mask, predictionColour) + outline(unit) + truthOutline(unit),
      };
    }),
  ];
}

/** Meaning of the colours, with the left end at `x` and the text's base line at `y`. */
function legend(x: number, y: number, shown: { truth: boolean; box: boolean }): string {
  const swatch = (at: number, colour: string, fill: boolean) =>
    `<rect x="${at}" y="${y - 10}" width="16" height="11" stroke="${colour}" stroke-width="2" ` +
    `fill="${fill ? colour : "#808080"}" fill-opacity="${fill ? 0.3 : 1}"/>`;
  const label = (at: number, text: string) =>
    svgText(text, { x: at, y, fill: ink }, `font-size="13"`);
  const own = shown.truth ? x + 76 : x;
  return (shown.truth ? swatch(x, truthColour, false) + label(x + 24, "truth") : "") +
    swatch(own, predictionColour, true) + label(own + 24, "prediction") +
    (shown.box
      ? `<rect x="${own + 108}" y="${y - 12}" width="20" height="15" fill="#808080"/>` +
        strokePath(`M${own + 111},${y - 9}h14v9h-14z`, {
          stroke: boxColour,
          width: 1.2,
          dash: "4 3",
        }) + label(own + 136, "box prompt")
      : "");
}

/** Checks that image and masks are on one grid; a RangeError names the first that is not. */
function checkGrid({ image, width, height, truth, predictions }: MaskPictureOptions): void {
  const grids = [{ name: "image", mask: image }, ...predictions];
  if (truth) grids.push({ name: "truth", mask: truth });
  for (const { name, mask } of grids) {
    if (mask.length !== width * height) {
      throw new RangeError(`${name} has ${mask.length} pixels, not ${width} x ${height}`);
    }
  }
}

/** Slice, masks and box as they are shown. */
function asDrawn({ truth, predictions, box, ...stored }: MaskPictureOptions): Drawn {
  const shown = showSlice(stored);
  return {
    ...shown,
    truth: truth && shown.showMask(truth),
    predictions: predictions.map((one) => ({ ...one, mask: shown.showMask(one.mask) })),
    box: box && shown.showBox(box),
  };
}

/**
 * Draws the slice, the truth and each model's mask side by side: the whole slice above, the
 * surroundings of the tumour (of the first prediction without a truth) below, left out where it is
 * empty. A prediction is filled and outlined along its pixels' edges, with the truth's outline over it
 * and its Dice in the header. Radiological convention where the orientation is known, and the scan's aspect.
 *
 * @returns The bytes of a PNG file.
 * @throws {RangeError} if image and masks are not on one grid.
 */
export async function maskPicture(options: MaskPictureOptions): Promise<Uint8Array> {
  checkGrid(options);
  const { caption, panelWidth = 256 } = options;
  const slice = asDrawn(options);
  const { width, height, truth, predictions, box } = slice;
  const panelHeight = Math.round(panelWidth * height / width);
  const focus = truth ?? predictions[0]?.mask;
  const views = [
    { x: 0, y: 0, width, height },
    ...(focus ? [closeUp(focus, slice, CLOSE_UP)] : []),
  ].filter((view) => view !== undefined);
  const top = caption ? captionHeight : gap;
  const bodyHeight = panelHeaderHeight + views.length * (panelHeight + gap);
  const columns = panels(slice);
  const total = {
    width: gap + columns.length * (panelWidth + gap),
    height: top + bodyHeight + legendHeight,
  };
  const drawn = columns.map(({ name, dice, overlay }, column) => {
    const x = gap + column * (panelWidth + gap);
    const score = dice === undefined ? "" : `Dice ${dice.toFixed(3)}`;
    const pictures = views.map((view, row) => {
      const y = top + panelHeaderHeight + row * (panelHeight + gap);
      const content = `<use href="#view-${row}"/>${overlay(view.width / panelWidth)}`;
      const place = { x, y, width: panelWidth, height: panelHeight };
      return frame(view, place, content) + (row === 0 ? sideLetters(slice.sides, place) : "");
    });
    return svgText(name, { x, y: top + 16, fill: ink }, `font-size="15" font-weight="700"`) +
      svgText(score, { x, y: top + 33, fill: ink }, `font-size="14"`) + pictures.join("");
  });
  return await rasterize(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${total.width}" height="${total.height}" ` +
      `font-family="${rasterFont}"><defs>` +
      views.map((view, row) => sliceImage(slice, view, `view-${row}`)).join("") + "</defs>" +
      `<rect width="${total.width}" height="${total.height}" fill="#ffffff"/>` +
      svgText(caption ?? "", { x: gap, y: 22, fill: ink }, `font-size="16"`) + drawn.join("") +
      legend(gap, top + bodyHeight + 18, { truth: truth !== undefined, box: box !== undefined }) +
      svgText(
        conventionNote([slice]),
        { x: gap, y: top + bodyHeight + 40, fill: ink },
        `font-size="12"`,
      ) +
      "</svg>",
  );
}
