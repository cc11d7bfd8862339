import type { Random } from "../../random.ts";

/** Options of {@linkcode Deformation}. */
export interface DeformationOptions {
  /** Millimetres along x, y and z. */
  extent: readonly [number, number, number];
  /** Millimetres between control points. */
  knots: number;
  /** Standard deviation of a control point's shift in mm. */
  shift: number;
  /** Standard deviation of the logarithm of the gain at a control point. */
  gain: number;
}

const STEP = 4; // mm between the points at which the splines are evaluated; linear in between

/**
 * Three smooth random shifts and one smooth random gain over a box: cubic B-splines. Shifts of control
 * points are kept below 0.4 of their distance, so that the deformation cannot fold (Choi and Lee,
 * "Injectivity conditions of 2D and 3D uniform cubic B-spline functions", 2000).
 */
export class Deformation {
  /** The channels shift x, shift y, shift z (mm) and gain along the row last set. */
  readonly row: Float32Array;
  readonly #fields: Float32Array; // [z, y, channel, x]
  readonly #shape: readonly [number, number, number];

  /** Draws a deformation. */
  constructor(options: DeformationOptions, random: Random) {
    const { extent, knots, shift, gain } = options;
    const points = extent.map((length) => Math.ceil(length / STEP) + 2);
    const controls = points.map((n) => Math.floor((n - 1) * STEP / knots) + 4);
    this.#shape = [points[0], points[1], points[2]];
    this.#fields = new Float32Array(4 * points[0] * points[1] * points[2]);
    this.row = new Float32Array(4 * points[0]);
    const limit = 0.4 * knots;
    for (let channel = 0; channel < 4; channel++) {
      let field = Float32Array.from(
        { length: controls[0] * controls[1] * controls[2] },
        () =>
          channel === 3
            ? gain * random.normal()
            : Math.min(limit, Math.max(-limit, shift * random.normal())),
      );
      // Each pass refines the fastest axis and makes it the slowest: after three, x is fastest again.
      for (let axis = 0; axis < 3; axis++) {
        field = refineFastest(field, controls[axis], points[axis], knots);
      }
      this.#store(field, channel);
    }
  }

  #store(field: Float32Array, channel: number): void {
    const [nx, ny, nz] = this.#shape;
    for (let line = 0; line < ny * nz; line++) {
      for (let i = 0; i < nx; i++) {
        const value = field[line * nx + i];
        this.#fields[(line * 4 + channel) * nx + i] = channel === 3 ? Math.exp(value) : value;
      }
    }
  }

  /** Interpolates {@linkcode row} at height `z` and depth `y` in mm. */
  setRow(y: number, z: number): void {
    const [nx, ny] = this.#shape;
    const j = Math.floor(y / STEP), k = Math.floor(z / STEP);
    const fy = y / STEP - j, fz = z / STEP - k;
    const a = 4 * nx * (k * ny + j), b = a + 4 * nx, c = a + 4 * nx * ny, d = c + 4 * nx;
    const f = this.#fields;
    for (let i = 0; i < 4 * nx; i++) {
      const near = f[a + i] + fy * (f[b + i] - f[a + i]);
      const far = f[c + i] + fy * (f[d + i] - f[c + i]);
      this.row[i] = near + fz * (far - near);
    }
  }

  /** A channel of the row at `x` in mm. */
  at(channel: number, x: number): number {
    const i = Math.floor(x / STEP);
    const at = channel * this.#shape[0] + i;
    return this.row[at] + (x / STEP - i) * (this.row[at + 1] - this.row[at]);
  }
}

/** B-spline values at steps of STEP along the fastest axis, which becomes the slowest. */
function refineFastest(
  field: Float32Array,
  controls: number,
  points: number,
  knots: number,
): Float32Array<ArrayBuffer> {
  const lines = field.length / controls;
  const refined = new Float32Array(points * lines);
  for (let i = 0; i < points; i++) {
    const u = i * STEP / knots;
    const first = Math.floor(u);
    const t = u - first;
    const w0 = (1 - t) ** 3 / 6, w1 = (3 * t ** 3 - 6 * t ** 2 + 4) / 6;
    const w2 = (-3 * t ** 3 + 3 * t ** 2 + 3 * t + 1) / 6, w3 = t ** 3 / 6;
    for (let line = 0; line < lines; line++) {
      const at = line * controls + first;
      refined[i * lines + line] = w0 * field[at] + w1 * field[at + 1] + w2 * field[at + 2] +
        w3 * field[at + 3];
    }
  }
  return refined;
}
