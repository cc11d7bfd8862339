/**
 * A slice and masks on it as SVG in the slice's pixels: the whole slice or a close-up of its tumour.
 *
 * @module
 */
import { encode } from "fast-png";
import { tightBox } from "../data/prompts.ts";
import type { Sides } from "./shown_slice.ts";
import { svgText } from "./svg.ts";

/** A slice as pictures show it. */
export interface GreySlice {
  /** height * width grey values from 0 to 255, rows one after another; others are clipped. */
  readonly image: Float32Array | Uint8Array;
  /** Columns. */
  readonly width: number;
  /** Rows. */
  readonly height: number;
}

/** A model's mask of a slice. */
export interface MaskPrediction {
  /** Name of the model, for example "LoRA-16". */
  readonly name: string;
  /** height * width bytes; any value but 0 is tumour. */
  readonly mask: Uint8Array;
  /** Its Dice with the truth, 0..1, where that is known. */
  readonly dice?: number;
}

/** A part of a slice in pixels. */
export interface View {
  /** Left edge. */
  readonly x: number;
  /** Upper edge. */
  readonly y: number;
  /** Columns that it shows. */
  readonly width: number;
  /** Rows that it shows. */
  readonly height: number;
}

/**
 * The surroundings of a tumour, of the slice's own shape; undefined if the mask is empty.
 *
 * @param mask height * width bytes.
 * @param options.factor Size of the view in boxes round the tumour.
 * @param options.minimum Fewest slice pixels that a side of the view shows.
 */
export function closeUp(
  mask: Uint8Array,
  { width, height }: GreySlice,
  { factor, minimum }: { factor: number; minimum: number },
): View | undefined {
  if (mask.every((value) => value === 0)) return undefined;
  const [x0, y0, x1, y1] = tightBox({ mask, width, height });
  // The share of the slice's sides that the view shows.
  const share = Math.min(
    1,
    Math.max(
      factor * (x1 - x0) / width,
      factor * (y1 - y0) / height,
      minimum / Math.min(width, height),
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
 * The pixels of a slice that a view touches, as an SVG image with an id. Only those: a rasterizer scales
 * an image as a whole, however little of it shows.
 */
export function sliceImage({ image, width }: GreySlice, view: View, id: string): string {
  const [x0, y0] = [Math.floor(view.x), Math.floor(view.y)];
  const columns = Math.ceil(view.x + view.width) - x0;
  const rows = Math.ceil(view.y + view.height) - y0;
  const data = new Uint8Array(columns * rows);
  for (let i = 0; i < data.length; i++) {
    const value = image[(y0 + Math.floor(i / columns)) * width + x0 + (i % columns)];
    data[i] = Math.max(0, Math.min(255, Math.round(value)));
  }
  const png = encode({ width: columns, height: rows, data, channels: 1, depth: 8 });
  return `<image id="${id}" x="${x0}" y="${y0}" width="${columns}" height="${rows}" ` +
    `href="data:image/png;base64,${png.toBase64()}"/>`;
}

/** Letters of the patient's sides on a slice at a place of a picture; nothing where they are not known. */
export function sideLetters(
  sides: Sides | null,
  { x, y, width, height }: { x: number; y: number; width: number; height: number },
): string {
  const letter = (value: string, at: { x: number; y: number }) =>
    svgText(value, { ...at, fill: "#ffffff" }, `font-weight="600"`);
  return sides
    ? letter(sides.left, { x: x + 4, y: y + height / 2 }) +
      letter(sides.top, { x: x + width / 2 - 4, y: y + 13 })
    : "";
}

/** A view drawn into a place of a picture: SVG in slice pixels, which keeps the view's shape. */
export function frame(
  view: View,
  { x, y, width, height }: { x: number; y: number; width: number; height: number },
  content: string,
): string {
  return `<svg x="${x}" y="${y}" width="${width}" height="${height}" ` +
    `viewBox="${view.x} ${view.y} ${view.width} ${view.height}">${content}</svg>`;
}

/**
 * Outline of a mask as SVG path: closed lines along the edges of its pixels, so that dashes run on round
 * the corners.
 *
 * @param mask height * width bytes, rows one after another; any value but 0 is set.
 */
export function outlinePath(mask: Uint8Array, width: number): string {
  const height = mask.length / width;
  const set = (x: number, y: number) =>
    x >= 0 && x < width && y >= 0 && y < height && mask[y * width + x] !== 0;
  // Every edge between a set pixel and an unset one, with the set one to its right, by its first corner.
  const edges = new Map<number, [dx: number, dy: number][]>();
  const add = (x: number, y: number, direction: [number, number]) => {
    const corner = y * (width + 1) + x;
    edges.set(corner, [...edges.get(corner) ?? [], direction]);
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!set(x, y)) continue;
      if (!set(x, y - 1)) add(x, y, [1, 0]);
      if (!set(x + 1, y)) add(x + 1, y, [0, 1]);
      if (!set(x, y + 1)) add(x + 1, y + 1, [-1, 0]);
      if (!set(x - 1, y)) add(x, y + 1, [0, -1]);
    }
  }
  const paths: string[] = [];
  for (const [start, directions] of edges) {
    while (directions.length > 0) {
      let [x, y] = [start % (width + 1), Math.floor(start / (width + 1))];
      const steps = [`M${x},${y}`];
      let [dx, dy] = [0, 0];
      let length = 0;
      const draw = () => {
        if (length > 0) steps.push(dx === 0 ? `v${dy * length}` : `h${dx * length}`);
      };
      do {
        const open = edges.get(y * (width + 1) + x)!;
        // At a corner where two pixels touch alone, turn right: each keeps an outline of its own.
        const right = open.findIndex(([ex, ey]) => ex === -dy && ey === dx);
        const [[ex, ey]] = open.splice(Math.max(0, right), 1);
        if (ex !== dx || ey !== dy) {
          draw();
          [dx, dy, length] = [ex, ey, 0];
        }
        length++;
        [x, y] = [x + dx, y + dy];
      } while (y * (width + 1) + x !== start);
      draw();
      paths.push(steps.join("") + "z");
    }
  }
  return paths.join("");
}
