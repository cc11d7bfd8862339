/**
 * Prompts for SAM, derived from the true mask, in slice pixels.
 *
 * @module
 */
import { InputError } from "../errors.ts";
import type { Random } from "../random.ts";

/** [x0, y0, x1, y1] in pixels; x1 and y1 are the last pixel's index plus 1. */
export type Box = [x0: number, y0: number, x1: number, y1: number];

/** A pixel, by its index, and whether it lies in the object (1) or outside (0). */
export interface PromptPoint {
  /** Column. */
  x: number;
  /** Row. */
  y: number;
  /** 1: in the object; 0: outside. */
  label: 0 | 1;
}

/** What SAM is shown beside the image. */
export interface Prompt {
  /** The object's box. */
  box?: Box;
  /** Points in or outside the object. */
  points?: PromptPoint[];
}

/** One way to derive a prompt from a mask. */
export type PromptKind = "tight-box" | "jittered-box" | "point" | "whole-image";

/** A kind, or `mixed`: tight, jittered or whole-image boxes, drawn with equal chance. */
export type PromptChoice = PromptKind | "mixed";

/** All choices, for messages and option parsers. */
export const PROMPT_CHOICES: readonly PromptChoice[] = [
  "tight-box",
  "jittered-box",
  "point",
  "whole-image",
  "mixed",
];

/** A mask in memory: 0 or not, row-major. */
export interface Mask {
  /** height * width values. */
  mask: Uint8Array;
  /** Columns. */
  width: number;
  /** Rows. */
  height: number;
}

/**
 * The smallest box that holds the mask.
 *
 * @throws {InputError} if the mask is empty.
 */
export function tightBox({ mask, width, height }: Mask): Box {
  let [x0, y0, x1, y1] = [width, height, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!mask[y * width + x]) continue;
      x0 = Math.min(x0, x);
      x1 = Math.max(x1, x + 1);
      y0 = Math.min(y0, y);
      y1 = y + 1;
    }
  }
  if (x1 === 0) throw emptyMask();
  return [x0, y0, x1, y1];
}

/** Options of {@linkcode jitteredBox}. */
export interface JitterOptions {
  /** Columns of the image. */
  width: number;
  /** Rows of the image. */
  height: number;
  /** How far a side moves at most, as a share of the box; default 0.2. */
  fraction?: number;
}

/**
 * Moves each side of a box by itself, uniformly within a fraction of the box's width or height either
 * way, then clips the box to the image. At least one pixel of width and height remains.
 */
export function jitteredBox(box: Box, random: Random, options: JitterOptions): Box {
  const { width, height, fraction = 0.2 } = options;
  const moved = box.map((side, i) =>
    side + random.uniformIn(-fraction, fraction) * (box[2 + i % 2] - box[i % 2])
  );
  const [x0, x1] = keepOpen(moved[0], moved[2], width);
  const [y0, y1] = keepOpen(moved[1], moved[3], height);
  return [x0, y0, x1, y1];
}

/** Clips an interval to [0, size] and widens it about its middle to 1 if it is narrower. */
function keepOpen(a: number, b: number, size: number): [number, number] {
  const low = Math.min(size, Math.max(0, Math.min(a, b)));
  const high = Math.min(size, Math.max(0, Math.max(a, b)));
  if (high - low >= 1) return [low, high];
  const start = Math.min(Math.max(0, size - 1), Math.max(0, (low + high - 1) / 2));
  return [start, start + 1];
}

/** The box of the whole image: no hint at all. */
export function wholeImage({ width, height }: { width: number; height: number }): Box {
  return [0, 0, width, height];
}

/**
 * The mask's pixel that lies deepest inside it (by city-block distance to the outside; beyond the
 * image is outside), the one nearest to the centroid if several do.
 *
 * @throws {InputError} if the mask is empty.
 */
export function centrePoint({ mask, width, height }: Mask): PromptPoint {
  const depth = new Int32Array(width * height);
  const at = (x: number, y: number) =>
    x < 0 || y < 0 || x >= width || y >= height ? 0 : depth[y * width + x];
  let [sumX, sumY, count] = [0, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!mask[y * width + x]) continue;
      depth[y * width + x] = 1 + Math.min(at(x - 1, y), at(x, y - 1));
      sumX += x;
      sumY += y;
      count++;
    }
  }
  if (count === 0) throw emptyMask();
  let best = { x: 0, y: 0, depth: 0, distance: Infinity };
  for (let y = height - 1; y >= 0; y--) {
    for (let x = width - 1; x >= 0; x--) {
      const i = y * width + x;
      if (!mask[i]) continue;
      depth[i] = Math.min(depth[i], 1 + at(x + 1, y), 1 + at(x, y + 1));
      const distance = Math.hypot(x - sumX / count, y - sumY / count);
      if (depth[i] > best.depth || (depth[i] === best.depth && distance < best.distance)) {
        best = { x, y, depth: depth[i], distance };
      }
    }
  }
  return { x: best.x, y: best.y, label: 1 };
}

/**
 * A pixel of the mask, each with equal chance.
 *
 * @throws {InputError} if the mask is empty.
 */
export function randomPoint({ mask, width }: Mask, random: Random): PromptPoint {
  const inside: number[] = [];
  for (let i = 0; i < mask.length; i++) if (mask[i]) inside.push(i);
  if (inside.length === 0) throw emptyMask();
  const i = inside[random.int(inside.length)];
  return { x: i % width, y: Math.floor(i / width), label: 1 };
}

/** Settles `mixed` on a kind, for one slice or for a whole batch; other choices are themselves. */
export function drawKind(choice: PromptChoice, random: Random): PromptKind {
  if (choice !== "mixed") return choice;
  return (["tight-box", "jittered-box", "whole-image"] as const)[random.int(3)];
}

/** Options of {@linkcode drawPrompt}. */
export interface DrawPromptOptions {
  /** The source of jitter and of random points. */
  random: Random;
  /** See {@linkcode JitterOptions.fraction}. */
  fraction?: number;
  /** `point`: the deepest pixel (default, for scoring) or any (for training). */
  point?: "centre" | "random";
}

/**
 * The prompt of one slice.
 *
 * @example
 * ```ts
 * const kind = drawKind("mixed", random); // one for the batch
 * const prompts = masks.map((mask) => drawPrompt(kind, { ...mask, random }));
 * ```
 * @throws {InputError} if the mask is empty and the kind needs it.
 */
export function drawPrompt(kind: PromptKind, options: Mask & DrawPromptOptions): Prompt {
  const { random, point = "centre" } = options;
  switch (kind) {
    case "tight-box":
      return { box: tightBox(options) };
    case "jittered-box":
      return { box: jitteredBox(tightBox(options), random, options) };
    case "whole-image":
      return { box: wholeImage(options) };
    case "point":
      return { points: [point === "centre" ? centrePoint(options) : randomPoint(options, random)] };
  }
}

/**
 * A prompt in slice pixels to input pixels, with the factors of `inputGeometry`. Boxes and points
 * alike are multiplied, as SAM's `ResizeLongestSide` does.
 */
export function scalePrompt(
  prompt: Prompt,
  { scaleX, scaleY }: { scaleX: number; scaleY: number },
): Prompt {
  const scaled: Prompt = {};
  if (prompt.box) {
    const [x0, y0, x1, y1] = prompt.box;
    scaled.box = [x0 * scaleX, y0 * scaleY, x1 * scaleX, y1 * scaleY];
  }
  if (prompt.points) {
    scaled.points = prompt.points.map(({ x, y, label }) => ({
      x: x * scaleX,
      y: y * scaleY,
      label,
    }));
  }
  return scaled;
}

function emptyMask(): InputError {
  return new InputError(
    "the mask is empty, so no prompt can be derived: choose slices with tumour",
  );
}
