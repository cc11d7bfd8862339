/**
 * Prompts for SAM, derived from the true mask, in slice pixels.
 *
 * @module
 */
import { InputError } from "../errors.ts";
import type { Random } from "../random.ts";
import { squaredDistanceTo } from "./distance.ts";

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

/** Prompt of SAM beside the image: a box, points or both. */
export interface Prompt {
  /** The object's box. */
  box?: Box;
  /** Points in or outside the object. */
  points?: PromptPoint[];
}

/** All kinds, for messages and option parsers. */
export const PROMPT_KINDS = [
  "tight-box",
  "jittered-box-5",
  "jittered-box-10",
  "jittered-box",
  "jittered-box-40",
  "point",
  "points-5",
  "whole-image",
] as const;

/**
 * One way to derive a prompt from a mask: its tight box; that box with each side moved by up to 20 %
 * of the box (`jittered-box`) or by another share (in per cent, after the name); its deepest point;
 * five points in it; or no hint at all, the whole image as the box, which is one and the same prompt
 * for every image.
 */
export type PromptKind = typeof PROMPT_KINDS[number];

/** Shares of the box by which a side of a jittered box moves at most. */
const JITTER: Readonly<Partial<Record<PromptKind, number>>> = {
  "jittered-box-5": 0.05,
  "jittered-box-10": 0.1,
  "jittered-box": 0.2,
  "jittered-box-40": 0.4,
};

/** The share of the box by which a side of a jittered box moves at most; null for other kinds. */
export function jitterOf(kind: PromptKind): number | null {
  return JITTER[kind] ?? null;
}

/** A kind, or `mixed`: tight, jittered or whole-image boxes, drawn with equal chance. */
export type PromptChoice = PromptKind | "mixed";

/** All choices, for messages and option parsers. */
export const PROMPT_CHOICES: readonly PromptChoice[] = [...PROMPT_KINDS, "mixed"];

/** The chance of each kind that prompts are drawn from; kinds that are left out are not drawn. */
export type PromptMix = Readonly<Partial<Record<PromptKind, number>>>;

/**
 * Reads a mixture such as `tight-box=0.3,jittered-box=0.3,point=0.2,none=0.2`; `none` is another name
 * for `whole-image`.
 *
 * @throws {InputError} if a kind is unknown or named twice, a chance is not above 0, or the chances do
 * not sum to 1.
 */
export function parsePromptMix(text: string): PromptMix {
  const mix: Partial<Record<PromptKind, number>> = {};
  for (const part of text.split(",")) {
    const [name, chance, ...rest] = part.split("=").map((item) => item.trim());
    const kind = (name === "none" ? "whole-image" : name) as PromptKind;
    if (!PROMPT_KINDS.includes(kind)) {
      throw new InputError(
        `the prompt mixture names "${name}": choose ${PROMPT_KINDS.join(", ")} or none`,
      );
    }
    const value = Number(chance || NaN);
    if (rest.length > 0 || !(value > 0 && value <= 1) || kind in mix) {
      throw new InputError(
        `the prompt mixture holds "${part}": give each kind once, with a chance above 0, as ` +
          `in tight-box=0.5,none=0.5`,
      );
    }
    mix[kind] = value;
  }
  const sum = Object.values(mix).reduce((a, b) => a + b, 0);
  if (Math.abs(sum - 1) > 1e-6) {
    throw new InputError(
      `the chances of the prompt mixture "${text}" sum to ${Number(sum.toFixed(6))}: make them 1`,
    );
  }
  return mix;
}

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
  /** Largest move of a side, as a share of the box; default 0.2. */
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

/** The deepest pixel of a mask, with its depth: its distance to the outside, in pixels. */
interface Depth {
  readonly x: number;
  readonly y: number;
  readonly depth: number;
}

/** The pixel of a mask farthest from the outside, nearest to the centroid if several are; or null. */
function deepest({ mask, width, height }: Mask): Depth | null {
  if (!mask.some((pixel) => pixel !== 0)) return null;
  // Beyond the image is outside: a ring of one pixel round the tight box holds the nearest of it.
  const [x0, y0, x1, y1] = tightBox({ mask, width, height });
  const [columns, rows] = [x1 - x0 + 2, y1 - y0 + 2];
  const outside = new Uint8Array(columns * rows).fill(1);
  let [sumX, sumY, count] = [0, 0, 0];
  for (let y = y0; y < y1; y++) {
    for (let x = x0; x < x1; x++) {
      if (!mask[y * width + x]) continue;
      outside[(y - y0 + 1) * columns + x - x0 + 1] = 0;
      sumX += x;
      sumY += y;
      count++;
    }
  }
  const squared = squaredDistanceTo(outside, { shape: [columns, rows, 1] });
  let best = { x: 0, y: 0, squared: 0, away: Infinity };
  for (let y = y1 - 1; y >= y0; y--) {
    for (let x = x1 - 1; x >= x0; x--) {
      const own = squared[(y - y0 + 1) * columns + x - x0 + 1];
      if (own < best.squared || own === 0) continue;
      const away = Math.hypot(x - sumX / count, y - sumY / count);
      if (own > best.squared || away < best.away) best = { x, y, squared: own, away };
    }
  }
  return { x: best.x, y: best.y, depth: Math.sqrt(best.squared) };
}

/**
 * The mask's pixel that lies deepest inside it: the maximum of the Euclidean distance to the outside,
 * where SAM's own evaluation puts its first click (Kirillov et al. 2023, appendix D.1). Beyond the
 * image is outside; if several are as deep, the one nearest to the centroid.
 *
 * @throws {InputError} if the mask is empty.
 */
export function centrePoint(mask: Mask): PromptPoint {
  const found = deepest(mask);
  if (!found) throw emptyMask();
  return { x: found.x, y: found.y, label: 1 };
}

/** Errors of a prediction: missed pixels of the truth, and pixels that are none of it. */
function errorsOf(
  prediction: Uint8Array,
  { mask: truth, width, height }: Mask,
): { missed: Mask; wrong: Mask } {
  const missed = new Uint8Array(truth.length);
  const wrong = new Uint8Array(truth.length);
  for (let i = 0; i < truth.length; i++) {
    missed[i] = Number(truth[i] !== 0 && prediction[i] === 0);
    wrong[i] = Number(truth[i] === 0 && prediction[i] !== 0);
  }
  return { missed: { mask: missed, width, height }, wrong: { mask: wrong, width, height } };
}

/**
 * The next click of an interactive evaluation: at the centre of the largest error, which is the pixel
 * deepest inside what is missed or inside what is wrongly predicted, whichever is deeper (Kirillov et
 * al. 2023, appendix D.1; Sofiiuk et al. 2022). Its label says which of the two it is.
 *
 * @returns null if nothing is wrong.
 */
export function errorClick(prediction: Uint8Array, truth: Mask): PromptPoint | null {
  const { missed, wrong } = errorsOf(prediction, truth);
  const [inside, outside] = [deepest(missed), deepest(wrong)];
  if (inside && inside.depth >= (outside?.depth ?? 0)) {
    return { x: inside.x, y: inside.y, label: 1 };
  }
  return outside && { x: outside.x, y: outside.y, label: 0 };
}

/**
 * The next click of an interactive training: any pixel that is wrong, with equal chance, as SAM was
 * trained (Kirillov et al. 2023, appendix A). Where nothing is wrong, any pixel of the truth.
 *
 * @throws {InputError} if nothing is wrong and the truth is empty.
 */
export function randomErrorClick(
  prediction: Uint8Array,
  truth: Mask,
  random: Random,
): PromptPoint {
  const error = truth.mask.map((pixel, i) => Number((pixel !== 0) !== (prediction[i] !== 0)));
  if (!error.some((pixel) => pixel)) return randomPoint(truth, random);
  const { x, y } = randomPoint({ ...truth, mask: error }, random);
  return { x, y, label: truth.mask[y * truth.width + x] ? 1 : 0 };
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

/** The kinds of `mixed`. */
const MIXED = ["tight-box", "jittered-box", "whole-image"] as const;

/**
 * Draws kinds from `mixed` or a mixture, for one slice or a whole batch; a kind is itself.
 *
 * Several are drawn together by systematic sampling, one number that is moved on by equal steps: each
 * has the mixture's chances, and kinds repeat no more often than these make them. As many kinds as
 * the mixture has, if their chances are equal, are all of them.
 */
export function drawKinds(
  choice: PromptChoice | PromptMix,
  random: Random,
  count: number,
): PromptKind[] {
  const places = Array.from({ length: count }, (_, i) => i);
  if (choice === "mixed") {
    const first = random.int(MIXED.length);
    return places.map((i) => MIXED[(first + i) % MIXED.length]);
  }
  if (typeof choice === "string") return places.map(() => choice);
  const kinds = Object.entries(choice) as [PromptKind, number][];
  const first = random.uniform();
  return places.map((i) => {
    let left = (first + i / count) % 1;
    for (const [kind, chance] of kinds) {
      if (left < chance) return kind;
      left -= chance;
    }
    return kinds[kinds.length - 1][0]; // what rounding left over
  });
}

/** Options of {@linkcode drawPrompt}. */
export interface DrawPromptOptions {
  /** The source of jitter and of random points. */
  random: Random;
  /** `point`: the deepest pixel (default, for scoring) or any (for training). */
  point?: "centre" | "random";
}

/**
 * The prompt of one slice.
 *
 * @example
 * ```ts
 * const [kind] = drawKinds("mixed", random, 1); // one for the batch
 * const prompts = masks.map((mask) => drawPrompt(kind, { ...mask, random }));
 * ```
 * @throws {InputError} if the mask is empty and the kind needs it.
 */
export function drawPrompt(kind: PromptKind, options: Mask & DrawPromptOptions): Prompt {
  const { random, point = "centre" } = options;
  switch (kind) {
    case "tight-box":
      return { box: tightBox(options) };
    case "jittered-box-5":
    case "jittered-box-10":
    case "jittered-box":
    case "jittered-box-40": {
      const { width, height } = options;
      const fraction = jitterOf(kind)!;
      return { box: jitteredBox(tightBox(options), random, { width, height, fraction }) };
    }
    case "whole-image":
      return { box: wholeImage(options) };
    case "point":
      return { points: [point === "centre" ? centrePoint(options) : randomPoint(options, random)] };
    case "points-5":
      return { points: Array.from({ length: 5 }, () => randomPoint(options, random)) };
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
