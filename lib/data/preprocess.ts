/**
 * From a slice to the model's input: crop, rescale to 0..255, resize, normalise, pad. Images here are
 * row-major, channels last: pixel (x, y), channel c is `data[(y * width + x) * channels + c]`.
 *
 * @module
 */
import { cut, type Plane, planeOf, whole, type Window } from "./plane.ts";

/** Rule by which {@linkcode rescale} maps intensities to 0..255. */
export type RescaleMethod = "percentile" | "zscore" | "minmax";

/** All methods, for messages and option parsers. */
export const RESCALE_METHODS: readonly RescaleMethod[] = ["percentile", "zscore", "minmax"];

/** Options of {@linkcode rescale}. */
export interface RescaleOptions {
  /** Pixels in a row, to find the corners. */
  width: number;
  /** Default `percentile`. */
  method?: RescaleMethod;
  /** Percentiles that become 0 and 255; default [0.5, 99.5]. */
  percentiles?: readonly [number, number];
  /** Standard deviations either side of the mean that become 0 and 255 (zscore); default 3. */
  deviations?: number;
}

/** Rule by which pixels in 0..255 become a model's input: (pixel - mean) / std in each of the channels R, G, B. */
export interface InputRule {
  /** Subtracted from each channel. */
  readonly mean: readonly [r: number, g: number, b: number];
  /** Divides each channel after that. */
  readonly std: readonly [r: number, g: number, b: number];
}

/** Background must fill this share of a slice to be told from chance. */
const BACKGROUND_SHARE = 0.2;

/**
 * The value of the empty surroundings of a skull-stripped or masked slice: what all four corners
 * share, if a fifth of the pixels or more have exactly that value; else none. It may be 0 or, in a
 * volume that was z-scored as a whole, negative.
 */
export function backgroundOf(pixels: Float32Array, width: number): number | undefined {
  if (pixels.length === 0) return undefined;
  const value = pixels[0];
  const corners = [width - 1, pixels.length - width, pixels.length - 1];
  if (corners.some((corner) => pixels[corner] !== value)) return undefined;
  let count = 0;
  for (const pixel of pixels) if (pixel === value) count++;
  return count >= BACKGROUND_SHARE * pixels.length ? value : undefined;
}

/**
 * Rescales one slice to 0..255. The limits come from the foreground alone, the pixels that differ
 * from {@linkcode backgroundOf}; background becomes 0, whatever its value was. `percentile` clips at
 * two percentiles (interpolated linearly), `minmax` takes the extremes, `zscore` puts 0 and 255 at
 * the mean less and plus `deviations` standard deviations and clips. A slice without contrast
 * becomes all 0.
 *
 * @returns A new array; the input is left alone.
 */
export function rescale(pixels: Float32Array, options: RescaleOptions): Float32Array {
  const background = backgroundOf(pixels, options.width);
  const foreground = background === undefined ? pixels : pixels.filter((p) => p !== background);
  const [low, high] = limits(foreground, options);
  const scaled = new Float32Array(pixels.length);
  if (!(high > low)) return scaled;
  const scale = 255 / (high - low);
  for (let i = 0; i < pixels.length; i++) {
    if (pixels[i] === background) continue;
    scaled[i] = Math.min(255, Math.max(0, (pixels[i] - low) * scale));
  }
  return scaled;
}

function limits(values: Float32Array, options: RescaleOptions): [number, number] {
  if (values.length === 0) return [0, 0];
  switch (options.method ?? "percentile") {
    case "percentile": {
      const [low, high] = options.percentiles ?? [0.5, 99.5];
      const sorted = values.toSorted();
      return [percentile(sorted, low), percentile(sorted, high)];
    }
    case "minmax": {
      let low = Infinity;
      let high = -Infinity;
      for (const value of values) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
      return [low, high];
    }
    case "zscore": {
      const k = options.deviations ?? 3;
      let sum = 0;
      for (const value of values) sum += value;
      const mean = sum / values.length;
      let squares = 0;
      for (const value of values) squares += (value - mean) ** 2;
      const deviation = Math.sqrt(squares / values.length);
      return [mean - k * deviation, mean + k * deviation];
    }
  }
}

/** numpy's default percentile: linear between the two nearest ranks. */
function percentile(sorted: Float32Array, percent: number): number {
  const rank = (percent / 100) * (sorted.length - 1);
  const below = Math.floor(rank);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
}

/**
 * A window of a slice as models are shown it, in 0..255. Its limits of intensity are those of the whole slice: a crop changes
 * what is seen, not how bright it is.
 */
export function rescaledWindow(
  voxels: Float32Array,
  { plane, window, method }: { plane: Plane; window: Window; method: RescaleMethod },
): Float32Array {
  const { width, height, spacing } = plane;
  const slice = cut(voxels, plane, { ...whole(plane), index: window.index });
  const alone = planeOf({ shape: [width, height, 1], spacing: [...spacing, 1] }, 2);
  return cut(rescale(slice, { width, method }), alone, { ...window, index: 0 });
}

/** A rectangle in pixels. */
export interface CropWindow {
  /** Left column. */
  x: number;
  /** Top row. */
  y: number;
  /** Columns. */
  width: number;
  /** Rows. */
  height: number;
}

/**
 * The centred square of `side` pixels, or the whole of a side that is shorter; an odd remainder
 * leaves the extra pixel on the right and at the bottom.
 */
export function centreCrop(
  { width, height }: { width: number; height: number },
  side: number,
): CropWindow {
  const w = Math.min(width, side);
  const h = Math.min(height, side);
  return { x: Math.floor((width - w) / 2), y: Math.floor((height - h) / 2), width: w, height: h };
}

/** Place of a slice in the model's square input. */
export interface InputGeometry {
  /** Pixels along the model's square. */
  side: number;
  /** Columns of the resized slice; the rest is padding. */
  width: number;
  /** Rows of the resized slice; the rest is padding. */
  height: number;
  /** Slice x times this is input x. */
  scaleX: number;
  /** Slice y times this is input y. */
  scaleY: number;
}

/**
 * The geometry of resizing the longest side to `side`, rounded as SAM's `ResizeLongestSide` rounds.
 * Multiply coordinates in slice pixels by `scaleX` and `scaleY` to get input pixels.
 */
export function inputGeometry(
  { width, height }: { width: number; height: number },
  side: number,
): InputGeometry {
  const scale = side / Math.max(width, height);
  const w = Math.max(1, Math.floor(width * scale + 0.5));
  const h = Math.max(1, Math.floor(height * scale + 0.5));
  return { side, width: w, height: h, scaleX: w / width, scaleY: h / height };
}

/** An image in memory. */
export interface Image {
  /** Pixels, row-major, channels last. */
  data: Float32Array | Uint8Array | Uint8ClampedArray;
  /** Columns. */
  width: number;
  /** Rows. */
  height: number;
  /** 1 (grey) or 3 (RGB); default 1. */
  channels?: 1 | 3;
}

/**
 * Bilinear resizing with half-pixel centres. Enlarging equals PyTorch's `interpolate(mode="bilinear",
 * align_corners=False)`; shrinking widens the triangle filter, as Pillow and PyTorch's `antialias`
 * do. Nothing is rounded.
 *
 * @returns [height, width, channels], channels last.
 */
export function resizeBilinear(
  image: Image,
  { width, height }: { width: number; height: number },
): Float32Array {
  const channels = image.channels ?? 1;
  const columns = filterTaps(image.width, width);
  const rows = filterTaps(image.height, height);
  // [h, w, c] -> [h, width, c] -> [height, width, c]
  const wide = new Float32Array(image.height * width * channels);
  for (let y = 0; y < image.height; y++) {
    for (let x = 0; x < width; x++) {
      const { first, weights } = columns[x];
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        let at = (y * image.width + first) * channels + c;
        for (let i = 0; i < weights.length; i++, at += channels) sum += weights[i] * image.data[at];
        wide[(y * width + x) * channels + c] = sum;
      }
    }
  }
  const resized = new Float32Array(height * width * channels);
  const stride = width * channels;
  for (let y = 0; y < height; y++) {
    const { first, weights } = rows[y];
    for (let i = 0; i < weights.length; i++) {
      const from = (first + i) * stride;
      const weight = weights[i];
      for (let x = 0; x < stride; x++) resized[y * stride + x] += weight * wide[from + x];
    }
  }
  return resized;
}

/** For each output pixel, the input pixels under its triangle and their weights, which sum to 1. */
function filterTaps(from: number, to: number): { first: number; weights: number[] }[] {
  const scale = from / to;
  const support = Math.max(1, scale);
  return Array.from({ length: to }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const last = Math.min(from, Math.floor(centre + support + 0.5));
    const weights: number[] = [];
    for (let j = first; j < last; j++) {
      weights.push(Math.max(0, 1 - Math.abs(j + 0.5 - centre) / support));
    }
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** A slice as the image encoder takes it. */
export interface ModelInput extends InputGeometry {
  /** [side, side, 3], channels last. */
  data: Float32Array;
}

/**
 * An image in 0..255 to a model's input: the longest side resized to `side`, grey repeated over three
 * channels, normalised by the model's rule, and only then padded with 0 on the right and at the bottom.
 *
 * @example
 * ```ts
 * const input = toModelInput({ data: slice.image, width: 256, height: 256 }, { side: 512, rule });
 * ```
 */
export function toModelInput(
  image: Image,
  { side, rule: { mean, std } }: { side: number; rule: InputRule },
): ModelInput {
  const channels = image.channels ?? 1;
  const geometry = inputGeometry(image, side);
  const { width, height } = geometry;
  const resized = resizeBilinear(image, geometry);
  const data = new Float32Array(side * side * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + x) * channels;
      const to = (y * side + x) * 3;
      for (let c = 0; c < 3; c++) {
        data[to + c] = (resized[from + (channels === 3 ? c : 0)] - mean[c]) / std[c];
      }
    }
  }
  return { ...geometry, data };
}
