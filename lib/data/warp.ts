import { type Mask, tightBox } from "./prompts.ts";

/**
 * A smooth field of shifts: uniform cubic B-splines over a grid of control points, the first of which
 * lie one spacing before the first pixel. It cannot fold while no shift of a control point exceeds 0.4
 * of their spacing (Choi and Lee, "Injectivity conditions of 2D and 3D uniform cubic B-spline
 * functions", 2000).
 */
export interface Displacement {
  /** Pixels from one control point to the next. */
  readonly spacing: number;
  /** Control points along x; at least 4. */
  readonly columns: number;
  /** Control points along y; at least 4. */
  readonly rows: number;
  /** [2, rows, columns] pixels: the shifts along x, then those along y. */
  readonly shifts: Float32Array;
}

/**
 * Sampling positions of a warped image. A pixel at (x, y), whole numbers being the centres of
 * pixels, is shifted by the displacement to (u, v) and taken from the source at
 * (m[0] u + m[1] v + m[2], m[3] u + m[4] v + m[5]), bilinearly; beyond the source everything is 0.
 */
export interface Warp {
  /** The inverse of the affine transform that the image undergoes, by rows. */
  readonly matrix: readonly [number, number, number, number, number, number];
  /** The elastic deformation; null for none. */
  readonly displacement: Displacement | null;
}

/** Options of {@linkcode affineMatrix}. */
export interface AffineOptions {
  /** Columns of the image. */
  width: number;
  /** Rows of the image. */
  height: number;
  /** Pixel size in mm, between columns and between rows: the anatomy is turned, not its pixels. */
  spacing: readonly [number, number];
  /** Angle by which the image turns about its centre, clockwise as it is shown. */
  degrees: number;
  /** Factor by which it grows. */
  scale: number;
}

/** The matrix of a {@linkcode Warp} that turns and enlarges an image about its centre. */
export function affineMatrix(options: AffineOptions): Warp["matrix"] {
  const { width, height, spacing: [sx, sy], degrees, scale } = options;
  const angle = degrees * Math.PI / 180;
  const [cos, sin] = [Math.cos(angle) / scale, Math.sin(angle) / scale];
  const [a, b, c, d] = [cos, sin * sy / sx, -sin * sx / sy, cos];
  const [cx, cy] = [(width - 1) / 2, (height - 1) / 2];
  return [a, b, cx - a * cx - b * cy, c, d, cy - c * cx - d * cy];
}

/** A mask warped as its image is: interpolated bilinearly, and set where that gives a half or more. */
export function warpMask({ mask, width, height }: Mask, warp: Warp): Uint8Array {
  const [a, b, c, d, e, f] = warp.matrix;
  const warped = new Uint8Array(mask.length);
  const at = (x: number, y: number) =>
    x >= 0 && x < width && y >= 0 && y < height && mask[y * width + x] !== 0 ? 1 : 0;
  if (!mask.some((pixel) => pixel !== 0)) return warped;
  const reach = reachOf({ mask, width, height }, warp);
  const shiftOf = shifter(warp.displacement, width);
  for (let y = reach.top; y <= reach.bottom; y++) {
    const row = shiftOf(y);
    for (let x = reach.left; x <= reach.right; x++) {
      const u = x + row[2 * x], v = y + row[2 * x + 1];
      const sx = a * u + b * v + c, sy = d * u + e * v + f;
      const x0 = Math.floor(sx), y0 = Math.floor(sy);
      const fx = sx - x0, fy = sy - y0;
      const above = (1 - fx) * at(x0, y0) + fx * at(x0 + 1, y0);
      const below = (1 - fx) * at(x0, y0 + 1) + fx * at(x0 + 1, y0 + 1);
      warped[y * width + x] = (1 - fy) * above + fy * below >= 0.5 ? 1 : 0;
    }
  }
  return warped;
}

/**
 * The pixels that a warp may bring the mask to, first and last: the affine image of its box, one pixel
 * wider since pixels are interpolated, and wider still by the largest shift. A spline does not reach
 * beyond its control points.
 */
function reachOf(
  shape: Mask,
  { matrix: [a, b, c, d, e, f], displacement }: Warp,
): { left: number; right: number; top: number; bottom: number } {
  const [x0, y0, x1, y1] = tightBox(shape);
  const determinant = a * e - b * d;
  const corners = [[x0 - 1, y0 - 1], [x1, y0 - 1], [x0 - 1, y1], [x1, y1]].map(([x, y]) => [
    (e * (x - c) - b * (y - f)) / determinant,
    (a * (y - f) - d * (x - c)) / determinant,
  ]);
  let largest = 0;
  for (const shift of displacement?.shifts ?? []) largest = Math.max(largest, Math.abs(shift));
  const range = (axis: 0 | 1, size: number) => {
    const values = corners.map((corner) => corner[axis]);
    return [
      Math.max(0, Math.floor(Math.min(...values) - largest)),
      Math.min(size - 1, Math.ceil(Math.max(...values) + largest)),
    ];
  };
  const [[left, right], [top, bottom]] = [range(0, shape.width), range(1, shape.height)];
  return { left, right, top, bottom };
}

/** Gives the shifts along a row of pixels: x and y in turn, valid until the next row is asked for. */
function shifter(displacement: Displacement | null, width: number): (y: number) => Float64Array {
  const row = new Float64Array(2 * width);
  if (!displacement) return () => row;
  const { spacing, columns, rows, shifts } = displacement;
  const along = Array.from({ length: width }, (_, x) => splineAt(x / spacing, columns));
  const line = new Float64Array(2 * columns);
  return (y) => {
    const { first, weights } = splineAt(y / spacing, rows);
    for (let axis = 0; axis < 2; axis++) {
      for (let i = 0; i < columns; i++) {
        let sum = 0;
        for (let j = 0; j < 4; j++) {
          sum += weights[j] * shifts[(axis * rows + first + j) * columns + i];
        }
        line[2 * i + axis] = sum;
      }
    }
    for (let x = 0; x < width; x++) {
      const { first, weights: [w0, w1, w2, w3] } = along[x];
      for (let axis = 0; axis < 2; axis++) {
        const at = 2 * first + axis;
        row[2 * x + axis] = w0 * line[at] + w1 * line[at + 2] + w2 * line[at + 4] +
          w3 * line[at + 6];
      }
    }
    return row;
  };
}

/** The four of `count` control points that bear on a place, in spacings, and their weights. */
function splineAt(place: number, count: number): { first: number; weights: number[] } {
  const first = Math.min(Math.floor(place), count - 4);
  const t = place - first;
  const weights = [
    (1 - t) ** 3 / 6,
    (3 * t ** 3 - 6 * t ** 2 + 4) / 6,
    (-3 * t ** 3 + 3 * t ** 2 + 3 * t + 1) / 6,
    t ** 3 / 6,
  ];
  return { first, weights };
}
