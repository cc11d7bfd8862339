import { encode } from "fast-png";
import { tightBox } from "../data/prompts.ts";
import { FIGURE_WIDTH } from "./figures.ts";
import { outlinePath } from "./outline.ts";
import type { Palette } from "./palette.ts";
import { escapeXml } from "./xml.ts";

/** One slice with what the models made of it. */
export interface SheetCase {
  /** Why it is shown: "best", "median", "worst". */
  readonly rank: string;
  /** Which slice it is, in a few words. */
  readonly name: string;
  /** height * width grey values from 0 to 255, rows one after another. */
  readonly image: Float32Array | Uint8Array;
  readonly width: number;
  readonly height: number;
  /** height * width bytes; any value but 0 is tumour. */
  readonly truth: Uint8Array;
  /** In the order of the columns. */
  readonly predictions: readonly { readonly mask: Uint8Array; readonly dice: number }[];
}

/** A square part of a slice, in pixels. */
interface View {
  readonly x: number;
  readonly y: number;
  readonly side: number;
}

/** The close-up is so many times the tumour's box, and no smaller than this. */
const CLOSE_UP = { factor: 2.2, minimum: 40 };

// On a slice, which is grey on black whatever the page is.
const TRUTH = "#ffe94a";
const PREDICTION = "#ff6a1a";
const CASING = "#000000";

const GAP = 6;
const HEAD = 46;
const LABEL = 18;
const RANKS = 70;

/** A square round the tumour that lies within the slice where it can. */
function closeUp({ truth, width, height }: SheetCase): View {
  const [x0, y0, x1, y1] = tightBox({ mask: truth, width, height });
  const side = Math.min(
    Math.max(CLOSE_UP.minimum, Math.ceil(CLOSE_UP.factor * Math.max(x1 - x0, y1 - y0))),
    Math.max(width, height),
  );
  const place = (centre: number, extent: number) =>
    extent <= side
      ? Math.round((extent - side) / 2)
      : Math.round(Math.max(0, Math.min(extent - side, centre - side / 2)));
  return { x: place((x0 + x1) / 2, width), y: place((y0 + y1) / 2, height), side };
}

/** The part of a slice as PNG, black beyond its edges. */
function crop({ image, width, height }: SheetCase, { x, y, side }: View): string {
  const data = new Uint8Array(side * side);
  for (let i = 0; i < data.length; i++) {
    const [column, row] = [x + i % side, y + Math.floor(i / side)];
    if (column < 0 || row < 0 || column >= width || row >= height) continue;
    data[i] = Math.max(0, Math.min(255, Math.round(image[row * width + column])));
  }
  const png = encode({ width: side, height: side, data, channels: 1, depth: 8 });
  return `data:image/png;base64,${png.toBase64()}`;
}

/** An outline with a dark edge, which is seen on any grey. */
function outline(path: string, colour: string, { unit, dash }: { unit: number; dash?: number[] }) {
  const line = (stroke: string, width: number, dashes = "") =>
    `<path d="${path}" fill="none" stroke="${stroke}" stroke-width="${
      (width * unit).toFixed(3)
    }" ` +
    `stroke-linejoin="round"${dashes}/>`;
  const dashes = dash
    ? ` stroke-dasharray="${dash.map((length) => (length * unit).toFixed(3)).join(" ")}"`
    : "";
  return line(CASING, 3.2, "").replace("/>", ` stroke-opacity="0.55"/>`) +
    line(colour, 1.7, dashes);
}

/**
 * Slices below each other, models beside each other: the whole slice with the place of the close-up,
 * then the close-up once for each model with the truth and the model's mask outlined, and its Dice.
 *
 * @param sheet.models Names of the models, as many as each case has predictions.
 */
export function contactSheet(
  { models, cases }: { models: readonly string[]; cases: readonly SheetCase[] },
  palette: Palette,
): string {
  const columns = models.length + 1;
  const tile = Math.min(168, Math.floor((FIGURE_WIDTH - RANKS - (columns - 1) * GAP) / columns));
  const x = (column: number) => RANKS + column * (tile + GAP);
  const rowHeight = tile + LABEL + GAP;
  const text = (at: number, y: number, value: string, options = "") =>
    `<text x="${at}" y="${y}" fill="${palette.ink}" ${options}>${escapeXml(value)}</text>`;
  const defs: string[] = [];
  const rows = cases.map((one, row) => {
    const y = HEAD + row * rowHeight;
    const view = closeUp(one);
    const whole: View = {
      x: Math.round((one.width - Math.max(one.width, one.height)) / 2),
      y: Math.round((one.height - Math.max(one.width, one.height)) / 2),
      side: Math.max(one.width, one.height),
    };
    defs.push(
      `<image id="case-${row}" x="${view.x}" y="${view.y}" width="${view.side}" ` +
        `height="${view.side}" href="${crop(one, view)}"/>`,
    );
    const frame = (column: number, { x: vx, y: vy, side }: View, content: string) =>
      `<svg x="${x(column)}" y="${y}" width="${tile}" height="${tile}" ` +
      `viewBox="${vx} ${vy} ${side} ${side}">${content}</svg>`;
    const truth = outlinePath(one.truth, one.width);
    const first = frame(
      0,
      whole,
      `<image x="${whole.x}" y="${whole.y}" width="${whole.side}" height="${whole.side}" ` +
        `href="${crop(one, whole)}"/><rect x="${view.x}" y="${view.y}" width="${view.side}" ` +
        `height="${view.side}" fill="none" stroke="#ffffff" stroke-width="${
          (1.3 * whole.side / tile).toFixed(2)
        }"/>`,
    );
    const unit = view.side / tile;
    const tiles = one.predictions.map(({ mask, dice }, i) =>
      frame(
        i + 1,
        view,
        `<use href="#case-${row}"/>` + outline(truth, TRUTH, { unit }) +
          outline(outlinePath(mask, one.width), PREDICTION, { unit, dash: [5, 3] }),
      ) + text(x(i + 1) + tile / 2, y + tile + 14, dice.toFixed(3), `text-anchor="middle"`)
    );
    return text(0, y + 16, one.rank, `font-weight="600" font-size="13"`) + first +
      text(x(0) + tile / 2, y + tile + 14, one.name, `text-anchor="middle" font-size="10"`) +
      tiles.join("");
  });
  const heads = ["Slice", ...models].map((name, i) =>
    text(x(i) + tile / 2, HEAD - 8, name, `text-anchor="middle" font-weight="600"`)
  );
  const key = `<rect x="${x(0)}" y="1" width="264" height="20" rx="3" fill="#3a3a3a"/>` +
    `<path d="M${x(0) + 10},11h30" stroke="${TRUTH}" stroke-width="2"/>` +
    `<text x="${x(0) + 47}" y="15" fill="#ffffff">truth</text>` +
    `<path d="M${
      x(0) + 96
    },11h30" stroke="${PREDICTION}" stroke-width="2" stroke-dasharray="5 3"/>` +
    `<text x="${x(0) + 133}" y="15" fill="#ffffff">model's mask; Dice</text>`;
  const width = Math.max(FIGURE_WIDTH, x(columns) - GAP);
  const height = HEAD + cases.length * rowHeight;
  return `<svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ` +
    `font-size="12"><defs>${defs.join("")}</defs>${key}${heads.join("")}${rows.join("")}</svg>`;
}
