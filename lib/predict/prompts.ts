/**
 * Prompts of a volume, from what the command line says, in the pixels of its slices.
 *
 * @module
 */
import type { CropWindow } from "../data/preprocess.ts";
import { type Axis, cut, type Plane } from "../data/plane.ts";
import { type Box, type Prompt, type PromptPoint, tightBox } from "../data/prompts.ts";
import { excerpt, InputError } from "../errors.ts";
import type { Volume } from "../formats/volume.ts";
import { components } from "../metrics/components.ts";
import type { FilePoint } from "./points_file.ts";
import { type Place, voxelAt } from "./world.ts";

/** The slices of a volume that a model is shown. */
export interface SliceGrid {
  /** The axis that they are perpendicular to. */
  readonly axis: Axis;
  /** All of each slice. */
  readonly plane: Plane;
  /** The part that the model is shown, as it was trained. */
  readonly window: CropWindow;
  /** Number of slices. */
  readonly count: number;
}

/** First and last slice that are segmented. */
export type SliceRange = readonly [first: number, last: number];

/** An object of a volume as it was prompted. */
export interface ObjectPrompt {
  /** The prompt as it was given, for messages. */
  readonly name: string;
  /** Prompts by the index of their slice, in pixels of the window. */
  readonly slices: ReadonlyMap<number, Prompt>;
  /** Clicks beside it in slices that it may spread to, by index. */
  readonly beside?: ReadonlyMap<number, readonly PromptPoint[]>;
  /** First and last slice that the object may spread to from those; null if it is prompted in each. */
  readonly spread: SliceRange | null;
}

/** Scan and slices that a prompt is read for. */
export interface PromptContext {
  /** The scan. */
  readonly volume: Volume;
  /** Its name, for messages. */
  readonly name: string;
  /** Its slices. */
  readonly grid: SliceGrid;
  /** True if places are in millimetres. */
  readonly inMillimetres: boolean;
  /** Receives what was changed of a prompt. */
  readonly say: (line: string) => void;
}

/** Axes of the columns and rows of slices along an axis. */
const inPlane = (axis: Axis) => [0, 1, 2].filter((other) => other !== axis) as [number, number];

/** The whole window in each of some slices: no hint at all. */
export function withoutPrompt(
  { window: { width, height } }: SliceGrid,
  [first, last]: SliceRange,
): ObjectPrompt {
  const slices = new Map<number, Prompt>();
  for (let index = first; index <= last; index++) {
    slices.set(index, { box: [0, 0, width, height] });
  }
  return { name: "no prompt", slices, spread: null };
}

/** Numbers of a text such as `12,-3.5,4`. */
function numbersOf(text: string): number[] {
  return text.split(",").map((part) => part.trim() === "" ? NaN : Number(part));
}

/** Clicks of an option: `x,y,z`, or several of one object with semicolons between them. */
function placesOf(option: string, text: string): Place[] {
  return text.split(";").map((part) => {
    const numbers = numbersOf(part);
    if (numbers.length === 3 && numbers.every(Number.isFinite)) {
      return numbers as unknown as Place;
    }
    throw new InputError(
      `${option} cannot be ${excerpt(text)}: give x,y,z, or x,y,z;x,y,z for several on one object`,
    );
  });
}

/** A click in a slice of the grid. */
function clickAt(
  place: Place,
  { label, inMillimetres, option, range: [first, last] }: {
    label: 0 | 1;
    inMillimetres: boolean;
    option: string;
    range: SliceRange;
  },
  { volume, name, grid }: PromptContext,
): { index: number; point: PromptPoint } {
  const { shape } = volume;
  const { axis, window } = grid;
  const voxel = inMillimetres
    ? voxelAt(volume, place)
    : place.map((at) => Math.floor(at + 0.5)) as [number, number, number];
  const given = `${option} ${place.join(",")}${
    inMillimetres ? ` mm (voxel ${voxel.join(",")})` : ""
  }`;
  if (voxel.some((at, i) => !(at >= 0 && at < shape[i]))) {
    throw new InputError(
      `${given} lies outside ${name}, whose voxels are 0,0,0 to ${
        shape.map((n) => n - 1).join(",")
      }: give a place in it${inMillimetres ? "" : ", or --mm for millimetres"}`,
    );
  }
  const [x, y] = inPlane(axis).map((a, i) => voxel[a] - [window.x, window.y][i]);
  if (!(x >= 0 && x < window.width && y >= 0 && y < window.height)) {
    throw new InputError(
      `${given} lies outside the centre crop of ${window.width} x ${window.height} pixels that the ` +
        `model was trained on: give a place in it, or another --crop`,
    );
  }
  const index = voxel[axis];
  if (index < first || index > last) {
    throw new InputError(
      `${given} lies in slice ${index}, and --slices names ${first} to ${last}: give a place in ` +
        `these, or other slices`,
    );
  }
  return { index, point: { x, y, label } };
}

/** Adds points to the prompts of a slice. */
function addPoints(slices: Map<number, Prompt>, index: number, points: readonly PromptPoint[]) {
  const { points: before = [], ...rest } = slices.get(index) ?? {};
  slices.set(index, { ...rest, points: [...before, ...points] });
}

/**
 * Objects of clicks, which spread to the slices beside theirs.
 *
 * @param options.points Texts of `--point`, an object each.
 * @param options.background Texts of `--background`, which hold for every object in their slices.
 * @param options.file Clicks of a file.
 * @param options.range Slices that they lie in and spread to; default all.
 * @throws {InputError} if a click cannot be read or lies outside the volume or these slices.
 */
export function fromClicks(
  { points, background, file, ...options }: {
    points: readonly string[];
    background: readonly string[];
    file: readonly FilePoint[];
    range?: SliceRange;
  },
  context: PromptContext,
): ObjectPrompt[] {
  type Click = ReturnType<typeof clickAt>;
  const { range = [0, context.grid.count - 1] } = options;
  const typed = (option: string, text: string, label: 0 | 1): Click[] =>
    placesOf(option, text).map((place) =>
      clickAt(place, { label, option, range, inMillimetres: context.inMillimetres }, context)
    );
  const objects = new Map<string, Click[]>(
    points.map((text) => [`point ${text}`, typed("--point", text, 1)]),
  );
  const beside = background.flatMap((text) => typed("--background", text, 0));
  for (const { place, inMillimetres, label, object } of file) {
    const click = clickAt(place, {
      label,
      option: "--points-from",
      range,
      inMillimetres: inMillimetres ?? context.inMillimetres,
    }, context);
    const name = object === null ? `point ${place.join(",")}` : `object ${excerpt(object)}`;
    if (label === 0 && object === null) beside.push(click);
    else objects.set(name, [...objects.get(name) ?? [], click]);
  }
  return [...objects].map(([name, clicks]) => {
    const slices = new Map<number, Prompt>();
    for (const { index, point } of clicks) addPoints(slices, index, [point]);
    const elsewhere = new Map<number, PromptPoint[]>();
    for (const { index, point } of beside) {
      if (slices.has(index)) addPoints(slices, index, [point]);
      else elsewhere.set(index, [...elsewhere.get(index) ?? [], point]);
    }
    return { name, slices, beside: elsewhere, spread: range };
  });
}

/** A box of voxels, the upper corner exclusive. */
type VoxelBox = readonly [from: Place, to: Place];

/**
 * The object of a text of `--box`: four numbers are a box in each slice of a range; six are a box in the
 * volume, which prompts its middle slice and spreads to its other slices. What reaches beyond the slice
 * is clipped, and said.
 *
 * @param range Slices that are segmented.
 * @throws {InputError} if it cannot be read, is empty or lies outside.
 */
export function fromBox(
  text: string,
  range: SliceRange,
  context: PromptContext,
): ObjectPrompt {
  const numbers = numbersOf(text);
  const refuse = (reason: string): never => {
    throw new InputError(`--box cannot be ${excerpt(text)}: ${reason}`);
  };
  if (![4, 6].includes(numbers.length) || !numbers.every(Number.isFinite)) {
    refuse("give x0,y0,x1,y1 in the slices, or x0,y0,z0,x1,y1,z1 in the volume");
  }
  const { grid, inMillimetres } = context;
  const name = `box ${text}`;
  if (numbers.length === 4) {
    if (inMillimetres) refuse("a box in millimetres is one of the volume: give x0,y0,z0,x1,y1,z1");
    const box = clipped(numbers as unknown as Box, { text, ...context });
    const slices = new Map<number, Prompt>();
    for (let index = range[0]; index <= range[1]; index++) slices.set(index, { box });
    return { name, slices, spread: null };
  }
  const [from, to] = voxelBox(numbers, context);
  const [column, row] = inPlane(grid.axis);
  const box = clipped([from[column], from[row], to[column], to[row]], { text, ...context });
  const first = Math.max(range[0], Math.floor(from[grid.axis]));
  const last = Math.min(range[1], Math.ceil(to[grid.axis]) - 1);
  if (first > last) {
    refuse(`it holds none of the slices ${range.join(" to ")} along axis ${grid.axis}`);
  }
  return { name, slices: new Map([[(first + last) >> 1, { box }]]), spread: [first, last] };
}

/** A box in the volume in voxels: in millimetres, all voxels that a corner lies in or between. */
function voxelBox(numbers: readonly number[], { volume, inMillimetres }: PromptContext): VoxelBox {
  const corners = [numbers.slice(0, 3), numbers.slice(3)];
  if (!inMillimetres) return corners as unknown as VoxelBox;
  const voxels = Array.from({ length: 8 }, (_, corner) =>
    voxelAt(
      volume,
      [0, 1, 2].map((axis) => corners[corner >> axis & 1][axis]) as unknown as Place,
    ));
  const extreme = (of: (...values: number[]) => number) =>
    [0, 1, 2].map((axis) => of(...voxels.map((voxel) => voxel[axis])));
  return [
    extreme(Math.min) as unknown as Place,
    extreme(Math.max).map((at) => at + 1) as unknown as Place,
  ];
}

/** A box of whole slices within the window. */
function clipped(
  [x0, y0, x1, y1]: Box,
  { text, grid: { window }, say }: PromptContext & { text: string },
): Box {
  const { x, y, width, height } = window;
  const moved: Box = [x0 - x, y0 - y, x1 - x, y1 - y];
  const inside: Box = [
    Math.max(0, moved[0]),
    Math.max(0, moved[1]),
    Math.min(width, moved[2]),
    Math.min(height, moved[3]),
  ];
  const slice = `the slice of ${width} x ${height} pixels`;
  if (!(x0 < x1 && y0 < y1)) {
    throw new InputError(
      `--box cannot be ${excerpt(text)}: each end must be above its start, as in 10,20,30,50`,
    );
  }
  if (!(inside[0] < inside[2] && inside[1] < inside[3])) {
    throw new InputError(`--box ${excerpt(text)} lies outside ${slice}: give one within it`);
  }
  if (inside.some((side, i) => side !== moved[i])) {
    say(
      `--box ${excerpt(text)} reaches beyond ${slice}: clipped to ${
        [inside[0] + x, inside[1] + y, inside[2] + x, inside[3] + y].join(",")
      }`,
    );
  }
  return inside;
}

/**
 * An object for each lesion of a mask, the 26-connected components, with a tight box in each of its slices.
 *
 * @param mask A byte a voxel, any value but 0 is set.
 * @param range First and last slice that are prompted.
 * @throws {InputError} if the mask is empty in these slices.
 */
export function fromLesions(
  mask: Uint8Array,
  [first, last]: SliceRange,
  { volume, name, grid, say }: Omit<PromptContext, "inMillimetres">,
): ObjectPrompt[] {
  const { plane, window } = grid;
  const { labels, count } = components(mask, volume.shape);
  const numbered = Float32Array.from(labels);
  const slices = Array.from({ length: count }, () => new Map<number, Prompt>());
  for (let index = first; index <= last; index++) {
    const own = cut(numbered, plane, { ...window, index });
    for (const label of new Set(own)) {
      if (label === 0) continue;
      const lesion = Uint8Array.from(own, (value) => Number(value === label));
      slices[label - 1].set(index, {
        box: tightBox({ mask: lesion, width: window.width, height: window.height }),
      });
    }
  }
  const objects = slices.map((own, i) => ({ name: `lesion ${i + 1}`, slices: own, spread: null }));
  const found = objects.filter((object) => object.slices.size > 0);
  if (found.length === 0) {
    throw new InputError(`${name} has no labels to draw boxes round in the slices that are chosen`);
  }
  if (found.length < count) {
    say(
      `${
        count - found.length
      } of ${count} lesions of ${name} lie outside the slices or the crop that ` +
        `are segmented`,
    );
  }
  return found;
}

/**
 * First and last slice of a text of `--slices`; all without one.
 *
 * @throws {InputError} if it is no range of the slices there are.
 */
export function readSlices(text: string | null, count: number): SliceRange {
  if (text === null) return [0, count - 1];
  const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? [];
  if (first === undefined || Number(first) > Number(last) || Number(last) >= count) {
    throw new InputError(
      `--slices cannot be ${excerpt(text)}: give one, or A-B, from 0 to ${count - 1}`,
    );
  }
  return [Number(first), Number(last)];
}
