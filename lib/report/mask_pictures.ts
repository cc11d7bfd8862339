/**
 * The masks of several models on one slice, side by side, as PNG.
 *
 * @module
 */
import { encode } from "fast-png";
import { tightBox } from "../data/prompts.ts";
import { outlinePath } from "./outline.ts";
import { rasterFont, rasterize } from "./rasterize.ts";
import { escapeXml } from "./xml.ts";

/** A model's mask of the slice. */
export interface MaskPrediction {
  /** As printed above the panel, for example "LoRA-16". */
  name: string;
  /** height * width bytes; any value but 0 is tumour. */
  mask: Uint8Array;
  /** Its Dice with the truth, 0..1, where that is known. */
  dice?: number;
}

/** One slice, its truth and what the models made of it. */
export interface MaskPictureOptions {
  /** height * width grey values from 0 to 255, rows one after another. */
  image: Float32Array | Uint8Array;
  /** Columns. */
  width: number;
  /** Rows. */
  height: number;
  /** height * width bytes; any value but 0 is tumour. Without it, predictions stand alone. */
  truth?: Uint8Array;
  /** In the order of the panels. */
  predictions: readonly MaskPrediction[];
  /** The box prompt in pixels, [x0, y0, x1, y1], the last two exclusive. */
  box?: readonly [x0: number, y0: number, x1: number, y1: number];
  /** Stands above the panels, for example the case and the slice. */
  caption?: string;
  /** True if the tumour is simulated: the picture then says so. */
  simulated?: boolean;
  /** Pixels that a panel is wide; default 256. */
  panelWidth?: number;
}

const ink = "#1a1a1a";
const truthColour = "#f0e442";
const predictionColour = "#d55e00";
const boxColour = "#ffffff";
const gap = 8;
const captionHeight = 34;
const panelHeaderHeight = 40;
const legendHeight = 34;
/** The close-up is this many times the tumour's box. */
const closeUpFactor = 1.7;
/** No side of the close-up shows fewer slice pixels than this. */
const closeUpMinimum = 24;

/** A part of the slice in pixels. */
interface View {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The mask as an SVG path of one rectangle for each run of set pixels in a row. */
function fillPath(mask: Uint8Array, width: number): string {
  const runs: string[] = [];
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] === 0) continue;
    const row = Math.floor(start / width);
    let end = start + 1;
    while (end < (row + 1) * width && mask[end] !== 0) end++;
    runs.push(`M${start % width},${row}h${end - start}v1h${start - end}z`);
    start = end - 1;
  }
  return runs.join("");
}

/**
 * The part of the slice round the tumour (the first prediction's without a truth), of the slice's own
 * shape; undefined if there is none.
 */
function closeUp({ truth, predictions, width, height }: MaskPictureOptions): View | undefined {
  const mask = truth ?? predictions[0]?.mask;
  if (!mask || mask.every((value) => value === 0)) return undefined;
  const [x0, y0, x1, y1] = tightBox({ mask, width, height });
  // the share of the slice's sides that the close-up shows
  const share = Math.min(
    1,
    Math.max(
      closeUpFactor * (x1 - x0) / width,
      closeUpFactor * (y1 - y0) / height,
      closeUpMinimum / Math.min(width, height),
    ),
  );
  const place = (centre: number, extent: number, limit: number) =>
    Math.max(0, Math.min(limit - extent, centre - extent / 2));
  return {
    x: place((x0 + x1) / 2, share * width, width),
    y: place((y0 + y1) / 2, share * height, height),
    width: share * width,
    height: share * height,
  };
}

/**
 * The pixels of the slice that `view` touches, as an SVG image in slice pixels. Only those: resvg
 * scales an image as a whole, however little of it shows.
 */
function sliceImage({ image, width }: MaskPictureOptions, view: View & { id: string }): string {
  const [x0, y0] = [Math.floor(view.x), Math.floor(view.y)];
  const [columns, rows] = [
    Math.ceil(view.x + view.width) - x0,
    Math.ceil(view.y + view.height) - y0,
  ];
  const data = new Uint8Array(columns * rows);
  for (let i = 0; i < data.length; i++) {
    const value = image[(y0 + Math.floor(i / columns)) * width + x0 + (i % columns)];
    data[i] = Math.max(0, Math.min(255, Math.round(value)));
  }
  const png = encode({ width: columns, height: rows, data, channels: 1, depth: 8 });
  return `<image id="${view.id}" x="${x0}" y="${y0}" width="${columns}" height="${rows}" ` +
    `href="data:image/png;base64,${png.toBase64()}"/>`;
}

/** A column of the picture: its header, and what lies over the slice. */
interface Panel {
  name: string;
  score?: string;
  /** SVG in slice pixels; `unit` is how many of them one pixel of the picture covers. */
  overlay: (unit: number) => string;
}

function stroke(path: string, style: { colour: string; width: number; dash?: number[] }): string {
  const dash = style.dash ? ` stroke-dasharray="${style.dash.join(" ")}"` : "";
  return `<path d="${path}" fill="none" stroke="${style.colour}" stroke-width="${style.width}"` +
    ` stroke-linecap="${style.dash ? "butt" : "square"}"${dash}/>`;
}

/** Image, truth, and one panel a prediction. */
function panels({ width, truth, predictions, box }: MaskPictureOptions): Panel[] {
  const truthOutline = truth && outlinePath(truth, width);
  const outlineOf = (path: string | undefined, colour: string, unit: number) =>
    path === undefined ? "" : stroke(path, { colour, width: 1.5 * unit });
  const fillOf = (mask: Uint8Array, colour: string) =>
    `<path d="${fillPath(mask, width)}" fill="${colour}" ` +
    `fill-opacity="0.3" shape-rendering="crispEdges"/>`;
  const boxPath = box && `M${box[0]},${box[1]}H${box[2]}V${box[3]}H${box[0]}z`;
  return [
    {
      name: "Image",
      overlay: (unit) =>
        boxPath
          ? stroke(boxPath, { colour: boxColour, width: 1.2 * unit, dash: [5 * unit, 4 * unit] })
          : "",
    },
    ...(truth
      ? [{
        name: "Truth",
        overlay: (unit: number) =>
          fillOf(truth, truthColour) + outlineOf(truthOutline, truthColour, unit),
      }]
      : []),
    ...predictions.map(({ name, mask, dice }): Panel => {
      const outline = outlinePath(mask, width);
      return {
        name,
        score: dice === undefined ? undefined : `Dice ${dice.toFixed(3)}`,
        overlay: (unit) =>
          fillOf(mask, predictionColour) + outlineOf(outline, predictionColour, unit) +
          outlineOf(truthOutline, truthColour, unit),
      };
    }),
  ];
}

/** What the colours mean, with the left end at `x` and the text's base line at `y`. */
function legend(x: number, y: number, shown: { truth: boolean; box: boolean }): string {
  const swatch = (at: number, colour: string, fill: boolean) =>
    `<rect x="${at}" y="${y - 10}" width="16" height="11" stroke="${colour}" stroke-width="2" ` +
    `fill="${fill ? colour : "#808080"}" fill-opacity="${fill ? 0.3 : 1}"/>`;
  const label = (at: number, text: string) =>
    `<text x="${at}" y="${y}" font-size="13" fill="${ink}">${text}</text>`;
  const own = shown.truth ? x + 76 : x;
  return (shown.truth ? swatch(x, truthColour, false) + label(x + 24, "truth") : "") +
    swatch(own, predictionColour, true) + label(own + 24, "prediction") +
    (shown.box
      ? `<rect x="${own + 108}" y="${y - 12}" width="20" height="15" fill="#808080"/>` +
        `<path d="M${own + 111},${y - 9}h14v9h-14z" fill="none" stroke="${boxColour}" ` +
        `stroke-width="1.2" stroke-dasharray="4 3"/>` + label(own + 136, "box prompt")
      : "");
}

/**
 * Draws the slice, the truth and each model's mask side by side: the whole slice above, the
 * surroundings of the tumour below (left out where the truth is empty). A prediction is filled and
 * outlined along its pixels' edges, with the truth's outline over it and its Dice in the header.
 *
 * @returns The bytes of a PNG file.
 * @throws {RangeError} if image and masks are not on one grid.
 */
export async function maskPicture(options: MaskPictureOptions): Promise<Uint8Array> {
  const { image, width, height, truth, predictions, panelWidth = 256 } = options;
  for (
    const [name, data] of [
      ["image", image],
      ...(truth ? [["truth", truth] as const] : []),
      ...predictions.map(({ name, mask }) => [name, mask] as const),
    ] as const
  ) {
    if (data.length !== width * height) {
      throw new RangeError(`${name} has ${data.length} pixels, not ${width} x ${height}`);
    }
  }
  const panelHeight = Math.round(panelWidth * height / width);
  const views = [{ x: 0, y: 0, width, height }, closeUp(options)]
    .filter((view) => view !== undefined)
    .map((view, row) => ({ ...view, id: `view-${row}` }));
  const caption = [options.caption, options.simulated && "simulated tumours"].filter(Boolean)
    .join(", ");
  const top = caption ? captionHeight : gap;
  const bodyHeight = panelHeaderHeight + views.length * (panelHeight + gap);
  const columns = panels(options);
  const total = {
    width: gap + columns.length * (panelWidth + gap),
    height: top + bodyHeight + legendHeight,
  };
  const drawn = columns.map(({ name, score, overlay }, column) => {
    const x = gap + column * (panelWidth + gap);
    const header =
      `<text x="${x}" y="${top + 16}" font-size="15" font-weight="700" fill="${ink}">` +
      `${escapeXml(name)}</text>` +
      (score ? `<text x="${x}" y="${top + 33}" font-size="14" fill="${ink}">${score}</text>` : "");
    const pictures = views.map((view, row) =>
      `<svg x="${x}" y="${top + panelHeaderHeight + row * (panelHeight + gap)}" ` +
      `width="${panelWidth}" height="${panelHeight}" preserveAspectRatio="none" ` +
      `viewBox="${view.x} ${view.y} ${view.width} ${view.height}">` +
      `<use href="#${view.id}"/>${overlay(view.width / panelWidth)}</svg>`
    );
    return header + pictures.join("");
  });
  return await rasterize(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${total.width}" height="${total.height}" ` +
      `font-family="${rasterFont}"><defs>` +
      views.map((view) => sliceImage(options, view)).join("") + "</defs>" +
      `<rect width="${total.width}" height="${total.height}" fill="#ffffff"/>` +
      (caption
        ? `<text x="${gap}" y="22" font-size="16" fill="${ink}">${escapeXml(caption)}</text>`
        : "") +
      drawn.join("") +
      legend(gap, top + bodyHeight + 18, {
        truth: truth !== undefined,
        box: options.box !== undefined,
      }) +
      "</svg>",
  );
}
